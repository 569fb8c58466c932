// What every engine does with the core's output: the pool of buffers, a queue for each address family, the
// TUN device's writes. The worker's thread only.
#pragma once

#include <memory>
#include <span>

#include "dataplane/io/buffer_pool.h"
#include "dataplane/io/engine.h"
#include "dataplane/io/send_queue.h"
#include "dataplane/io/tun_io.h"

namespace vern {

class Egress {
  public:
    Egress(BufferPool pool, const TunQueue& tun, Counters& counters, OffloadFaults& faults, bool gso) noexcept
        : pool_(std::move(pool)),
          gso_(gso),
          v4_(pool_, counters, faults.udp_gso_v4),
          v6_(pool_, counters, faults.udp_gso_v6),
          tun_(tun, counters, faults.tun_gso) {}

    void set_sockets(const UdpSockets& sockets) noexcept;

    // As in Outlet.
    std::span<std::byte> send_buffer() noexcept;
    void send(const Endpoint& to, std::span<std::byte> train, std::size_t segment_bytes,
              std::uint8_t tos) noexcept;
    void write(const VnetHeader& header, std::span<const iovec> pieces) noexcept {
        tun_.write(header, pieces);
    }
    void flush() noexcept;

    SendQueue& v4() noexcept { return v4_; }
    SendQueue& v6() noexcept { return v6_; }
    bool blocked() const noexcept { return v4_.blocked() || v6_.blocked(); }
    bool tun_gone() const noexcept { return tun_.gone(); }
    bool take_source_refused() noexcept;

  private:
    // So many bytes go out at once, while they are in L2; small trains are worth waiting for a common system
    // call.
    static constexpr std::size_t kSubmitBytes = std::size_t{32} << 10;

    static void submit_unblocked(SendQueue& queue) noexcept {
        if (queue.size() > 0 && !queue.blocked()) queue.submit();
    }

    BufferPool pool_;
    bool gso_;
    SendQueue v4_;
    SendQueue v6_;
    TunWriter tun_;
};

}  // namespace vern
