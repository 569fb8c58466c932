// The underlay's UDP sockets: opening a pair (v4, v6) for every worker on one port, and the control messages
// that carry what a datagram's payload does not: segment size, source address, TOS.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "crypto/error.h"
#include "dataplane/core/train.h"
#include "dataplane/io/fd.h"
#include "dataplane/io/tun.h"

namespace vern {

// One worker's sockets, non-blocking. Either may be missing (a host without IPv6), never both.
struct UdpSockets {
    Fd v4;
    Fd v6;
};

struct UdpOptions {
    std::uint16_t port = 0;    // 0: any that is free for both families
    std::uint32_t fwmark = 0;  // SO_MARK when not 0
    unsigned workers = 1;      // more than one: SO_REUSEPORT
    bool gso = true;
    bool gro = true;
    // SO_RCVBUFFORCE / SO_SNDBUFFORCE, else as much as the limits allow.
    std::size_t buffer_bytes = std::size_t{7} << 20;
};

struct Underlay {
    std::uint16_t port = 0;
    std::vector<UdpSockets> workers;
    Offload gso;
    Offload gro;
    Offload v6;  // "this kernel has no IPv6"
};

// Binds all sockets or none. A port of 0 is tried again when the one that v4 got is taken on v6. A port taken
// is an error that says so, also when its owner uses SO_REUSEPORT.
Result<Underlay> open_underlay(const UdpOptions& options);
Result<void> set_fwmark(const Underlay& underlay, std::uint32_t fwmark);

// Sends one datagram (or a train, when `segment_bytes` < data.size()) from any thread, never blocking: for
// the slow path's handshakes and keepalives. When the kernel refuses the source address, sends again without
// it and says so in `source_refused`.
Result<void> send_datagram(const UdpSockets& sockets, const Endpoint& to, std::span<const std::byte> data,
                           std::size_t segment_bytes, std::uint8_t tos, bool& source_refused) noexcept;

// --- for engines
// ---------------------------------------------------------------------------------------------------

union SocketAddress {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
};
// The bytes of `out` in use; 0 for an endpoint that is not known.
socklen_t to_socket_address(const Endpoint& endpoint, SocketAddress& out) noexcept;

// Control data of a send: packet info for the source, TOS, UDP_SEGMENT. Returns the bytes used.
inline constexpr std::size_t kSendControlBytes = 128;
std::size_t build_send_control(const Endpoint& to, std::size_t segment_bytes, bool segmented,
                               std::uint8_t tos, std::span<std::byte, kSendControlBytes> control) noexcept;

// Control data of a receive into the metadata of a train whose `bytes` are set. False: truncated (MSG_TRUNC,
// MSG_CTRUNC) or nonsense: drop the train.
inline constexpr std::size_t kReceiveControlBytes = 128;
bool parse_receive(const SocketAddress& from, std::span<const std::byte> control, int message_flags,
                   UnderlayTrain& train) noexcept;

}  // namespace vern
