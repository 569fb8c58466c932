#include "control/policy/service_text.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "control/text.h"

namespace vern::policy {
namespace {

using TypeName = std::pair<std::uint8_t, std::string_view>;

constexpr std::array<TypeName, 12> kTypesV4{{{0, "echo-reply"},
                                             {3, "destination-unreachable"},
                                             {4, "source-quench"},
                                             {5, "redirect"},
                                             {8, "echo-request"},
                                             {9, "router-advertisement"},
                                             {10, "router-solicitation"},
                                             {11, "time-exceeded"},
                                             {12, "parameter-problem"},
                                             {13, "timestamp-request"},
                                             {14, "timestamp-reply"},
                                             {17, "address-mask-request"}}};
constexpr std::array<TypeName, 14> kTypesV6{{{1, "destination-unreachable"},
                                             {2, "packet-too-big"},
                                             {3, "time-exceeded"},
                                             {4, "parameter-problem"},
                                             {128, "echo-request"},
                                             {129, "echo-reply"},
                                             {130, "mld-listener-query"},
                                             {131, "mld-listener-report"},
                                             {132, "mld-listener-done"},
                                             {133, "nd-router-solicit"},
                                             {134, "nd-router-advert"},
                                             {135, "nd-neighbor-solicit"},
                                             {136, "nd-neighbor-advert"},
                                             {137, "nd-redirect"}}};

std::span<const TypeName> type_names(bool v6) {
    if (v6) return kTypesV6;
    return kTypesV4;
}

std::optional<std::string_view> type_name(std::uint8_t type, bool v6) {
    const auto names = type_names(v6);
    const auto found =
        std::find_if(names.begin(), names.end(), [&](const TypeName& n) { return n.first == type; });
    if (found == names.end()) return std::nullopt;
    return found->second;
}

std::string in_quotes(std::string_view text) { return "'" + printable(text) + "'"; }

Result<Service> with_ports(std::uint16_t protocol, std::string_view ports) {
    const auto dash = ports.find('-');
    const auto first = parse_port(ports.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_port(ports.substr(dash + 1));
    if (!first || !last)
        return fail(in_quotes(ports) + " is neither a port nor a range of ports (22, 8000-8100)");
    if (*first > *last) return fail(in_quotes(ports) + " begins above its end");
    return Service{protocol, *first, *last};
}

Result<Service> with_type(bool v6, std::string_view text) {
    const auto slash = text.find('/');
    const std::string_view name = text.substr(0, slash);
    const auto type = parse_icmp_type(name, v6);
    if (!type) {
        std::string what =
            in_quotes(name) + " is neither a type of " + (v6 ? "ICMPv6" : "ICMP") + " nor its number";
        if (parse_icmp_type(name, !v6))
            what += std::string(" (") + (v6 ? "icmp" : "icmpv6") + "/" + std::string(name) + "?)";
        return fail(what);
    }
    const auto base = static_cast<std::uint16_t>(*type * 256);
    const std::uint16_t protocol = v6 ? kIcmp6 : kIcmp;
    if (slash == std::string_view::npos)
        return Service{protocol, base, static_cast<std::uint16_t>(base + 255)};
    const auto code = parse_decimal<std::uint8_t>(text.substr(slash + 1));
    if (!code) return fail(in_quotes(text.substr(slash + 1)) + " is not an ICMP code (0 to 255)");
    const auto port = static_cast<std::uint16_t>(base + *code);
    return Service{protocol, port, port};
}

Result<Service> by_number(std::string_view text) {
    const auto number = parse_decimal<std::uint8_t>(text);
    if (!number) return fail(in_quotes(text) + " is not the number of a protocol (0 to 255)");
    switch (*number) {
        case kTcp: return fail("proto/6 is \"tcp\"");
        case kUdp: return fail("proto/17 is \"udp\"");
        case kIcmp: return fail("proto/1 is \"icmp\"");
        case kIcmp6: return fail("proto/58 is \"icmpv6\"");
        default: return Service{*number, 0, 65535};
    }
}

}  // namespace

std::optional<std::uint8_t> parse_icmp_type(std::string_view text, bool v6) {
    for (const auto& [number, name] : type_names(v6)) {
        if (name == text) return number;
    }
    return parse_decimal<std::uint8_t>(text);
}

std::optional<std::uint8_t> parse_protocol(std::string_view text) {
    if (text == "tcp") return kTcp;
    if (text == "udp") return kUdp;
    if (text == "icmp") return kIcmp;
    if (text == "icmpv6") return kIcmp6;
    return parse_decimal<std::uint8_t>(text);
}

std::string protocol_text(unsigned protocol) {
    switch (protocol) {
        case kTcp: return "tcp";
        case kUdp: return "udp";
        case kIcmp: return "icmp";
        case kIcmp6: return "icmpv6";
        default: return std::to_string(protocol);
    }
}

Result<Service> parse_service(std::string_view text) {
    if (text == "any") return Service{};
    const auto slash = text.find('/');
    const std::string_view name = text.substr(0, slash);
    const bool alone = slash == std::string_view::npos;
    const std::string_view rest = alone ? std::string_view() : text.substr(slash + 1);
    if (name == "tcp" || name == "udp") {
        const std::uint16_t protocol = name == "tcp" ? kTcp : kUdp;
        return alone ? Service{protocol, 0, 65535} : with_ports(protocol, rest);
    }
    if (name == "icmp" || name == "icmpv6") {
        const bool v6 = name == "icmpv6";
        return alone ? Service{v6 ? kIcmp6 : kIcmp, 0, 65535} : with_type(v6, rest);
    }
    if (name == "proto" && !alone) return by_number(rest);
    if (parse_port(text)) return fail(in_quotes(text) + " has no protocol (tcp/" + std::string(text) + "?)");
    return fail(in_quotes(text) +
                " is not a service (tcp/22, udp/53, tcp/8000-8100, icmp/echo-request, icmpv6, proto/47, any, "
                "or @set)");
}

std::string to_text(const Service& service) {
    if (service.protocol == Service::kAnyProtocol) return "any";
    const bool whole = service.first_port == 0 && service.last_port == 65535;
    const bool icmp = service.protocol == kIcmp || service.protocol == kIcmp6;
    if (service.protocol != kTcp && service.protocol != kUdp && !icmp)
        return "proto/" + std::to_string(service.protocol);
    std::string text = protocol_text(service.protocol);
    if (whole) return text;
    if (!icmp) {
        text += "/" + std::to_string(service.first_port);
        return service.first_port == service.last_port ? text
                                                       : text + "-" + std::to_string(service.last_port);
    }
    const auto type = static_cast<std::uint8_t>(service.first_port / 256);
    const auto name = type_name(type, service.protocol == kIcmp6);
    text += "/" + (name ? std::string(*name) : std::to_string(type));
    return service.first_port == service.last_port ? text + "/" + std::to_string(service.first_port % 256)
                                                   : text;
}

}  // namespace vern::policy
