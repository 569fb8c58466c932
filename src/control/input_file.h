// A file that somebody names, whole.
#pragma once

#include <string>

#include "crypto/error.h"

namespace vern {

// "-" is standard input. Errors begin with the file's name; EFBIG: more than `bytes_max`.
Result<std::string> read_input(const std::string& path, std::size_t bytes_max);

}  // namespace vern
