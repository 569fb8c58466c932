#include "control/policy/diff.h"

#include <algorithm>
#include <map>

#include "control/policy/rate_text.h"

namespace vern::policy {
namespace {

Members members(const Document& document, const Rule& rule) {
    return rule.peers == kAnyPeer ? Members{} : document.member_sets[rule.peers];
}

std::string changes(const Document& before, const DocumentRule& old, const Document& after,
                    const DocumentRule& now) {
    std::string what;
    const auto note = [&](bool changed, std::string_view name) {
        if (changed) what += (what.empty() ? "" : ", ") + std::string(name);
    };
    const Rule &a = old.rule, &b = now.rule;
    note(a.direction != b.direction, "direction");
    note(a.action != b.action, "action");
    note((a.peers == kAnyPeer) != (b.peers == kAnyPeer) || members(before, a) != members(after, b), "peers");
    note(a.remote != b.remote || a.local != b.local, "prefixes");
    note(a.services != b.services, "services");
    note(a.rate.has_value() != b.rate.has_value() || (a.rate && to_text(*a.rate) != to_text(*b.rate)),
         "rate");
    note(old.expires != now.expires, "expires");
    note(a.log != b.log || old.log_prefix != now.log_prefix, "log");
    note(a.observe != b.observe, "observe");
    return what;
}

}  // namespace

Difference difference(const Document& before, const Document& after) {
    std::map<std::string_view, const DocumentRule*> old, now;
    for (const DocumentRule& rule : before.rules) old.emplace(rule.id, &rule);
    for (const DocumentRule& rule : after.rules) now.emplace(rule.id, &rule);
    Difference found;
    std::vector<std::string_view> order_before, order_after;  // of the rules that both have
    for (const DocumentRule& rule : before.rules) {
        if (!now.contains(rule.id))
            found.removed.push_back(rule.id);
        else
            order_before.push_back(rule.id);
    }
    for (const DocumentRule& rule : after.rules) {
        const auto was = old.find(rule.id);
        if (was == old.end()) {
            found.added.push_back(rule.id);
            continue;
        }
        order_after.push_back(rule.id);
        if (auto what = changes(before, *was->second, after, rule); !what.empty())
            found.changed.emplace_back(rule.id, std::move(what));
    }
    if (order_before != order_after) found.other.push_back("the order of the rules");
    if (before.name != after.name)
        found.other.push_back("name: '" + before.name + "', now '" + after.name + "'");
    if (before.observe != after.observe)
        found.other.push_back(after.observe ? "observe: the policy is only watched now"
                                            : "observe: the policy is in force now");
    if (before.flows_per_peer != after.flows_per_peer)
        found.other.push_back("flows_per_peer: " + std::to_string(before.flows_per_peer) + ", now " +
                              std::to_string(after.flows_per_peer));
    if (before.all_prove != after.all_prove || before.some_prove != after.some_prove)
        found.other.push_back("require_identity");
    if (before.identity_max != after.identity_max) found.other.push_back("identity_max");
    if (before.log_denied != after.log_denied || before.log_denied_prefix != after.log_denied_prefix)
        found.other.push_back("log_denied");
    return found;
}

std::string to_text(const Difference& difference) {
    std::string text;
    for (const auto& id : difference.added) text += "+ " + id + "\n";
    for (const auto& id : difference.removed) text += "- " + id + "\n";
    for (const auto& [id, what] : difference.changed) text += "~ " + id + ": " + what + "\n";
    for (const auto& what : difference.other) text += "* " + what + "\n";
    return text;
}

}  // namespace vern::policy
