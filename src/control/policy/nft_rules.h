// An nftables ruleset (the JSON of libnftables, libnftables-json(5)) as far as it concerns one interface: for
// each hook the list of what is asked and decided, in order, with jumps written out and sets filled in. Any
// thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/json.h"
#include "crypto/error.h"
#include "dataplane/policy/rules.h"

namespace vern::policy {

enum class NftHook { input, forward, output };

struct NftRule {
    enum class Verdict { accept, drop, reject, none };
    std::string name;  // "input-15": chain and handle
    std::string text;  // as nft would print it, about
    Verdict verdict = Verdict::none;
    bool v4 = true, v6 = true;
    // Unset: not asked. An empty list matches nothing.
    std::optional<std::vector<Prefix>> source, destination;
    std::optional<std::vector<Service>> services;
    std::optional<Rate> rate;
    std::optional<std::string> log;  // its prefix
    bool from_tunnel = false;        // forward: asks for our interface
    bool to_tunnel = false;
    bool is_policy = false;         // the chain's own, at its end
    bool other_transports = false;  // it asks for ports of any transport; `services` are TCP's and UDP's
    std::string
        unsupported;  // why this cannot be said in a policy; what is set above is then wider than the rule
};

struct NftRuleset {
    std::vector<NftRule> input, forward, output;
    // Which families have a filter at that hook.
    struct Filtered {
        bool v4 = false, v6 = false;
    };
    Filtered input_filtered, forward_filtered, output_filtered;
    std::vector<std::string> notes;  // what was left aside as a whole
};

// `interface` is the tunnel's name; empty: the one that the ruleset speaks of, if it is one, or wg0. It is
// set to what was taken.
Result<NftRuleset> read_nft(std::string_view json, std::string& interface);

bool overlap(const NftRule& a, const NftRule& b);

}  // namespace vern::policy
