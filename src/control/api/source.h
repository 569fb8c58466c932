// Where a client comes from. Limits count by a name of it: of the internet that of a network, of the tunnel
// the key of the peer that has the address.
#pragma once

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <optional>
#include <span>
#include <string>

#include "control/text.h"

namespace vern::api {

// By its bytes: as text a link-local address has a zone ("fe80::1%eth0").
inline IpAddress address_of(const boost::asio::ip::address& address) {
    namespace ip = boost::asio::ip;
    if (address.is_v6() && !address.to_v6().is_v4_mapped()) {
        const auto bytes = address.to_v6().to_bytes();
        return IpAddress::v6(std::as_bytes(std::span(bytes)));
    }
    const auto v4 = address.is_v4() ? address.to_v4() : ip::make_address_v4(ip::v4_mapped, address.to_v6());
    const auto bytes = v4.to_bytes();
    return IpAddress::v4(std::as_bytes(std::span(bytes)));
}

// Nothing: it is gone.
inline std::optional<IpAddress> source_of(const boost::asio::ip::tcp::socket& socket) {
    boost::system::error_code gone;
    const auto remote = socket.remote_endpoint(gone);
    if (gone) return std::nullopt;
    return address_of(remote.address());
}

// Of somebody on the internet, who has a /64 as easily as an address.
inline std::string source_network(IpAddress address) {
    if (address.family == Family::v6) std::fill(address.bytes.begin() + 8, address.bytes.end(), std::byte{});
    return to_text(address);
}

}  // namespace vern::api
