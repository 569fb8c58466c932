#include "control/policy/nft_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "control/policy/service_text.h"
#include "control/text.h"

namespace vern::policy {
namespace {

using nlohmann::json;

constexpr std::size_t kRulesetBytesMax = std::size_t{64} << 20;
constexpr std::size_t kNftRulesMax = 20'000;  // with jumps written out
constexpr std::size_t kListMax = 1 << 16;
constexpr unsigned kJumpsMax = 16;

// JSON of strangers: every look is a careful one.
const json& at(const json& value, std::string_view key) {
    static const json kNone;
    if (!value.is_object()) return kNone;
    const auto found = value.find(key);
    return found == value.end() ? kNone : *found;
}
std::string string_at(const json& value, std::string_view key) {
    const json& found = at(value, key);
    return found.is_string() ? found.get<std::string>() : std::string();
}
std::optional<std::uint64_t> number_of(const json& value) {
    if (value.is_number_unsigned()) return value.get<std::uint64_t>();
    if (value.is_string()) return parse_decimal<std::uint64_t>(value.get<std::string>());
    return std::nullopt;
}

// Prefixes that make up a range of addresses.
std::vector<Prefix> prefixes_of_range(IpAddress first, const IpAddress& last) {
    std::vector<Prefix> found;
    const unsigned bits = first.family == Family::v4 ? 32 : 128;
    const auto bit = [](const IpAddress& a, unsigned i) {
        return (std::to_integer<unsigned>(a.bytes[i / 8]) >> (7 - i % 8)) & 1u;
    };
    while (first.bytes <= last.bytes && found.size() < 256) {
        // The shortest length at which `first` has no host bits and the whole prefix ends before `last` does.
        unsigned length = bits;
        while (length > 0 && bit(first, length - 1) == 0) {
            IpAddress end = first;
            for (unsigned i = length - 1; i < bits; ++i)
                end.bytes[i / 8] |= static_cast<std::byte>(1u << (7 - i % 8));
            if (end.bytes > last.bytes) break;
            --length;
        }
        found.push_back({first, static_cast<std::uint8_t>(length)});
        unsigned i = length;  // on to the next address behind it
        while (i > 0 && bit(first, i - 1) == 1) {
            first.bytes[(i - 1) / 8] &= static_cast<std::byte>(~(1u << (7 - (i - 1) % 8)));
            --i;
        }
        if (i == 0) break;
        first.bytes[(i - 1) / 8] |= static_cast<std::byte>(1u << (7 - (i - 1) % 8));
    }
    return found;
}

bool contains(const Prefix& outer, const Prefix& inner) {
    if (outer.address.family != inner.address.family || outer.length > inner.length) return false;
    for (unsigned i = 0; i < outer.length; ++i) {
        const auto mask = static_cast<std::byte>(0x80 >> (i % 8));
        if ((outer.address.bytes[i / 8] & mask) != (inner.address.bytes[i / 8] & mask)) return false;
    }
    return true;
}

std::vector<Prefix> both(const std::vector<Prefix>& a, const std::vector<Prefix>& b) {
    std::vector<Prefix> found;
    for (const Prefix& one : a) {
        for (const Prefix& other : b) {
            if (contains(one, other))
                found.push_back(other);
            else if (contains(other, one))
                found.push_back(one);
        }
    }
    return found;
}

std::vector<Service> both(const std::vector<Service>& a, const std::vector<Service>& b) {
    std::vector<Service> found;
    for (const Service& one : a) {
        for (const Service& other : b) {
            if (one.protocol != other.protocol && one.protocol != Service::kAnyProtocol &&
                other.protocol != Service::kAnyProtocol)
                continue;
            const Service service{std::min(one.protocol, other.protocol),
                                  std::max(one.first_port, other.first_port),
                                  std::min(one.last_port, other.last_port)};
            if (service.first_port <= service.last_port) found.push_back(service);
        }
    }
    return found;
}

// What is too long to be narrowed stays wider than the rule is, and says so.
template <typename T>
void narrow(NftRule& rule, std::optional<std::vector<T>> NftRule::*which, std::vector<T> by) {
    auto& to = rule.*which;
    if (to && to->size() * by.size() > 1'000'000) {
        if (rule.unsupported.empty()) rule.unsupported = "lists of thousands, several in one rule";
    } else {
        to = to ? both(*to, by) : std::move(by);
    }
}

std::optional<std::uint16_t> protocol_of(const json& value) {
    static const std::map<std::string, std::uint16_t, std::less<>> kNames{
        {"tcp", 6},   {"udp", 17},   {"icmp", 1},   {"icmpv6", 58}, {"ipv6-icmp", 58}, {"gre", 47},
        {"esp", 50},  {"ah", 51},    {"sctp", 132}, {"igmp", 2},    {"udplite", 136},  {"dccp", 33},
        {"ospf", 89}, {"vrrp", 112}, {"ipip", 4},   {"ipv6", 41}};
    if (value.is_string()) {
        if (const auto found = kNames.find(value.get<std::string>()); found != kNames.end())
            return found->second;
    }
    const auto number = number_of(value);
    if (!number || *number > 255) return std::nullopt;
    return static_cast<std::uint16_t>(*number);
}

struct Chain {
    std::string family, table, name, policy;
    std::optional<NftHook> hook;
    std::int64_t priority = 0;
    std::vector<const json*> rules;
};

class Reading {
  public:
    explicit Reading(std::string interface) : interface_(std::move(interface)) {}
    Result<NftRuleset> run(const json& items);
    const std::string& interface() const { return interface_; }

