#include "control/text.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include <fmt/chrono.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "control/secret_text.h"

namespace vern {
namespace {

constexpr std::size_t kAddressCharactersMax = INET6_ADDRSTRLEN - 1;
constexpr std::size_t kHostCharactersMax = 255;

std::span<const std::byte, 16> as_16(const std::array<std::byte, 16>& bytes) { return bytes; }

bool is_v4_mapped(const std::array<std::byte, 16>& bytes) {
    return std::all_of(bytes.begin(), bytes.begin() + 10, [](std::byte b) { return b == std::byte{0}; }) &&
           bytes[10] == std::byte{0xff} && bytes[11] == std::byte{0xff};
}

IpAddress unmapped(const std::array<std::byte, 16>& bytes) {
    if (is_v4_mapped(bytes)) return IpAddress::v4(std::span(bytes).subspan<12, 4>());
    return IpAddress::v6(as_16(bytes));
}

// inet_pton wants a terminated string; whatever is too long for one is no address.
struct Terminated {
    explicit Terminated(std::string_view text) {
        if (text.size() > kAddressCharactersMax || text.find('\0') != std::string_view::npos) return;
        std::copy(text.begin(), text.end(), characters.begin());
        characters[text.size()] = '\0';
        fits = true;
    }
    std::array<char, kAddressCharactersMax + 1> characters{};
    bool fits = false;
};

// As written: an IPv4-mapped address stays IPv6, since a prefix length beside it counts from its first bit.
bool parse_octets(std::string_view text, std::array<std::byte, 16>& bytes, Family& family) {
    const Terminated terminated(text);
    if (!terminated.fits) return false;
    bytes = {};
    family = text.find(':') == std::string_view::npos ? Family::v4 : Family::v6;
    return ::inet_pton(family == Family::v4 ? AF_INET : AF_INET6, terminated.characters.data(),
                       bytes.data()) == 1;
}

void clear_host_bits(Prefix& prefix) {
    for (std::size_t i = 0; i < prefix.address.bytes.size(); ++i) {
        const unsigned first_bit = static_cast<unsigned>(i) * 8;
        if (prefix.length >= first_bit + 8) continue;
        const unsigned kept = prefix.length > first_bit ? prefix.length - first_bit : 0;
        prefix.address.bytes[i] &= static_cast<std::byte>(0xff00U >> kept);
    }
}

Result<std::uint32_t> zone_index(std::string_view zone) {
    if (const auto number = parse_decimal<std::uint32_t>(zone); number && *number != 0) return *number;
    if (!zone.empty() && zone.size() < IFNAMSIZ) {
        if (const unsigned index = ::if_nametoindex(std::string(zone).c_str()); index != 0) return index;
    }
    return fail("no network interface '" + printable(zone, IFNAMSIZ) + "' on this host");
}

Result<Endpoint> numeric_endpoint(const HostPort& parts) {
    Endpoint endpoint;
    endpoint.port = parts.port;
    std::string_view host = parts.host;
    const auto percent = host.find('%');
    const auto address = parse_address(host.substr(0, percent));
    if (!address) return fail("'" + printable(parts.host) + "' is not an IP address");
    if ((address->family == Family::v6) != parts.bracketed && host.find(':') == std::string_view::npos) {
        return fail("square brackets belong around IPv6 addresses only");
    }
    endpoint.address = *address;
    if (percent == std::string_view::npos) return endpoint;
    if (!is_link_local(*address))
        return fail("a zone ('%') belongs to link-local addresses (fe80::/10) only");
    auto zone = zone_index(host.substr(percent + 1));
    if (!zone) return tl::unexpected(zone.error());
    endpoint.scope_id = *zone;
    return endpoint;
}

Endpoint from_sockaddr(const sockaddr* address, std::uint16_t port) {
    Endpoint endpoint;
    endpoint.port = port;
    std::array<std::byte, 16> bytes{};
    if (address->sa_family == AF_INET) {
        sockaddr_in v4;
        std::memcpy(&v4, address, sizeof v4);
        std::memcpy(bytes.data(), &v4.sin_addr, 4);
        endpoint.address = IpAddress::v4(std::span(bytes).first<4>());
    } else {
        sockaddr_in6 v6;
        std::memcpy(&v6, address, sizeof v6);
        std::memcpy(bytes.data(), &v6.sin6_addr, 16);
        endpoint.address = unmapped(bytes);
        if (is_link_local(endpoint.address)) endpoint.scope_id = v6.sin6_scope_id;
    }
    return endpoint;
}

bool may_pass(int status) {
    // These three are answers; anything else may come of a network or a resolver that is not up yet.
    return status != EAI_NONAME && status != EAI_FAIL && status != EAI_NODATA;
}

void pause_before_retry(unsigned attempt) {
    double seconds = 1;
    for (unsigned i = 0; i < attempt && seconds < 20; ++i) seconds *= 1.2;
    const auto nanoseconds = static_cast<std::int64_t>(std::min(seconds, 20.0) * 1e9);
    timespec pause{.tv_sec = nanoseconds / 1'000'000'000, .tv_nsec = nanoseconds % 1'000'000'000};
    ::nanosleep(&pause, nullptr);  // a signal cuts it short: then the next attempt comes early
}

}  // namespace

template <typename String>
void append_text(String& out, const IpAddress& address) {
    std::array<char, INET6_ADDRSTRLEN> text;
    const int family = address.family == Family::v4 ? AF_INET : AF_INET6;
    if (address.family == Family::none) return;
    if (::inet_ntop(family, address.bytes.data(), text.data(), text.size()) != nullptr) out += text.data();
}

template <typename String>
void append_text(String& out, const Prefix& prefix) {
    append_text(out, prefix.address);
    out += '/';
    append_decimal(out, unsigned{prefix.length});
}

template <typename String>
void append_text(String& out, const Endpoint& endpoint) {
    const bool v6 = endpoint.address.family == Family::v6;
    if (v6) out += '[';
    append_text(out, endpoint.address);
    if (endpoint.scope_id != 0) {
        std::array<char, IF_NAMESIZE> name{};
        out += '%';
        if (::if_indextoname(endpoint.scope_id, name.data()) != nullptr) {
            out += name.data();
        } else {
            append_decimal(out, endpoint.scope_id);
        }
    }
    if (v6) out += ']';
    out += ':';
    append_decimal(out, endpoint.port);
}

template void append_text(std::string&, const IpAddress&);
template void append_text(std::string&, const Prefix&);
template void append_text(std::string&, const Endpoint&);
template void append_text(SecretText&, const IpAddress&);
template void append_text(SecretText&, const Prefix&);
template void append_text(SecretText&, const Endpoint&);

std::string to_text(const IpAddress& address) {
    std::string text;
    append_text(text, address);
    return text;
}

std::string to_text(const Prefix& prefix) {
    std::string text;
    append_text(text, prefix);
    return text;
}

std::string to_text(const Endpoint& endpoint) {
    std::string text;
    append_text(text, endpoint);
    return text;
}

std::optional<IpAddress> parse_address(std::string_view text) {
    std::array<std::byte, 16> bytes;
    Family family;
    if (!parse_octets(text, bytes, family)) return std::nullopt;
    return family == Family::v4 ? IpAddress::v4(std::span(bytes).first<4>()) : unmapped(bytes);
}

std::optional<Prefix> parse_interface_address(std::string_view text) {
    const auto slash = text.find('/');
    std::array<std::byte, 16> bytes;
    Family family;
    if (!parse_octets(text.substr(0, slash), bytes, family)) return std::nullopt;
    const std::uint8_t full = family == Family::v4 ? 32 : 128;
    std::uint8_t length = full;
    if (slash != std::string_view::npos) {
        const auto given = parse_decimal<std::uint8_t>(text.substr(slash + 1), full);
        if (!given) return std::nullopt;
        length = *given;
    }
    if (family == Family::v4) return Prefix{IpAddress::v4(std::span(bytes).first<4>()), length};
    // The IPv4-mapped range is IPv4 in other clothes; a shorter prefix reaches beyond it and is IPv6.
    if (is_v4_mapped(bytes) && length >= 96)
        return Prefix{unmapped(bytes), static_cast<std::uint8_t>(length - 96)};
    return Prefix{IpAddress::v6(as_16(bytes)), length};
}

std::optional<Prefix> parse_prefix(std::string_view text) {
    auto prefix = parse_interface_address(text);
    if (prefix) clear_host_bits(*prefix);
    return prefix;
}

std::optional<std::uint16_t> parse_port(std::string_view text) { return parse_decimal<std::uint16_t>(text); }

Result<HostPort> split_endpoint(std::string_view text) {
    HostPort parts;
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon + 1 == text.size() || text.back() == ']') {
        return fail("has no port (host:port or [IPv6 address]:port)");
    }
    std::string_view host = text.substr(0, colon);
    const auto port = parse_port(text.substr(colon + 1));
    if (!port || *port == 0)
        return fail("'" + printable(text.substr(colon + 1)) + "' is not a port (1 to 65535)");
    if (host.starts_with('[')) {
        if (!host.ends_with(']')) return fail("has no ']' before the port");
        host = host.substr(1, host.size() - 2);
        parts.bracketed = true;
    }
    if (host.empty() || host.size() > kHostCharactersMax)
        return fail("has no host (host:port or [IPv6 address]:port)");
    const bool plain = std::all_of(host.begin(), host.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view(".-_:%").find(c) != std::string_view::npos;
    });
    if (!plain) return fail("'" + printable(host) + "' is neither a host name nor an IP address");
    if (!parts.bracketed && host.find(':') != std::string_view::npos) {
        return fail("an IPv6 address needs square brackets: [" + printable(host) +
                    "]:" + std::to_string(*port));
    }
    parts.host = host;
    parts.port = *port;
    return parts;
}

