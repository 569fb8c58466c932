// Files that are handed to the daemon as proofs, or to be believed: nothing in them is secret.
#pragma once

#include <string>

#include "crypto/error.h"

namespace vern::cli {

enum class Form { any, pem };

// "-" is standard input. Refused before it leaves this process: a private key that was named by mistake.
Result<std::string> read_public_file(const std::string& path, std::size_t bytes_max, Form form = Form::any);

}  // namespace vern::cli
