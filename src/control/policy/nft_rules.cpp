#include "control/policy/nft_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "control/policy/nft_reading.h"
#include "control/policy/nft_text.h"
#include "control/text.h"

namespace vern::policy {
namespace {

using nlohmann::json;

constexpr std::size_t kRulesetBytesMax = std::size_t{64} << 20;
constexpr std::size_t kNftRulesMax = 20'000;  // with jumps written out
constexpr unsigned kJumpsMax = 16;

}  // namespace

void NftReading::limit(const json& limit, Rate::Scope scope, NftRule& rule) {
    static const std::map<std::string, int, std::less<>> kUnits{
        {"second", 1}, {"minute", 60}, {"hour", 3600}, {"day", 86400}};
    const auto count = number_of(at(limit, "rate"));
    const auto unit = kUnits.find(string_at(limit, "per"));
    const auto rate_unit = string_at(limit, "rate_unit");
    if (at(limit, "inv") == json(true))
        return give_up(rule, "limit rate over: put the rate on what is allowed");
    if (!count || *count == 0 || *count > 1'000'000 || unit == kUnits.end() ||
        (!rate_unit.empty() && rate_unit != "packets"))
        return give_up(rule, "a limit of " + value_text(at(limit, "rate")) + " " + rate_unit + " per " +
                                 string_at(limit, "per"));
    const auto burst = std::clamp<std::uint64_t>(number_of(at(limit, "burst")).value_or(5), 1, 1'000'000);
    rule.rate = Rate{static_cast<std::uint32_t>(*count), std::chrono::seconds(unit->second),
                     static_cast<std::uint32_t>(burst), scope};
}

namespace {

bool decides_nothing(std::string_view kind) {
    constexpr std::array<std::string_view, 9> kKinds{
        "mangle", "notrack", "dup", "secmark", "flow", "ct helper", "ct timeout", "last", "ct expectation"};
    return std::ranges::find(kKinds, kind) != kKinds.end();
}

}  // namespace

void NftReading::refuse(NftRule::Verdict verdict, NftRule& rule) {
    rule.verdict = verdict;
    if (!rule.other_transports) return;
    rule.services.reset();
    give_up(rule, "ports of any transport");
}

bool NftReading::take_statement(const NftChain& chain, const json& statement, NftRule& rule) {
    if (!statement.is_object() || statement.empty()) return true;
    const std::string kind = statement.begin().key();
    const json& body = *statement.begin();
    if (kind == "match")
        return match(chain, at(body, "left"), at(body, "right"), string_at(body, "op"), rule);
    if (kind == "counter" || kind == "continue") return true;
    if (kind == "accept")
        rule.verdict = NftRule::Verdict::accept;
    else if (kind == "drop" || kind == "reject")
        refuse(kind == "drop" ? NftRule::Verdict::drop : NftRule::Verdict::reject, rule);
    else if (kind == "log")
        rule.log = string_at(body, "prefix");
    else if (kind == "limit")
        limit(body, Rate::Scope::rule, rule);
    else if (kind == "set" || kind == "meter") {
        // add @ssh { ip saddr limit rate 10/minute }: what a policy calls "per source"
        const json& key = kind == "set" ? at(body, "elem") : at(body, "key");
        const json& statements = at(body, "stmt");
        const json& inner =
            statements.is_array() ? (statements.size() == 1 ? statements[0] : json()) : statements;
        const json& payload = at(at(key, "elem").is_object() ? at(at(key, "elem"), "val") : key, "payload");
        // nft asks for the family of the addresses that it keeps.
        if (const auto protocol = string_at(payload, "protocol"); protocol == "ip" || protocol == "ip6")
            (protocol == "ip" ? rule.v6 : rule.v4) = false;
        if (string_at(payload, "field") == "saddr" && at(inner, "limit").is_object())
            limit(at(inner, "limit"), Rate::Scope::source, rule);
        else
            give_up(rule,
                    "what is kept in the set " + printable(string_at(body, kind == "set" ? "set" : "name")));
    } else {
        // Who looks at it there (a queue, a proxy) may let none of it pass.
        if (rule.verdict == NftRule::Verdict::none && !decides_nothing(kind))
            rule.verdict = NftRule::Verdict::drop;
        give_up(rule, "a policy has nothing like '" + printable(kind) + "'");
    }
    return true;
}

void NftReading::jump(const NftChain& chain, const std::string& target, bool go, const NftRule& rule,
                      unsigned depth, bool last, std::vector<NftRule>& to) {
    const auto found = chains_.find({chain.family, chain.table, target});
    const auto opaque = [&](std::string why) {
        NftRule closed = rule;
        closed.verdict = NftRule::Verdict::drop;  // for all we know
        give_up(closed, std::move(why));
        to.push_back(std::move(closed));
    };
    if (found == chains_.end())
        return opaque("jumps to the chain '" + printable(target) + "', which is not here");
    if (depth >= kJumpsMax) return opaque("jumps too deep");
    if (go && !last) return opaque("goto in the middle of a chain");
    if (!rule.unsupported.empty() || rule.rate)
        return opaque(rule.unsupported.empty() ? "a limit on a jump" : rule.unsupported);
    const auto& rules = found->second.rules;
    for (std::size_t i = 0; i < rules.size(); ++i) {
        for (const json& statement : at(*rules[i], "expr")) {
            const bool returns = statement.is_object() && statement.contains("return");
            if (returns && (i + 1 < rules.size() || at(*rules[i], "expr").size() > 1))
                return opaque("the chain '" + printable(target) + "' returns in its middle");
        }
    }
    NftRule outer = rule;
    outer.log.reset();
    read_chain(found->second, outer, depth + 1, to);
}

void NftReading::read_rule(const NftChain& chain, const json& item, const NftRule& outer, unsigned depth,
                           bool last, std::vector<NftRule>& to) {
    if (to.size() >= kNftRulesMax) {
        too_many_ = true;
        return;
    }
    NftRule rule = outer;
    rule.name = chain.name + "-" + value_text(at(item, "handle"));
    rule.text = rule_text(item);
    const json& expressions = at(item, "expr");
    if (!expressions.is_array()) return;
    for (const json& statement : expressions) {
        if (!statement.is_object() || statement.empty()) continue;
        const std::string kind = statement.begin().key();
        if (kind == "return") return;
        if (kind == "jump" || kind == "goto")
            return jump(chain, string_at(*statement.begin(), "target"), kind == "goto", rule, depth, last,
                        to);
        if (kind == "vmap") {
            const json &key = at(*statement.begin(), "key"), &data = at(*statement.begin(), "data");
            const json* entries = &at(data, "set");
            const auto named =
                data.is_string() ? sets_.find({chain.family, chain.table, data.get<std::string>().substr(1)})
                                 : sets_.end();
            if (named != sets_.end()) entries = &at(*named->second, "elem");
            if ((named != sets_.end() && is_filled_by_packets(*named->second)) || !entries->is_array() ||
                entries->size() > kNftListMax) {
                give_up(rule, "a map that is not written here");
                rule.verdict = NftRule::Verdict::drop;
                to.push_back(std::move(rule));
                return;
            }
            for (const json& entry : *entries) {
                if (!entry.is_array() || entry.size() != 2) continue;
                NftRule one = rule;
                const json value =
                    at(entry[0], "elem").is_object() ? at(at(entry[0], "elem"), "val") : entry[0];
                if (!match(chain, key, value, "==", one)) continue;
                if (entry[1].is_object() && entry[1].contains("jump"))
                    jump(chain, string_at(entry[1]["jump"], "target"), false, one, depth, last, to);
                else if (entry[1].is_object() && entry[1].contains("goto"))
                    jump(chain, string_at(entry[1]["goto"], "target"), true, one, depth, last, to);
                else if (take_statement(chain, entry[1], one))
                    to.push_back(std::move(one));
            }
            return;
        }
        if (!take_statement(chain, statement, rule)) return;
    }
    to.push_back(std::move(rule));
}

void NftReading::read_chain(const NftChain& chain, const NftRule& outer, unsigned depth,
                            std::vector<NftRule>& to) {
    for (std::size_t i = 0; i < chain.rules.size(); ++i)
        read_rule(chain, *chain.rules[i], outer, depth, i + 1 == chain.rules.size(), to);
}

Result<void> NftReading::read_hook(NftHook hook, std::vector<NftRule>& to, NftRuleset::Filtered& filtered) {
    hook_ = hook;
    std::vector<const NftChain*> bases;
    for (const auto& [key, chain] : chains_) {
        if (chain.hook == hook) bases.push_back(&chain);
    }
    std::stable_sort(bases.begin(), bases.end(),
                     [](const NftChain* a, const NftChain* b) { return a->priority < b->priority; });
    std::vector<NftRule> first, decided;
    const NftChain *of_v4 = nullptr, *of_v6 = nullptr;
    for (const NftChain* base : bases) {
        NftRule outer;
        outer.v4 = base->family != "ip6";
        outer.v6 = base->family != "ip";
        std::vector<NftRule> rules;
        read_chain(*base, outer, 0, rules);
        const bool accepts =
            base->policy != "drop" && std::none_of(rules.begin(), rules.end(), [](const NftRule& r) {
                return r.verdict == NftRule::Verdict::accept;
            });
        if (accepts && bases.size() > 1) {
            // It only takes away (fail2ban's, say): a packet must pass it and the others.
            first.insert(first.end(), rules.begin(), rules.end());
            continue;
        }
        const NftChain* other = outer.v4 && of_v4 != nullptr ? of_v4 : outer.v6 ? of_v6 : nullptr;
        if (other != nullptr)
            return fail("the chains " + printable(other->table + "/" + other->name) + " and " +
                        printable(base->table + "/" + base->name) +
                        " judge the same packets, and both must accept: give one table (nft -j list table "
                        "inet filter)");
        if (outer.v4) of_v4 = base;
        if (outer.v6) of_v6 = base;
        decided.insert(decided.end(), rules.begin(), rules.end());
        outer.name = base->name + "-policy";
        outer.text = "policy " + (base->policy == "drop" ? std::string("drop") : std::string("accept"));
        outer.verdict = base->policy == "drop" ? NftRule::Verdict::drop : NftRule::Verdict::accept;
        outer.is_policy = true;
        decided.push_back(outer);
    }
    filtered = {of_v4 != nullptr, of_v6 != nullptr};
    to = std::move(first);
    to.insert(to.end(), decided.begin(), decided.end());
    if (too_many_)
        return fail("more than " + std::to_string(kNftRulesMax) + " rules, with jumps written out");
    return {};
}

void NftReading::take_chain(const json& item) {
    NftChain chain{.family = string_at(item, "family"),
                   .table = string_at(item, "table"),
                   .name = string_at(item, "name"),
                   .policy = string_at(item, "policy"),
                   .hook = {},
                   .rules = {}};
    if (chain.family != "ip" && chain.family != "ip6" && chain.family != "inet") return;
    if (at(item, "prio").is_number_integer()) chain.priority = at(item, "prio").get<std::int64_t>();
    const auto hook = string_at(item, "hook"), type = string_at(item, "type");
    if (!hook.empty() && type == "filter") {
        if (hook == "input")
            chain.hook = NftHook::input;
        else if (hook == "forward")
            chain.hook = NftHook::forward;
        else if (hook == "output")
            chain.hook = NftHook::output;
        else
            notes_.push_back("chain " + printable(chain.name) + " (" + printable(hook) +
                             ") is not a policy's matter, and left to nft");
    } else if (!hook.empty()) {
        notes_.push_back("chain " + printable(chain.name) + " (" + printable(type) +
                         ") is not a policy's matter, and left to nft");
    }
    chains_.emplace(Key{chain.family, chain.table, chain.name}, std::move(chain));
}

void NftReading::take(const json& item) {
    if (const json& chain = at(item, "chain"); chain.is_object()) return take_chain(chain);
    for (const char* kind : {"set", "map"}) {
        const json& set = at(item, kind);
        if (set.is_object())
            sets_[{string_at(set, "family"), string_at(set, "table"), string_at(set, "name")}] = &set;
    }
    const json& rule = at(item, "rule");
    if (!rule.is_object()) return;
    const auto chain =
        chains_.find({string_at(rule, "family"), string_at(rule, "table"), string_at(rule, "chain")});
    if (chain != chains_.end()) chain->second.rules.push_back(&rule);
}

// The name that rules ask for, if they ask for one that looks like a tunnel's.
void NftReading::choose_interface() {
    std::set<std::string> names;
    for (const auto& [key, chain] : chains_) {
        for (const json* rule : chain.rules) {
            for (const json& statement : at(*rule, "expr")) {
                const json& match = at(statement, "match");
                const auto meta = string_at(at(at(match, "left"), "meta"), "key");
                if (meta != "iifname" && meta != "oifname" && meta != "iif" && meta != "oif") continue;
                for (const json& value : values_of(chain, at(match, "right")).value_or(std::vector<json>{})) {
                    if (value.is_string() && value.get<std::string>().starts_with("wg"))
                        names.insert(value.get<std::string>());
                }
            }
        }
    }
    interface_ = names.size() == 1 && !names.begin()->ends_with('*') ? *names.begin() : "wg0";
}

Result<NftRuleset> NftReading::run(const json& items) {
    for (const json& item : items) take(item);
    if (interface_.empty()) choose_interface();
    NftRuleset ruleset;
    if (auto read = read_hook(NftHook::input, ruleset.input, ruleset.input_filtered); !read)
        return tl::unexpected(read.error());
    if (auto read = read_hook(NftHook::forward, ruleset.forward, ruleset.forward_filtered); !read)
        return tl::unexpected(read.error());
    if (auto read = read_hook(NftHook::output, ruleset.output, ruleset.output_filtered); !read)
        return tl::unexpected(read.error());
    ruleset.notes = std::move(notes_);
    return ruleset;
}

Result<NftRuleset> read_nft(std::string_view text, std::string& interface) {
    if (text.size() > kRulesetBytesMax) return fail("larger than 64 MiB", EFBIG);
    // What nft prints is nowhere near as deep, and values are looked at by functions that call themselves.
    constexpr std::size_t kDepthMax = 64;
    const json document = is_deeper(text, kDepthMax) ? json() : json::parse(text, nullptr, false);
    const json& items = at(document, "nftables");
    if (!items.is_array()) return fail("not the output of `nft -j list ruleset`");
    NftReading reading(interface);
    auto ruleset = reading.run(items);
    interface = reading.interface();
    return ruleset;
}

}  // namespace vern::policy
