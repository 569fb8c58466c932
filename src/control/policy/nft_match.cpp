// What a rule of nftables asks of packets.
#include <algorithm>
#include <map>

#include "control/policy/nft_reading.h"
#include "control/policy/nft_text.h"
#include "control/policy/service_text.h"
#include "control/text.h"

namespace vern::policy {
namespace {

using nlohmann::json;

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

bool names_interface(const json& value, std::string_view interface) {
    if (!value.is_string()) return false;
    const std::string name = value.get<std::string>();
    return name.ends_with('*') ? interface.starts_with(std::string_view(name).substr(0, name.size() - 1))
                               : name == interface;
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

// Then what is in it is not to be read from here. A single flag is a text since nft 1.1.4.
bool NftReading::is_filled_by_packets(const json& set) {
    const auto says_so = [](const json& flag) { return flag == json("dynamic") || flag == json("timeout"); };
    const json& flags = at(set, "flags");
    return flags.is_array() ? std::ranges::any_of(flags, says_so) : says_so(flags);
}

std::optional<std::vector<json>> NftReading::values_of(const NftChain& chain, const json& right) const {
    const json* list = &right;
    if (right.is_string() && right.get<std::string>().starts_with("@")) {
        const auto set = sets_.find({chain.family, chain.table, right.get<std::string>().substr(1)});
        if (set == sets_.end()) return std::nullopt;
        if (is_filled_by_packets(*set->second)) return std::nullopt;
        list = &at(*set->second, "elem");
        if (list->is_null()) return std::vector<json>{};
    } else if (const json& set = at(right, "set"); !set.is_null()) {
        list = &set;
    }
    if (!list->is_array()) return std::vector<json>{*list};
    if (list->size() > kNftListMax) return std::nullopt;
    std::vector<json> values;
    for (const json& entry : *list)
        values.push_back(at(entry, "elem").is_object() ? at(at(entry, "elem"), "val") : entry);
    return values;
}

bool NftReading::match_meta(std::string_view key, const std::vector<json>& values, bool negated,
                            NftRule& rule) {
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

void NftReading::match_ports(std::string_view protocol, const std::vector<json>& values, bool negated,
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
    rule.other_transports |= protocol == "th";
    narrow(rule, &NftRule::services, std::move(services));
}

void NftReading::match_addresses(bool v6, bool source, const std::vector<json>& values, bool negated,
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
            if (all.empty()) return give_up(rule, "addresses " + value_text(value));
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

void NftReading::match_icmp(bool v6, std::string_view field, const std::vector<json>& values, bool negated,
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

bool NftReading::match_payload(const json& payload, const std::vector<json>& values, bool negated,
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
void NftReading::match_state(const std::vector<json>& values, bool negated, NftRule& rule) {
    bool fresh = false;
    for (const json& value : values) fresh |= value.is_string() && value.get<std::string>() == "new";
    if (fresh == negated) rule.services = std::vector<Service>{};
}

bool NftReading::match(const NftChain& chain, const json& left, const json& right, std::string_view op,
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

}  // namespace vern::policy
