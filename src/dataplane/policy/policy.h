// A compiled policy: immutable, published as a whole, read by workers without a lock, freed after a grace period like a Snapshot.
//
// Matching is tuple space search: rules are grouped by the shape of what they ask for (prefix lengths, protocol given or not), a hash table a
// shape; ports are disjoint intervals within an entry. Peers are resolved to a class, the list of the rule tables that speak of them, so that a
// group of thousands costs one table, and a rule for everybody none of their memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "crypto/error.h"
#include "dataplane/core/counters.h"
#include "dataplane/policy/rules.h"

namespace vern::policy {

// What a new flow is matched by. Orientation as in rules.h.
struct FlowKey {
    std::array<std::byte, 16> remote{};  // IPv4 in the first four bytes
    std::array<std::byte, 16> local{};
    std::uint16_t remote_port = 0;  // ICMP echo: the identifier, in both
    std::uint16_t local_port = 0;
    std::uint8_t protocol = 0;
    bool v6 = false;
    friend bool operator==(const FlowKey&, const FlowKey&) = default;
};

class Policy {
  public:
    static constexpr std::uint32_t kNoRule = std::numeric_limits<std::uint32_t>::max();

    // Any thread. Errors: a limit of rules.h passed, an index out of range, or port lists that no table can hold. `workers` have counters each.
    static Result<std::unique_ptr<const Policy>> compile(RuleSet rules, unsigned workers);

    const RuleSet& rules() const noexcept { return rules_; }
    std::uint32_t generation() const noexcept { return rules_.generation; }

    // The class of a peer: which rules speak of it. Workers keep it beside the peer until the generation moves.
    std::uint32_t class_of(const PublicKey& peer) const noexcept;

    // The first rule, in order of precedence, behind `after` (kNoRule: from the beginning) that matches a new flow `key` in `direction` whose
    // destination port (ICMP: type and code) is `port`. Answers a *rank*; rule_of() says which rule that is. kNoRule: none.
    // Rates, expiry and observe are the caller's: it asks again with `after` when the rule does not apply now.
    std::uint32_t match(Direction direction, std::uint32_t peer_class, const FlowKey& key, std::uint16_t port,
                        std::uint32_t after = kNoRule) const noexcept;
    const Rule& rule_of(std::uint32_t rank) const noexcept;
    std::uint32_t index_of(std::uint32_t rank) const noexcept;  // into rules().rules
};

}  // namespace vern::policy