  private:
    using Key = std::tuple<std::string, std::string, std::string>;  // family, table, name

    void take(const json& item);
    void take_chain(const json& chain);
    void choose_interface();
    Result<void> read_hook(NftHook hook, std::vector<NftRule>& to, NftRuleset::Filtered& filtered);
    void read_chain(const Chain& chain, const NftRule& outer, unsigned depth, std::vector<NftRule>& to);
    void read_rule(const Chain& chain, const json& rule, const NftRule& outer, unsigned depth, bool last,
                   std::vector<NftRule>& to);
    // False: the rule is not of our interface.
    bool take_statement(const Chain& chain, const json& statement, NftRule& rule);
    bool match(const Chain& chain, const json& left, const json& right, std::string_view op, NftRule& rule);
    bool match_meta(std::string_view key, const std::vector<json>& values, bool negated, NftRule& rule);
    bool match_payload(const json& payload, const std::vector<json>& values, bool negated, NftRule& rule);
    void match_icmp(bool v6, std::string_view field, const std::vector<json>& values, bool negated,
                    NftRule& rule);
    void match_ports(std::string_view protocol, const std::vector<json>& values, bool negated, NftRule& rule);
    void match_addresses(bool v6, bool source, const std::vector<json>& values, bool negated, NftRule& rule);
    void match_state(const std::vector<json>& values, bool negated, NftRule& rule);
    void limit(const json& limit, Rate::Scope scope, NftRule& rule);
    std::optional<std::vector<json>> values_of(const Chain& chain, const json& right) const;
    void jump(const Chain& chain, const std::string& target, bool go, const NftRule& rule, unsigned depth,
              bool last, std::vector<NftRule>& to);

    static void give_up(NftRule& rule, std::string why) {
        if (rule.unsupported.empty()) rule.unsupported = std::move(why);
    }

