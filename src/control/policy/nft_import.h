// Writes the policy that does for tunnel traffic what an nftables ruleset does. What cannot be said is left
// out, so that the policy never lets more through than the ruleset, and told. Any thread.
//
// A ruleset is a list in which the first match decides; in a policy deny comes before allow, and what no rule
// allows is denied. So a drop that only takes what nothing behind it accepts is not written at all; and an
// accept in front of a drop that is needed has no place, and is left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "crypto/error.h"
#include "crypto/instant.h"
#include "dataplane/policy/rules.h"

namespace vern::policy {

struct NftImportOptions {
    std::string source;         // where it came from, for the head of the file
    std::string interface;      // the tunnel's name; empty: the one that the ruleset speaks of
    std::vector<Prefix> local;  // this host's addresses in the tunnel: what input and output are about
};

struct NftImport {
    std::string policy;  // TOML
    std::string interface;
    std::size_t rules = 0;
    std::vector<std::string> not_carried;  // "chain rule: text: why"
    std::vector<std::string> warnings;
};

Result<NftImport> import_nft(std::string_view json, const NftImportOptions& options);

}  // namespace vern::policy
