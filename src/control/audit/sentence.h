// A record as a person reads it: one line, for `vern audit tail` and the journal.
#pragma once

#include <string>

#include "control/audit/record.h"

namespace vern::audit {

// "flow-denied in web-1 tcp 10.100.0.2:4711 > 10.100.0.1:22, 40 more (policy_no_rule)". No control
// characters.
std::string sentence_of(const Record& record);

}  // namespace vern::audit
