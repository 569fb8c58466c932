// A policy file, whole.
#pragma once

#include <string>

#include "crypto/error.h"

namespace vern::policy {

// "-" is standard input. No more than kPolicyBytesMax.
Result<std::string> read_policy_file(const std::string& path);

}  // namespace vern::policy
