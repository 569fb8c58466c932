// Rates as a policy writes them: "10/minute", "10/minute per source burst 5", "2/second per peer", "100/hour
// global".
#pragma once

#include <string>
#include <string_view>

#include "crypto/error.h"
#include "dataplane/policy/rules.h"

namespace vern::policy {

// Without a scope: per source. Without a burst: as many as the count, so that "10/minute" lets ten come at
// once.
Result<Rate> parse_rate(std::string_view text);
std::string to_text(const Rate& rate);

}  // namespace vern::policy