    std::string interface_;
    NftHook hook_ = NftHook::input;
    std::map<Key, Chain> chains_;
    std::map<Key, const json*> sets_;
    std::vector<std::string> notes_;
    bool too_many_ = false;
};

// Text

std::string value_text(const json& value);

std::string list_text(const json& list) {
    std::string text;
    for (const json& entry : list) {
        if (text.size() > 200) return text + ", ...";
        text += (text.empty() ? "" : ", ") + value_text(entry);
    }
    return text;
}

std::string value_text(const json& value) {
    if (value.is_string()) return printable(value.get<std::string>());
    if (value.is_array()) return list_text(value);
    if (const json& set = at(value, "set"); set.is_array()) return "{ " + list_text(set) + " }";
    if (const json& prefix = at(value, "prefix"); prefix.is_object())
        return value_text(at(prefix, "addr")) + "/" + value_text(at(prefix, "len"));
    if (const json& range = at(value, "range"); range.is_array() && range.size() == 2)
        return value_text(range[0]) + "-" + value_text(range[1]);
    if (const json& elem = at(value, "elem"); elem.is_object()) return value_text(at(elem, "val"));
    return printable(value.dump(-1, ' ', false, json::error_handler_t::replace), 100);
}

std::string left_text(const json& left) {
    if (const json& meta = at(left, "meta"); meta.is_object()) return string_at(meta, "key");
    if (const json& ct = at(left, "ct"); ct.is_object()) return "ct " + string_at(ct, "key");
    if (const json& payload = at(left, "payload"); payload.is_object())
        return string_at(payload, "protocol") + " " + string_at(payload, "field");
    return value_text(left);
}

std::string statement_text(const json& statement) {
    if (!statement.is_object() || statement.empty()) return "?";
    const std::string kind = statement.begin().key();
    const json& body = *statement.begin();
    if (kind == "match") {
        const std::string op = string_at(body, "op");
        return left_text(at(body, "left")) + (op == "==" || op == "in" ? " " : " " + op + " ") +
               value_text(at(body, "right"));
    }
    if (kind == "limit") return "limit rate " + value_text(at(body, "rate")) + "/" + string_at(body, "per");
    if (kind == "log")
        return at(body, "prefix").is_string() ? "log prefix \"" + string_at(body, "prefix") + "\"" : "log";
    if (kind == "jump" || kind == "goto") return kind + " " + string_at(body, "target");
    if (kind == "vmap") return left_text(at(body, "key")) + " vmap " + value_text(at(body, "data"));
    if (kind == "reject")
        return body.is_object() && at(body, "type").is_string() ? "reject with " + string_at(body, "type")
                                                                : "reject";
    return printable(kind);
}

std::string rule_text(const json& rule) {
    std::string text;
    for (const json& statement : at(rule, "expr"))
        text += (text.empty() ? "" : " ") + statement_text(statement);
    if (const auto comment = string_at(rule, "comment"); !comment.empty())
        text += " comment \"" + comment + "\"";
    return printable(text, 400);
}

// Conditions

std::optional<std::vector<json>> Reading::values_of(const Chain& chain, const json& right) const {
    const json* list = &right;
    if (right.is_string() && right.get<std::string>().starts_with("@")) {
        const auto set = sets_.find({chain.family, chain.table, right.get<std::string>().substr(1)});
        if (set == sets_.end()) return std::nullopt;
        // What is filled while packets pass is not to be read from here.
        const json& flags = at(*set->second, "flags");
        for (const json& flag : flags.is_array() ? flags : json::array()) {
            if (flag == json("dynamic") || flag == json("timeout")) return std::nullopt;
        }
        list = &at(*set->second, "elem");
        if (list->is_null()) return std::vector<json>{};
    } else if (const json& set = at(right, "set"); !set.is_null()) {
        list = &set;
    }
    if (!list->is_array()) return std::vector<json>{*list};
    if (list->size() > kListMax) return std::nullopt;
    std::vector<json> values;
    for (const json& entry : *list)
        values.push_back(at(entry, "elem").is_object() ? at(at(entry, "elem"), "val") : entry);
    return values;
}

bool names_interface(const json& value, std::string_view interface) {
    if (!value.is_string()) return false;
    const std::string name = value.get<std::string>();
    return name.ends_with('*') ? interface.starts_with(std::string_view(name).substr(0, name.size() - 1))
                               : name == interface;
}

bool Reading::match_meta(std::string_view key, const std::vector<json>& values, bool negated, NftRule& rule) {
    const bool in = key == "iifname" || key == "iif";
    if (in || key == "oifname" || key == "oif") {
        const bool named = std::any_of(values.begin(), values.end(),
                                       [&](const json& v) { return names_interface(v, interface_); });
        if (hook_ == NftHook::input || hook_ == NftHook::output)
            return (hook_ == NftHook::input) == in ? named != negated : negated;
        const bool only_ours = named && !negated && values.size() == 1;
        if (only_ours)
            (in ? rule.from_tunnel : rule.to_tunnel) = true;
        else
            give_up(rule, "asks for other interfaces");
        return true;
    }
    if (key == "nfproto" || key == "protocol") {
        bool v4 = false, v6 = false;
        for (const json& value : values) {
            v4 |= value == json("ipv4") || value == json("ip");
            v6 |= value == json("ipv6") || value == json("ip6");
        }
        rule.v4 = rule.v4 && v4 != negated;
        rule.v6 = rule.v6 && v6 != negated;
        return true;
    }
    if (key == "l4proto" && !negated) {
        std::vector<Service> services;
        for (const json& value : values) {
            const auto protocol = protocol_of(value);
            if (!protocol)
                give_up(rule, "protocol " + value_text(value));
            else
                services.push_back({*protocol, 0, 65535});
        }
        if (rule.unsupported.empty()) narrow(rule, &NftRule::services, std::move(services));
        return true;
    }
    give_up(rule, "a policy has nothing like 'meta " + printable(key) + (negated ? " !='" : "'"));
    return true;
}

void Reading::match_ports(std::string_view protocol, const std::vector<json>& values, bool negated,
                          NftRule& rule) {
    std::vector<std::pair<std::uint16_t, std::uint16_t>> ranges;
    for (const json& value : values) {
        const json& range = at(value, "range");
        const auto first = number_of(range.is_array() && range.size() == 2 ? range[0] : value),
                   last = number_of(range.is_array() && range.size() == 2 ? range[1] : value);
        if (!first || !last || *first > 65535 || *last > 65535)
            return give_up(rule, "port " + value_text(value));
        ranges.emplace_back(static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last));
    }
    std::sort(ranges.begin(), ranges.end());
    if (negated) {
        std::vector<std::pair<std::uint16_t, std::uint16_t>> others;
        unsigned next = 0;
        for (const auto& [first, last] : ranges) {
            if (first > next)
                others.emplace_back(static_cast<std::uint16_t>(next), static_cast<std::uint16_t>(first - 1));
            next = std::max(next, last + 1u);
        }
        if (next <= 65535) others.emplace_back(static_cast<std::uint16_t>(next), std::uint16_t{65535});
        ranges = std::move(others);
    }
    std::vector<Service> services;
    for (const auto& [first, last] : ranges) {
        if (protocol != "udp") services.push_back({kTcp, first, last});
        if (protocol != "tcp") services.push_back({kUdp, first, last});
    }
    narrow(rule, &NftRule::services, std::move(services));
}

void Reading::match_addresses(bool v6, bool source, const std::vector<json>& values, bool negated,
                              NftRule& rule) {
    (v6 ? rule.v4 : rule.v6) = false;
    if (negated) return give_up(rule, "all addresses but some");
    std::vector<Prefix> prefixes;
    for (const json& value : values) {
        const json &prefix = at(value, "prefix"), &range = at(value, "range");
        if (prefix.is_object()) {
            const auto parsed = parse_prefix(string_at(prefix, "addr") + "/" + value_text(at(prefix, "len")));
            if (!parsed) return give_up(rule, "address " + value_text(value));
            prefixes.push_back(*parsed);
        } else if (range.is_array() && range.size() == 2 && range[0].is_string() && range[1].is_string()) {
            const auto first = parse_address(range[0].get<std::string>()),
                       last = parse_address(range[1].get<std::string>());
            if (!first || !last || first->family != last->family)
                return give_up(rule, "addresses " + value_text(value));
            const auto all = prefixes_of_range(*first, *last);
            prefixes.insert(prefixes.end(), all.begin(), all.end());
        } else {
            const auto parsed = value.is_string() ? parse_prefix(value.get<std::string>()) : std::nullopt;
            if (!parsed) return give_up(rule, "address " + value_text(value));
            prefixes.push_back(*parsed);
        }
        if (prefixes.back().address.family != (v6 ? Family::v6 : Family::v4))
            return give_up(rule, "address " + value_text(value));
    }
    narrow(rule, source ? &NftRule::source : &NftRule::destination, std::move(prefixes));
}

void Reading::match_icmp(bool v6, std::string_view field, const std::vector<json>& values, bool negated,
                         NftRule& rule) {
    (v6 ? rule.v4 : rule.v6) = false;
    const std::uint16_t protocol = v6 ? kIcmp6 : kIcmp;
    if (field == "code" && rule.services && rule.services->size() == 1 && values.size() == 1 && !negated) {
        Service& service = rule.services->front();
        const auto code = number_of(values[0]);
        if (code && *code < 256 && service.protocol == protocol &&
            service.last_port == service.first_port + 255) {
            service.first_port = service.last_port = static_cast<std::uint16_t>(service.first_port + *code);
            return;
        }
    }
    std::vector<Service> services;
    for (const json& value : values) {
        const auto type = value.is_string() ? parse_icmp_type(value.get<std::string>(), v6) : std::nullopt;
        const auto number = type ? std::optional<std::uint64_t>(*type) : number_of(value);
        if (field != "type" || negated || !number || *number > 255) {
            narrow(rule, &NftRule::services, std::vector<Service>{{protocol, 0, 65535}});
            return give_up(rule, "ICMP " + printable(field) + " " + value_text(value));
        }
        const auto base = static_cast<std::uint16_t>(*number * 256);
        services.push_back({protocol, base, static_cast<std::uint16_t>(base + 255)});
    }
    narrow(rule, &NftRule::services, std::move(services));
}

bool Reading::match_payload(const json& payload, const std::vector<json>& values, bool negated,
                            NftRule& rule) {
    const auto protocol = string_at(payload, "protocol"), field = string_at(payload, "field");
    const bool ports = protocol == "tcp" || protocol == "udp" || protocol == "th";
    if (ports && field == "dport") {
        match_ports(protocol, values, negated, rule);
    } else if ((protocol == "ip" || protocol == "ip6") && (field == "saddr" || field == "daddr")) {
        match_addresses(protocol == "ip6", field == "saddr", values, negated, rule);
    } else if ((protocol == "ip" && field == "protocol") || (protocol == "ip6" && field == "nexthdr")) {
        (protocol == "ip" ? rule.v6 : rule.v4) = false;
        match_meta("l4proto", values, negated, rule);
    } else if (protocol == "icmp" || protocol == "icmpv6") {
        match_icmp(protocol == "icmpv6", field, values, negated, rule);
    } else if (protocol == "tcp" && field == "flags" && !negated && values.size() == 1 &&
               values[0] == json("syn")) {
        narrow(rule, &NftRule::services,
               std::vector<Service>{{kTcp, 0, 65535}});  // what begins a flow is a SYN anyway
    } else {
        if (protocol == "tcp" || protocol == "udp")
            narrow(rule, &NftRule::services,
                   std::vector<Service>{{protocol == "tcp" ? kTcp : kUdp, 0, 65535}});
        give_up(rule, "a policy has nothing like '" + printable(protocol + " " + field) + "'");
    }
    return true;
}

// New flows are what rules are for: packets of a flow, and what is related to one, pass with it, and what is
// of none never does.
void Reading::match_state(const std::vector<json>& values, bool negated, NftRule& rule) {
    bool fresh = false;
    for (const json& value : values) fresh |= value == json("new");
    if (fresh == negated) rule.services = std::vector<Service>{};
}

bool Reading::match(const Chain& chain, const json& left, const json& right, std::string_view op,
                    NftRule& rule) {
    const bool negated = op == "!=";
    const json& masked = at(left, "&");  // tcp flags & (fin | syn | rst | ack) == syn
    const json& subject =
        masked.is_array() && !masked.empty() && string_at(at(masked[0], "payload"), "field") == "flags"
            ? masked[0]
            : left;
    const auto values = values_of(chain, right);
    if (op != "==" && op != "in" && !negated) give_up(rule, "the comparison '" + printable(op) + "'");
    if (!values) {
        give_up(rule, "the set " + value_text(right) + " is filled by packets, or missing");
        return true;
    }
    if (const json& meta = at(subject, "meta"); meta.is_object())
        return match_meta(string_at(meta, "key"), *values, negated, rule);
    if (const json& payload = at(subject, "payload"); payload.is_object())
        return match_payload(payload, *values, negated, rule);
    if (const json& ct = at(subject, "ct"); ct.is_object() && string_at(ct, "key") == "state") {
        match_state(*values, negated, rule);
    } else {
        give_up(rule, "a policy has nothing like '" + left_text(left) + "'");
    }
    return true;
}

void Reading::limit(const json& limit, Rate::Scope scope, NftRule& rule) {
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

bool Reading::take_statement(const Chain& chain, const json& statement, NftRule& rule) {
    if (!statement.is_object() || statement.empty()) return true;
    const std::string kind = statement.begin().key();
    const json& body = *statement.begin();
    if (kind == "match")
        return match(chain, at(body, "left"), at(body, "right"), string_at(body, "op"), rule);
    if (kind == "counter" || kind == "continue") return true;
    if (kind == "accept")
        rule.verdict = NftRule::Verdict::accept;
    else if (kind == "drop")
        rule.verdict = NftRule::Verdict::drop;
    else if (kind == "reject")
        rule.verdict = NftRule::Verdict::reject;
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
        const auto field =
            string_at(at(at(key, "elem").is_object() ? at(at(key, "elem"), "val") : key, "payload"), "field");
        if (field == "saddr" && at(inner, "limit").is_object())
            limit(at(inner, "limit"), Rate::Scope::source, rule);
        else
            give_up(rule,
                    "what is kept in the set " + printable(string_at(body, kind == "set" ? "set" : "name")));
    } else {
        give_up(rule, "a policy has nothing like '" + printable(kind) + "'");
    }
    return true;
}

void Reading::jump(const Chain& chain, const std::string& target, bool go, const NftRule& rule,
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

void Reading::read_rule(const Chain& chain, const json& item, const NftRule& outer, unsigned depth, bool last,
                        std::vector<NftRule>& to) {
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
            if (!entries->is_array() || entries->size() > kListMax) {
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

void Reading::read_chain(const Chain& chain, const NftRule& outer, unsigned depth, std::vector<NftRule>& to) {
    for (std::size_t i = 0; i < chain.rules.size(); ++i)
        read_rule(chain, *chain.rules[i], outer, depth, i + 1 == chain.rules.size(), to);
}

Result<void> Reading::read_hook(NftHook hook, std::vector<NftRule>& to, NftRuleset::Filtered& filtered) {
    hook_ = hook;
    std::vector<const Chain*> bases;
    for (const auto& [key, chain] : chains_) {
        if (chain.hook == hook) bases.push_back(&chain);
    }
    std::stable_sort(bases.begin(), bases.end(),
                     [](const Chain* a, const Chain* b) { return a->priority < b->priority; });
    std::vector<NftRule> first, decided;
    const Chain *of_v4 = nullptr, *of_v6 = nullptr;
    for (const Chain* base : bases) {
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
        const Chain* other = outer.v4 && of_v4 != nullptr ? of_v4 : outer.v6 ? of_v6 : nullptr;
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

void Reading::take_chain(const json& item) {
    Chain chain{.family = string_at(item, "family"),
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

void Reading::take(const json& item) {
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
void Reading::choose_interface() {
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

Result<NftRuleset> Reading::run(const json& items) {
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

template <typename T>
bool can_both(const std::optional<std::vector<T>>& a, const std::optional<std::vector<T>>& b) {
    if (a && a->empty()) return false;
    if (b && b->empty()) return false;
    return !a || !b || a->size() * b->size() > 1'000'000 || !both(*a, *b).empty();
}

}  // namespace

bool overlap(const NftRule& a, const NftRule& b) {
    if (!(a.v4 && b.v4) && !(a.v6 && b.v6)) return false;
    return can_both(a.source, b.source) && can_both(a.destination, b.destination) &&
           can_both(a.services, b.services);
}

Result<NftRuleset> read_nft(std::string_view text, std::string& interface) {
    if (text.size() > kRulesetBytesMax) return fail("larger than 64 MiB", EFBIG);
    const json document = json::parse(text, nullptr, false);
    const json& items = at(document, "nftables");
    if (!items.is_array()) return fail("not the output of `nft -j list ruleset`");
    Reading reading(interface);
    auto ruleset = reading.run(items);
    interface = reading.interface();
    return ruleset;
}

}  // namespace vern::policy
