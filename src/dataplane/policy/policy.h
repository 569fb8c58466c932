// A compiled policy: immutable, published as a whole, read by workers without a lock, freed after a grace
// period like a Snapshot.
//
// Matching is tuple space search (classifier.h). Peers are resolved to a class, the sets of rules that speak
// of them, so that a group of thousands costs one set, and a rule for everybody none of their memory.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "crypto/error.h"
#include "dataplane/policy/classifier.h"
#include "dataplane/policy/classifier_builder.h"
#include "dataplane/policy/flow_key.h"
#include "dataplane/policy/reserved.h"
#include "dataplane/policy/rules.h"

namespace vern::policy {

inline constexpr std::size_t kEntriesMax =
    std::size_t{1} << 21;  // of all tables together: table entries, port intervals, list members
inline constexpr std::size_t kMergedEntriesMax =
    std::size_t{1} << 20;  // of those that spare peers of many sets a probe for each
inline constexpr std::size_t kTuplesMax =
    std::size_t{1} << 21;  // of all classes of peers together, 40 bytes each, 64 for IPv6

// What was counted for a rule, by all workers since the rule's id first appeared in a policy.
struct RuleCounts {
    std::uint64_t packets = 0;  // of its flows, and for deny and reject what it stopped
    std::uint64_t bytes = 0;
    std::uint64_t flows = 0;     // new ones that it allowed
    std::uint64_t denied = 0;    // packets that it stopped
    std::uint64_t would_be = 0;  // packets that it would have stopped (observe)
    std::uint64_t limited = 0;   // new flows that found no token
};

class Policy {
  public:
    static constexpr std::uint32_t kNoRule = std::numeric_limits<std::uint32_t>::max();

    // Any thread. Errors: a limit of rules.h passed, an index out of range, or port lists that no table can
    // hold. `workers` have counters each.
    static Result<std::unique_ptr<const Policy>> compile(RuleSet rules, unsigned workers);

    const RuleSet& rules() const noexcept { return rules_; }
    std::uint32_t generation() const noexcept { return rules_.generation; }
    unsigned workers() const noexcept { return workers_; }

    // The class of a peer: which rules speak of it. Workers keep it beside the peer until the generation
    // moves.
    std::uint32_t class_of(const PublicKey& peer) const noexcept;

    // The first rule, in order of precedence, behind `after` (kNoRule: from the beginning) that matches a new
    // flow `key` in `direction` whose destination port (ICMP: type and code) is `port`. Answers a *rank*;
    // rule_of() says which rule that is. kNoRule: none. Rates, expiry and observe are the caller's: it asks
    // again with `after` when the rule does not apply now, and only then.
    std::uint32_t match(Direction direction, std::uint32_t peer_class, const FlowKey& key, std::uint16_t port,
                        std::uint32_t after = kNoRule) const noexcept;
    const Rule& rule_of(std::uint32_t rank) const noexcept { return rules_.rules[effects_[rank].index]; }
    std::uint32_t index_of(std::uint32_t rank) const noexcept {
        return effects_[rank].index;
    }  // into rules().rules
    // What most rules come to, in a quarter of a cache line: the rule itself lies in several, far apart.
    struct Effect {
        std::uint64_t id;
        std::uint32_t index;
        Action action;
        bool conditional;  // has a rate or an end, or only observes: rule_of() says more
        bool log;
    };
    const Effect& effect_of(std::uint32_t rank) const noexcept { return effects_[rank]; }

    // Counters of the rule at `index`; kNoRule: of what no rule matched. Written by worker `worker` alone,
    // read by any thread.
    enum class Count : std::uint8_t { packets, bytes, flows, denied, would_be, limited };
    void count(unsigned worker, std::uint32_t index, Count what, std::uint64_t n = 1) const noexcept;
    void expect_count(unsigned worker, std::uint32_t index) const noexcept {
        __builtin_prefetch(&cells_[cell(worker, index)], 1);
    }
    RuleCounts counts(std::uint32_t index) const noexcept;
    // Goes on from what `previous` has counted, rule by rule of the same id. Before this one is published;
    // what workers count with the old one in the moment between is lost.
    void take_over_counts(const Policy& previous) const;

    // For tests and `vern policy check`.
    std::size_t table_entries() const noexcept { return weight_; }
    std::size_t classes() const noexcept { return classes_.size(); }
    // One peer of each combination of sets for which kTuplesMax left no room: no rule matches any peer of
    // such a combination, so everything is denied to it.
    const std::vector<PublicKey>& crowded() const noexcept { return crowded_; }

  private:
    // By direction: the rules for everybody, and those for sets of peers.
    using Lists = std::array<std::array<Classifier::List, 2>, 2>;
    using RankedOfSet = std::array<std::vector<ClassifierBuilder::Ranked>, 2>;  // by direction
    struct alignas(64) Cell {
        std::array<std::atomic<std::uint64_t>, 6> of;
    };

    explicit Policy(RuleSet rules, unsigned workers) : rules_(std::move(rules)), workers_(workers) {}
    Result<void> check() const;
    void rank();
    Result<void> build();
    Result<void> build_classes(const std::vector<RankedOfSet>& of_set, ClassifierBuilder& builder);
    std::size_t cell(unsigned worker, std::uint32_t index) const noexcept {
        return worker * (rules_.rules.size() + 1) + (index == kNoRule ? rules_.rules.size() : index);
    }

    RuleSet rules_;
    unsigned workers_;
    std::vector<Effect> effects_;  // by rank
    Classifier classifier_;
    std::vector<Lists> classes_;  // 0: in no set
    std::unordered_map<PublicKey, std::uint32_t, PublicKeyHash> class_of_;
    std::vector<PublicKey> crowded_;
    std::size_t weight_ = 0;
    Reserved<Cell> cells_;  // a row a worker
    mutable std::vector<RuleCounts> before_;
};

}  // namespace vern::policy
