// The policy language, version 1: TOML (vern-policy(5), docs/policy.md). Names and dates are resolved,
// mistakes are told as file:line:column; nothing is taken that is not understood. Any thread; nothing is kept
// between calls.
#pragma once

#include <string_view>

#include "control/policy/document.h"
#include "crypto/error.h"

namespace vern::policy {

inline constexpr std::size_t kPolicyBytesMax = std::size_t{8} << 20;
inline constexpr std::size_t kListEntriesMax = 1 << 16;
inline constexpr std::size_t kNamesMax = 1 << 16;  // peers, groups and sets, each
inline constexpr std::size_t kTestsMax = 10'000;
inline constexpr std::size_t kGroupMembersMax = 1 << 22;  // of all groups that rules name, together
inline constexpr unsigned kGroupDepthMax = 32;

// `now` is for the warning that a rule has ended already.
Result<Document> parse_policy(std::string_view text, std::string_view file_name, WallTime now);

}  // namespace vern::policy