Result<Endpoint> parse_endpoint(std::string_view text) {
    auto parts = split_endpoint(text);
    if (!parts) return tl::unexpected(parts.error());
    return numeric_endpoint(*parts);
}

Result<Endpoint> resolve_endpoint(std::string_view text, unsigned retries, const Again& again) {
    auto parts = split_endpoint(text);
    if (!parts) return tl::unexpected(parts.error());
    if (auto numeric = numeric_endpoint(*parts)) return numeric;
    if (parts->bracketed) return numeric_endpoint(*parts);  // for its error
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    hints.ai_protocol = IPPROTO_UDP;
    for (unsigned attempt = 0;; ++attempt) {
        addrinfo* found = nullptr;
        const int status = ::getaddrinfo(parts->host.c_str(), nullptr, &hints, &found);
        const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, [](addrinfo* list) {
            if (list != nullptr) ::freeaddrinfo(list);
        });
        for (const addrinfo* entry = found; status == 0 && entry != nullptr; entry = entry->ai_next) {
            if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
            return from_sockaddr(entry->ai_addr, parts->port);
        }
        const std::string why = "cannot resolve '" + printable(parts->host) +
                                "': " + (status == 0 ? "it has no IP address" : ::gai_strerror(status));
        if (status == 0 || !may_pass(status) || attempt >= retries || (again && !again(why)))
            return fail(why, EHOSTUNREACH);
        pause_before_retry(attempt);
    }
}

