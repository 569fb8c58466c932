// A record as a document of the Elastic Common Schema, for those whose SIEM speaks that. The table of names
// is in docs/audit.md; what the schema has no field for is under "vern".
#pragma once

#include <string>

#include "control/audit/record.h"

namespace vern::audit {

inline constexpr std::string_view kEcsVersion = "8.11.0";

std::string ecs_of(const Record& record);  // one line of JSON, no LF

}  // namespace vern::audit
