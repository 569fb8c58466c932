// What a policy decides of a flow, asked of the very matching that the packet path uses. Any thread.
#pragma once

#include <string>
#include <vector>

#include "control/policy/document.h"

namespace vern::policy {

// A new flow, in the words of `vern explain`: "in web-1 tcp 10.100.0.2:40000 > 10.100.0.1:3306",
// "out web-1 icmp 10.100.0.1 > 10.100.0.2 echo-request", "in - proto/47 fd00::2 > fd00::1". "-" is a peer
// that no rule names.
struct Question {
    Direction direction = Direction::in;
    PublicKey peer;
    std::string peer_text;
    FlowKey key;
    std::uint16_t port = 0;  // destination port, or type and code of ICMP
};
Result<Question> parse_question(std::string_view text, const Document& document);

// A rule that matches, and why it did not decide; empty for the one that did.
struct Considered {
    std::uint32_t index;  // into RuleSet::rules
    std::string passed_over;
};

struct Ruling {
    Action action = Action::deny;
    std::uint32_t index = Policy::kNoRule;  // of the rule that decides; kNoRule: none, so it is denied
    std::vector<Considered> considered;     // at most kConsideredMax
};
inline constexpr std::size_t kConsideredMax = 64;

// Rates are taken to have a token left. With `heed_observe` a rule that only watches is passed over, as
// packets do; tests ask what the rules say once they are in force.
Ruling decide(const Policy& policy, const Question& question, Instant now, bool heed_observe);

// A line for each [[test]] that does not hold: "file:line:column: ...".
std::vector<std::string> failed_tests(const Document& document, const Policy& policy,
                                      std::string_view file_name, Instant now);

// For people: who is denied everything for want of room (Policy::crowded(), which is not empty).
std::string crowded_text(const Document& document, const Policy& policy);

// Everything there is to check before a policy may be used: compiles it, with somebody in each set that
// identities are members of, and runs its tests.
Result<std::unique_ptr<const Policy>> compile_tested(const Document& document, RuleSet rules,
                                                     unsigned workers, std::string_view file_name,
                                                     Instant now);

}  // namespace vern::policy