void mask_controls(std::span<char> text, char mask) noexcept {
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        const bool c1 = i > 0 && text[i - 1] == '\xc2' && c >= 0x80 && c < 0xa0;  // U+0080 to U+009F
        if (c1) text[i - 1] = mask;
        if (c1 || c < 0x20 || c == 0x7f) text[i] = mask;
    }
}

std::string printable(std::string_view text, std::size_t max) {
    std::string safe(text.substr(0, max));
    mask_controls(safe, '?');
    if (text.size() > max) safe += "...";
    return safe;
}

namespace {
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
}  // namespace

std::size_t letters_apart(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t changed = diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
        }
    }
    return row.back();
}

bool is_likely_meant(std::string_view known, std::string_view wrong) {
    return letters_apart(known, wrong) <= std::max<std::size_t>(1, known.size() / 3);
}

std::optional<std::chrono::seconds> parse_duration(std::string_view text, std::chrono::seconds max) {
    std::uint64_t unit = 1;
    if (text.ends_with('s') || text.ends_with('m') || text.ends_with('h')) {
        unit = text.back() == 'h' ? 3600 : text.back() == 'm' ? 60 : 1;
        text.remove_suffix(1);
    }
    const auto number = parse_decimal(text, static_cast<std::uint64_t>(max.count()) / unit);
    if (!number || *number == 0) return std::nullopt;
    return std::chrono::seconds(*number * unit);
}

bool is_interface_name(std::string_view name) {
    return !name.empty() && name.size() <= 15 && name.front() != '-' && name != "." && name != ".." &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      std::string_view("_=+.-").find(c) != std::string_view::npos;
           });
}

std::string date_text(std::int64_t unix_seconds) {
    constexpr std::int64_t kLastSecond = 253402300799;  // of the year 9999
    const auto seconds = static_cast<std::time_t>(std::clamp<std::int64_t>(unix_seconds, 0, kLastSecond));
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}Z", fmt::gmtime(seconds));
}

std::string date_text(WallTime time) {
    return date_text(std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count());
}

}  // namespace vern
