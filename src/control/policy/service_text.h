// Protocols, ports and ICMP types as a policy writes them: "tcp/22", "tcp/8000-8100", "udp",
// "icmp/echo-request", "icmp/3/4", "proto/47", "any". Any thread; nothing is kept between calls.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "crypto/error.h"
#include "dataplane/policy/rules.h"
#include "dataplane/policy/transport.h"

namespace vern::policy {

Result<Service> parse_service(std::string_view text);
std::string to_text(const Service& service);  // what parse_service takes

// "tcp", "udp", "icmp", "icmpv6" or a number.
std::optional<std::uint8_t> parse_protocol(std::string_view text);
std::string protocol_text(unsigned protocol);

// A name as nft has it, or a number, for the ICMP of either family.
std::optional<std::uint8_t> parse_icmp_type(std::string_view text, bool v6);

}  // namespace vern::policy
