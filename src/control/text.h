// Text forms of addresses, prefixes and endpoints. Parsing is strict: one spelling in, nothing before or after it, no name lookups.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "crypto/error.h"
#include "dataplane/core/address.h"

namespace vern {

std::string to_text(const IpAddress& address);
std::string to_text(const Prefix& prefix);     // always with its length: "10.0.0.1/32"
std::string to_text(const Endpoint& endpoint);  // "192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%eth0]:51820"

std::optional<IpAddress> parse_address(std::string_view text);  // IPv4-mapped IPv6 becomes v4
// "10.0.0.0/24", "fd00::/64", or an address alone (full length). Host bits are cleared, as `wg` does.
std::optional<Prefix> parse_prefix(std::string_view text);
std::optional<std::uint16_t> parse_port(std::string_view text);  // 0..65535
// Numeric only.
Result<Endpoint> parse_endpoint(std::string_view text);
// Looks names up (getaddrinfo): blocks; retries what is temporary for about as long as `wg` does unless `retries` is 0. CLI only, never the daemon.
Result<Endpoint> resolve_endpoint(std::string_view text, unsigned retries);

}  // namespace vern
