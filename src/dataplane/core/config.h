// What control asks of the data plane and what it learns from it: the values behind the UAPI's `set` and
// `get`. A DeviceChange is applied whole or not at all.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "crypto/instant.h"
#include "crypto/keys.h"
#include "dataplane/base/address.h"

namespace vern {

inline constexpr std::size_t kPeersMax = std::size_t{1} << 20;  // as the kernel's
inline constexpr std::size_t kAllowedIpsMax = std::size_t{1} << 22;

struct AllowedIpChange {
    Prefix prefix;
    bool remove = false;  // takes the prefix from this peer, if it is this peer's
};

struct PeerChange {
    PublicKey public_key;
    bool remove = false;
    bool update_only = false;                   // change it if it is there, do not add it
    bool replace_allowed_ips = false;           // drop the peer's prefixes before allowed_ips is applied
    std::optional<PresharedKey> preshared_key;  // all zero: none from the next handshake on
    std::optional<Endpoint> endpoint;
    std::optional<std::uint16_t> persistent_keepalive_s;  // 0: off
    std::vector<AllowedIpChange> allowed_ips;  // in order; a prefix of another peer moves to this one
};

struct DeviceChange {
    std::optional<PrivateKey> private_key;     // all zero: none, the interface stops speaking
    std::optional<std::uint16_t> listen_port;  // 0: any free one
    std::optional<std::uint32_t> fwmark;       // 0: none
    bool replace_peers = false;     // remove every peer (and its sessions) before `peers` is applied
    std::vector<PeerChange> peers;  // in order; one key may come several times
};

struct PeerStatus {
    PublicKey public_key;
    PresharedKey preshared_key;  // all zero: none
    Endpoint endpoint;           // address.family none: not known
    std::optional<WallTime> latest_handshake;
    std::uint64_t receive_bytes = 0;  // on the underlay, without IP and UDP headers
    std::uint64_t transmit_bytes = 0;
    std::uint16_t persistent_keepalive_s = 0;
    std::vector<Prefix> allowed_ips;  // in the order of address, then length
};

struct DeviceStatus {
    std::optional<PrivateKey> private_key;
    PublicKey public_key;
    std::uint16_t listen_port = 0;
    std::uint32_t fwmark = 0;
    std::vector<PeerStatus> peers;  // in the order in which they were added
};

}  // namespace vern
