// A policy as its author wrote it, read and resolved: rules with their names and lines, which the data
// plane's RuleSet has no use for. A value; any thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/policy/selector.h"
#include "dataplane/core/admission.h"
#include "dataplane/policy/policy.h"
#include "dataplane/policy/rules.h"

namespace vern::policy {

struct Position {
    unsigned line = 0;
    unsigned column = 0;
    friend auto operator<=>(const Position&, const Position&) = default;
};

inline constexpr std::chrono::seconds kIdentityMaxMost = std::chrono::hours(24 * 366);

using PeerSet = std::vector<PublicKey>;  // sorted, each once

// Whom a rule is for: peers by key, and whoever has proven such an identity.
struct Members {
    PeerSet peers;
    std::vector<Selector> selectors;  // sorted, each once
    bool empty() const { return peers.empty() && selectors.empty(); }
    friend auto operator<=>(const Members&, const Members&) = default;
};

// A peer and one identity that it has proven.
struct Holder {
    PublicKey peer;
    const trust::Identity* identity = nullptr;
};

struct DocumentRule {
    std::string id;
    Position at;
    Rule rule;                        // `expires` is not set here: it takes a clock
    std::optional<WallTime> expires;  // as written
    std::string log_prefix;           // before the log lines of this rule
};

enum class Expectation { allow, deny, reject };

struct DocumentTest {
    Position at;
    Direction direction = Direction::in;
    PublicKey peer;                 // zero: one that no rule names
    std::optional<Selector> holds;  // the peer is nobody's, and has proven this
    FlowKey key;
    std::uint16_t port = 0;  // destination port, or type and code of ICMP
    Expectation expect = Expectation::allow;
    std::string text;  // "in web-1 tcp 10.100.0.1:3306"
};

struct Document {
    std::string name;
    std::map<std::string, PublicKey, std::less<>> peers;
    std::map<PublicKey, std::string> names;  // the other way round: lists of flows and peers ask for each
    std::vector<Members> member_sets;        // Rule::peers is an index into these
    bool all_prove = false;  // every peer must have proven an identity, to hold a session at all
    PeerSet some_prove;      // else these
    std::optional<std::chrono::seconds> identity_max;  // how long a binding lasts at most
    std::vector<DocumentRule> rules;
    std::vector<DocumentTest> tests;
    std::size_t flows_per_peer = RuleSet{}.flows_per_peer;
    bool observe = false;
    bool log_denied = true;
    std::string log_denied_prefix;
    std::vector<std::string> warnings;  // file:line:column and a sentence

    std::string peer_name(const PublicKey& key) const;  // its name here, or its key in base64
};

// Which policy governs.
struct InForce {
    const Document* document = nullptr;  // nullptr: none, or one that could not be loaded
    std::string_view hash;
    std::uint32_t generation = 0;
};

// The two clocks read at the same moment: ends written as dates become points of the clock that never steps
// back.
struct ClockPair {
    WallTime wall;
    Instant boot;
};
Instant instant_of(WallTime end, const ClockPair& now);

// With the sets of peers that follow from what is proven by now.
RuleSet rule_set_of(const Document& document, const ClockPair& now, std::uint32_t generation,
                    const std::vector<Holder>& holders = {});
// Whether an identity is what makes its peer one of the members.
bool proves(const Members& members, const trust::Identity& identity);
std::vector<PeerSet> peer_sets_of(const Document& document, const std::vector<Holder>& holders);
// Whether anything in it depends on what is proven.
bool heeds_identities(const Document& document);
// `provers`: peers that have proven anything.
Admission admission_of(const Document& document, PeerSet provers);

// What governs when a policy should be there and cannot be read: nothing passes.
inline RuleSet deny_all(std::uint32_t generation) {
    RuleSet set;
    set.generation = generation;
    return set;
}

// Of a rule's name; no two rules of a policy have the same.
std::uint64_t rule_number(std::string_view id);

}  // namespace vern::policy
