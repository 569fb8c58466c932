// The audit record of a decision that the data plane has logged. A value of its arguments; any thread.
#pragma once

#include <optional>

#include "control/audit/record.h"
#include "control/policy/document.h"
#include "dataplane/policy/gate.h"

namespace vern::audit {

// `peer`: nothing if it is gone. A decision of an earlier policy keeps its peer and addresses, and has no
// rule: nobody knows its name any more. `now`: both clocks, for the time at which it was made.
Record flow_record(const policy::LogRecord& logged, const std::optional<PublicKey>& peer,
                   const policy::InForce& policy, const policy::ClockPair& now);

}  // namespace vern::audit
