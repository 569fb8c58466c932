// Joining packets of one flow into a superpacket for one write to the TUN device: what the kernel's GRO does
// on the way in, by the same rules (net/ipv4/tcp_offload.c, udp_offload.c), so that what the stack sees is
// what it would have made itself. Nothing is copied: the superpacket is a list of pieces of the opened
// datagrams. Packets of one flow leave in the order in which they came.
//
// What must hold for a packet to join:
//   - not a fragment, no IPv4 options, no IPv6 extension headers    the kernel's GRO takes none of them
//   - same addresses, ports, TOS or traffic class and flow label, TTL or hop limit, DF
//   - without DF the IPv4 ids follow each other                     they must be what cutting the superpacket
//   again would give
//   - TCP: same acknowledgment, window, options; sequence follows; only ACK and PSH set; nothing joins behind
//   a PSH
//   - UDP: a checksum is there                                      a superpacket cannot say "no checksum"
//   - full segments only, but for the last
//   - right checksums                                               the superpacket tells the stack to trust
//   them
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "dataplane/base/inner_packet.h"
#include "dataplane/core/train.h"

namespace vern {

class Coalescer {
  public:
    Coalescer(bool tcp, bool udp) noexcept : tcp_(tcp), udp_(udp) {}

    // The packet's memory must stay until flush(), and then until the outlet's own flush.
    void add(const InnerPacket& packet, Outlet& outlet) noexcept;
    void flush(Outlet& outlet) noexcept;

    void allow(bool tcp, bool udp) noexcept {
        tcp_ = tcp;
        udp_ = udp;
    }

  private:
    static constexpr std::size_t kFlows = 16;

    // Where a packet's transport lies, when it can be part of a superpacket at all.
    struct Candidate {
        InnerPacket packet;
        IpProtocol protocol = IpProtocol::tcp;
        std::size_t header_bytes = 0;  // IP and transport
        std::size_t payload_bytes = 0;
        bool joins = false;  // false: of a flow that may be open, but must stay alone
        bool last = false;   // nothing may join behind it
        const std::byte* transport() const noexcept { return packet.data + packet.header_bytes; }
    };
    struct Flow {
        Candidate first;
        std::size_t bytes = 0;  // of the superpacket
        std::size_t count = 0;  // of packets; 0: free
        std::uint32_t next_sequence = 0;
        bool first_verified = false;
        std::array<iovec, Outlet::kWritePiecesMax> pieces;
    };

    bool examine(const InnerPacket& packet, Candidate& out) const noexcept;
    static bool same_flow(const Candidate& a, const Candidate& b) noexcept;
    static bool follows(const Flow& flow, const Candidate& next) noexcept;
    static bool checksum_valid(const Candidate& candidate) noexcept;
    void append(Flow& flow, const Candidate& next) noexcept;
    void begin(const Candidate& first, Outlet& outlet) noexcept;
    void close_flows_of(const InnerPacket& packet, Outlet& outlet) noexcept;
    static void write(Flow& flow, Outlet& outlet) noexcept;
    static void write_plain(const InnerPacket& packet, Outlet& outlet) noexcept;

    bool tcp_;
    bool udp_;
    std::size_t next_victim_ = 0;
    std::size_t open_ = 0;
    std::array<Flow, kFlows> flows_{};
};

}  // namespace vern
