#include "control/policy/lint.h"

#include <algorithm>

namespace vern::policy {
namespace {

// Pairs of rules that are compared: enough for 5,000 rules one way. Beyond that this is told of the first
// ones only.
constexpr std::size_t kPairsMax = 25'000'000;

bool covers(const Prefix& outer, const Prefix& inner) {
    return outer.length <= inner.length && contains(outer, inner.address);
}

bool covers(const std::vector<Prefix>& outer, const std::vector<Prefix>& inner) {
    if (outer.empty()) return true;
    return !inner.empty() && outer.size() <= 64 && inner.size() <= 64 &&
           std::all_of(inner.begin(), inner.end(), [&](const Prefix& one) {
               return std::any_of(outer.begin(), outer.end(),
                                  [&](const Prefix& other) { return covers(other, one); });
           });
}

bool covers(const std::vector<Service>& outer, const std::vector<Service>& inner) {
    if (outer.empty()) return true;
    return !inner.empty() && outer.size() <= 64 && inner.size() <= 64 &&
           std::all_of(inner.begin(), inner.end(), [&](const Service& one) {
               return std::any_of(outer.begin(), outer.end(), [&](const Service& other) {
                   return other.protocol == one.protocol && other.first_port <= one.first_port &&
                          other.last_port >= one.last_port;
               });
           });
}

// Decides for good whenever it matches.
bool is_final(const DocumentRule& rule) { return !rule.rule.rate && !rule.expires && !rule.rule.observe; }

bool denies(const DocumentRule& rule) { return rule.rule.action != Action::allow; }

// Rules are asked in this order: first deny and reject, then allow; each as written.
const DocumentRule* what_hides(const Document& document, std::size_t index) {
    const DocumentRule& rule = document.rules[index];
    for (std::size_t i = 0; i < document.rules.size(); ++i) {
        const DocumentRule& other = document.rules[i];
        const bool before = denies(other) == denies(rule) ? i < index : denies(other);
        if (i != index && before && is_final(other) && covers(document, other.rule, rule.rule)) return &other;
    }
    return nullptr;
}

}  // namespace

bool covers(const Document& document, const Rule& outer, const Rule& inner) {
    if (outer.direction != inner.direction) return false;
    if (outer.peers != kAnyPeer && outer.peers != inner.peers) {
        if (inner.peers == kAnyPeer) return false;
        const auto &all = document.member_sets[outer.peers], &some = document.member_sets[inner.peers];
        if (all.peers.size() > 1024 || some.peers.size() > 1024 ||
            !std::ranges::includes(all.peers, some.peers) ||
            !std::ranges::includes(all.selectors, some.selectors))
            return false;
    }
    return covers(outer.services, inner.services) && covers(outer.local, inner.local) &&
           covers(outer.remote, inner.remote);
}

void warn_of_odd_rules(const Document& document, Messages& messages) {
    std::size_t pairs = 0;
    for (std::size_t i = 0; i < document.rules.size(); ++i) {
        const DocumentRule& rule = document.rules[i];
        const Members* members =
            rule.rule.peers == kAnyPeer ? nullptr : &document.member_sets[rule.rule.peers];
        if (members != nullptr && denies(rule) && !members->selectors.empty())
            messages.warn(rule.at, "rule '" + rule.id +
                                       "' denies by identity: whoever does not present it is not denied");
        if (members != nullptr && members->empty()) {
            messages.warn(rule.at, "rule '" + rule.id + "' matches nobody" +
                                       (denies(rule) ? ", so it denies nothing" : ""));
            continue;
        }
        pairs += document.rules.size();
        if (pairs > kPairsMax) continue;
        const DocumentRule* hidden_by = what_hides(document, i);
        if (hidden_by == nullptr) continue;
        const bool against = denies(*hidden_by) && !denies(rule);
        messages.warn(rule.at, "rule '" + rule.id + "' is never reached: '" + hidden_by->id + "' on line " +
                                   std::to_string(hidden_by->at.line) +
                                   (against ? " denies all of it, and deny comes before allow"
                                            : " decides all of it before"));
    }
}

}  // namespace vern::policy
