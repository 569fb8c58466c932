// Text forms of addresses, prefixes and endpoints. Parsing is strict: one spelling in, nothing before or
// after it, no name lookups. Any thread; nothing is kept between calls.
#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "crypto/error.h"
#include "crypto/instant.h"
#include "dataplane/base/address.h"

namespace vern {

std::string to_text(const IpAddress& address);  // "" for family none
std::string to_text(const Prefix& prefix);      // always with its length: "10.0.0.1/32"
std::string to_text(
    const Endpoint& endpoint);  // "192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%eth0]:51820"
// String is std::string or SecretText.
template <typename String>
void append_text(String& out, const IpAddress& address);
template <typename String>
void append_text(String& out, const Prefix& prefix);
template <typename String>
void append_text(String& out, const Endpoint& endpoint);

std::optional<IpAddress> parse_address(std::string_view text);  // IPv4-mapped IPv6 becomes v4
// "10.0.0.0/24", "fd00::/64", or an address alone (full length). Host bits are cleared, as `wg` does.
std::optional<Prefix> parse_prefix(std::string_view text);
// The same with host bits kept in `address`: what an interface is given ("10.0.0.1/24").
std::optional<Prefix> parse_interface_address(std::string_view text);
std::optional<std::uint16_t> parse_port(std::string_view text);  // 0..65535
// Numeric only; the port is not 0. A zone ("%eth0", "%3") is taken for link-local addresses and must be an
// interface of this host.
Result<Endpoint> parse_endpoint(std::string_view text);
// Looks names up (getaddrinfo): blocks; what may be temporary is tried `retries` times more, each time after
// a longer pause (1 s, then 1.2 times as long, 20 s at most), as `wg` does. `again` is told why before each
// pause; false gives up. CLI only, never the daemon.
using Again = std::function<bool(std::string_view why)>;
Result<Endpoint> resolve_endpoint(std::string_view text, unsigned retries, const Again& again = {});

// "host:port" or "[host]:port" taken apart, nothing looked up.
struct HostPort {
    std::string host;
    std::uint16_t port = 0;
    bool bracketed = false;
};
Result<HostPort> split_endpoint(std::string_view text);

// "60", "60s", "5m", "1h": from a second to `max`.
std::optional<std::chrono::seconds> parse_duration(std::string_view text, std::chrono::seconds max);

// What may stand before ".sock" and name a TUN device: [a-zA-Z0-9_=+.-]{1,15}, not "." or "..", and nothing
// that programs would take for an option.
bool is_interface_name(std::string_view name);

// RFC 3339 in UTC, to the second; nothing before 1970 or after 9999.
std::string date_text(std::int64_t unix_seconds);
std::string date_text(WallTime time);

// Decimal digits only: no sign, no spaces, no leading zeros.
template <std::unsigned_integral T>
std::optional<T> parse_decimal(std::string_view text, T max = std::numeric_limits<T>::max()) {
    T value = 0;
    if (text.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
    return value;
}

template <typename String, std::unsigned_integral T>
void append_decimal(String& out, T value) {
    std::array<char, 24> digits;
    const auto [end, status] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
    out.append(digits.data(), end);
}

// Puts `mask` in the place of control characters: C0, DEL, and the C1 ones of Unicode, with which some
// terminals begin escape sequences as well.
void mask_controls(std::span<char> text, char mask) noexcept;

// At most `max` characters of something from outside, fit for one line of a message or a log: no control
// characters.
std::string printable(std::string_view text, std::size_t max = 64);

// How many letters two words differ in, without regard to case (Levenshtein): for "did you mean".
std::size_t letters_apart(std::string_view a, std::string_view b);
// Near enough to be what `wrong` was meant to be.
bool is_likely_meant(std::string_view known, std::string_view wrong);

}  // namespace vern
