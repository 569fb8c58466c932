// The units that cross the border between the core and an engine: trains. A train is one buffer with packets
// of equal size (the last may be shorter) of one flow or one peer; a single packet is a train of one.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/base/address.h"

namespace vern {

// The most bytes of a TUN superpacket or of a UDP GSO/GRO train, headers not counted.
inline constexpr std::size_t kTrainBytesMax = 65535;
// What the kernel takes as one UDP_SEGMENT send: payload that fits one IPv4 datagram, and (before 6.9) 64
// segments.
inline constexpr std::size_t kSendBytesMax = 65507;
inline constexpr std::size_t kSendSegmentsMax = 64;

// struct virtio_net_hdr, host byte order, as TUN devices use it with IFF_VNET_HDR. 10 bytes on the wire.
struct VnetHeader {
    std::uint8_t flags = 0;  // kNeedsChecksum
    std::uint8_t gso_type = 0;
    std::uint16_t header_bytes = 0;  // not to be trusted on what is read
    std::uint16_t gso_size = 0;      // payload bytes a segment
    std::uint16_t checksum_start = 0;
    std::uint16_t checksum_offset = 0;

    static constexpr std::uint8_t kNeedsChecksum = 1;
    static constexpr std::uint8_t kGsoNone = 0;
    static constexpr std::uint8_t kGsoTcp4 = 1;
    static constexpr std::uint8_t kGsoTcp6 = 4;
    static constexpr std::uint8_t kGsoUdp = 5;  // USO, Linux 6.2
    static constexpr std::uint8_t kGsoEcn = 0x80;
};
static_assert(sizeof(VnetHeader) == 10);

// One packet or superpacket read from the TUN device. The memory is the engine's, valid and writable until
// its next wait().
struct TunTrain {
    VnetHeader header;
    std::span<std::byte> packet;  // from the IP header on
};

// One datagram or GRO train received from the underlay. The memory is the engine's, valid and writable until
// its next wait().
struct UnderlayTrain {
    std::span<std::byte> bytes;
    std::size_t segment_bytes = 0;  // size of every datagram but the last; bytes.size() for a single one;
                                    // never 0 unless bytes is empty
    Endpoint from;                  // with the local address it came to as `source`
    std::uint8_t ecn = 0;           // the two ECN bits of the outer header
};

// Where the core puts its output; engines implement it. One thread: the worker's.
class Outlet {
  public:
    virtual ~Outlet() = default;

    // An empty buffer of at least kTrainBytesMax bytes, 64-byte aligned, to build a train in; or an empty
    // span when all are in flight (the caller then sheds the packet and counts it). It is the caller's until
    // given to send(), be it in a later turn. A caller may hold kHeldBuffersMax at a time.
    virtual std::span<std::byte> send_buffer() noexcept = 0;
    static constexpr std::size_t kHeldBuffersMax = 8;

    // Sends a train that lies in the front of a buffer that send_buffer() gave: datagrams of `segment_bytes`,
    // the last may be shorter. `tos` is the outer TOS / traffic class byte. Never blocks; order between calls
    // for one address family is kept on the wire.
    virtual void send(const Endpoint& to, std::span<std::byte> train, std::size_t segment_bytes,
                      std::uint8_t tos) noexcept = 0;

    // Writes one packet or superpacket to the TUN device, gathered from `pieces` (without the virtio header,
    // which is `header`). The pieces' memory must stay untouched until flush(); `pieces` itself is copied. At
    // most kWritePiecesMax pieces.
    virtual void write(const VnetHeader& header, std::span<const iovec> pieces) noexcept = 0;
    static constexpr std::size_t kWritePiecesMax = 128;
};

}  // namespace vern
