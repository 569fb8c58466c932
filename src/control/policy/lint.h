// What is right in a policy and hardly meant: rules that others hide, rules for nobody.
#pragma once

#include "control/policy/messages.h"

namespace vern::policy {

void warn_of_odd_rules(const Document& document, Messages& messages);

// Whatever `inner` matches `outer` matches too. False when in doubt.
bool covers(const Document& document, const Rule& outer, const Rule& inner);

}  // namespace vern::policy
