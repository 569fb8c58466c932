#include "control/policy/document.h"

#include <algorithm>
#include <array>

#include "crypto/blake2s.h"

namespace vern::policy {

std::string Document::peer_name(const PublicKey& key) const {
    const auto found = names.find(key);
    return found == names.end() ? to_base64(key.bytes) : found->second;
}

// Dates far away are held at the ends of what an Instant can say.
Instant instant_of(WallTime end, const ClockPair& now) {
    constexpr auto kFar = std::chrono::duration_cast<Duration>(std::chrono::hours(24 * 365 * 100));
    const Duration left = end - now.wall;
    return now.boot + std::clamp(left, -kFar, kFar);
}

bool proves(const Members& members, const trust::Identity& identity) {
    return std::ranges::any_of(members.selectors,
                               [&](const Selector& one) { return matches(one, identity); });
}

namespace {

PeerSet peers_of(const Members& members, const std::vector<Holder>& holders) {
    PeerSet peers = members.peers;
    if (members.selectors.empty()) return peers;
    for (const Holder& holder : holders) {
        if (proves(members, *holder.identity)) peers.push_back(holder.peer);
    }
    std::ranges::sort(peers);
    peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
    return peers;
}

}  // namespace

std::vector<PeerSet> peer_sets_of(const Document& document, const std::vector<Holder>& holders) {
    std::vector<PeerSet> sets;
    sets.reserve(document.member_sets.size());
    for (const Members& members : document.member_sets) sets.push_back(peers_of(members, holders));
    return sets;
}

bool heeds_identities(const Document& document) {
    return document.all_prove || !document.some_prove.empty() ||
           std::ranges::any_of(document.member_sets,
                               [](const Members& one) { return !one.selectors.empty(); });
}

RuleSet rule_set_of(const Document& document, const ClockPair& now, std::uint32_t generation,
                    const std::vector<Holder>& holders) {
    RuleSet set;
    set.generation = generation;
    set.peer_sets = peer_sets_of(document, holders);
    set.flows_per_peer = document.flows_per_peer;
    set.observe = document.observe;
    set.log_default = document.log_denied;
    set.rules.reserve(document.rules.size());
    for (const DocumentRule& from : document.rules) {
        Rule rule = from.rule;
        if (from.expires) rule.expires = instant_of(*from.expires, now);
        // What is only observed is there to be seen.
        rule.log |= rule.action != Action::allow && (rule.observe || document.observe);
        set.rules.push_back(std::move(rule));
    }
    return set;
}

Admission admission_of(const Document& document, PeerSet provers) {
    if (!document.all_prove && document.some_prove.empty()) return {};
    std::ranges::sort(provers);
    return {.asks_all = document.all_prove, .asked = document.some_prove, .admitted = std::move(provers)};
}

std::uint64_t rule_number(std::string_view id) {
    std::array<std::byte, blake2s::kHashBytes> hash;
    blake2s::hash(hash, {std::as_bytes(std::span(id))});
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < 8; ++i) number = number << 8 | std::to_integer<std::uint64_t>(hash[i]);
    return number;
}

}  // namespace vern::policy
