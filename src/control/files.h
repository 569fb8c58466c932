// Files, whole: what is read comes to its end or is an error, what is written is written to its end. Blocks.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "crypto/error.h"

namespace vern {

// Errors begin with the file's name; EFBIG: more than `bytes_max`.
//
// "-" is standard input.
Result<std::string> read_input(const std::string& path, std::size_t bytes_max);
// What is left of `fd`. String is std::string or SecretText; `shown` is for errors.
template <typename String>
Result<String> read_all(int fd, std::size_t bytes_max, const std::string& shown);

Result<void> write_all(int fd, std::string_view text, const std::string& shown);

// For the beginning of a program: what is closed of standard input, output and error is no file that it
// opens, and no pipe's end. Reading it is at its end, writing to it fails as before.
void keep_standard_streams() noexcept;

// Also those above it that are missing; those that are there stay as they are.
Result<void> make_directories(const std::string& path, mode_t mode);

}  // namespace vern
