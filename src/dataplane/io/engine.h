// An engine moves trains between a worker and the kernel: one a worker, driven by the worker's thread alone
// (but for wake()). There are two for Linux, epoll (epoll_engine.cpp) and io_uring (uring_engine.cpp); the
// tests bring one of their own. An engine decides nothing about packets: it reads, sends, writes, and repairs
// what the kernel's offloads get wrong.
//
// The turn of a worker:
//     turn = engine.wait(...)     may block; gives what came in, at most a turn's budget of it
//     core handles turn.underlay, then turn.tun, calling send_buffer / send / write
//     engine.flush()              everything accepted is with the kernel; buffers of `turn` may be reused
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/error.h"
#include "crypto/instant.h"
#include "dataplane/base/counters.h"
#include "dataplane/core/train.h"
#include "dataplane/io/tun.h"
#include "dataplane/io/udp.h"

namespace vern {

// What one wait() brought. Spans are the engine's and end at its next wait().
struct Turn {
    std::span<UnderlayTrain> underlay;
    std::span<TunTrain> tun;
    // wake() was called since the last turn.
    bool woken = false;
    // The kernel refused an endpoint's source address since the last turn (routing changed): forget them all.
    bool source_refused = false;
    // The interface was deleted from outside: nothing more will come, the daemon should end. Stays true.
    bool tun_gone = false;

    std::size_t trains() const noexcept { return underlay.size() + tun.size(); }
    std::size_t bytes() const noexcept {
        std::size_t sum = 0;
        for (const UnderlayTrain& train : underlay) sum += train.bytes.size();
        for (const TunTrain& train : tun) sum += train.packet.size();
        return sum;
    }
    // As they are on the wire: a train counts by its segments.
    std::size_t packets() const noexcept {
        std::size_t sum = 0;
        for (const UnderlayTrain& train : underlay)
            sum += train.segment_bytes > 0
                       ? (train.bytes.size() + train.segment_bytes - 1) / train.segment_bytes
                       : 1;
        for (const TunTrain& train : tun)
            sum += train.header.gso_size > 0 ? train.packet.size() / train.header.gso_size + 1 : 1;
        return sum;
    }
};

// Work of one turn is bounded, so that what it touches stays in L2 and no source starves the others.
// Both bounds are of each kind; a train that begins below the bytes is taken whole.
inline constexpr std::size_t kTurnTrainsMax = 64;
inline constexpr std::size_t kTurnBytesMax = std::size_t{512} << 10;

// Offloads that were on and that the kernel then refused at run time. Written by the worker's thread, read by
// any: the core stops coalescing for the TUN device when `tun_gso` is set, `vern show` says why an offload is
// not in use.
struct OffloadFaults {
    // A train of UDP_SEGMENT was answered with EIO: the device computes no checksums, or xfrm is on the
    // route.
    std::atomic<bool> udp_gso_v4 = false;
    std::atomic<bool> udp_gso_v6 = false;
    // Superpackets written to the TUN device are answered with EINVAL.
    std::atomic<bool> tun_gso = false;
};

class Engine : public Outlet {
  public:
    virtual std::string_view name() const noexcept = 0;  // "io_uring", "epoll"

    // Blocks until something came, wake() was called, or `timeout` passed (none: no limit). May bring nothing
    // before that: a signal, or the end of another io_uring of this thread, interrupts it. Reads nothing from
    // the TUN device while trains wait for a full socket: shedding then happens in the kernel's queue, before
    // any crypto.
    virtual Turn wait(std::optional<Duration> timeout) noexcept = 0;

    // Hands everything that send() and write() collected to the kernel, but for trains that wait for a full
    // socket (those lie in the engine's own buffers). On return no memory of the last turn is in use by the
    // kernel.
    virtual void flush() noexcept = 0;

    // Ends a wait() that is going on, or the next one. Any thread, async-signal-safe.
    virtual void wake() noexcept = 0;

    // Takes other sockets (a changed port); the old ones are out of use on return and stay the caller's.
    // Trains that waited for the old ones are sent by the new ones. Worker's thread.
    virtual Result<void> set_sockets(const UdpSockets& sockets) noexcept = 0;

    // The worker's thread calls it last: on return the kernel holds neither the sockets nor the TUN device
    // for this engine, so that closing them frees the port and removes the interface.
    virtual void end() noexcept {}

    // Any thread.
    const OffloadFaults& faults() const noexcept { return faults_; }

  protected:
    OffloadFaults faults_;
};

struct EngineOptions {
    bool udp_gso = true;  // UDP_SEGMENT on sends
    // Turns of fewer packets than this are, when they keep coming, waited for and received by plain calls in
    // the io_uring engine too. 0: never.
    std::size_t ring_from_packets = 8;
};

// `tun` and `sockets` are the worker's own and must outlive the engine. `counters` are the worker's.
Result<std::unique_ptr<Engine>> make_epoll_engine(TunQueue& tun, const UdpSockets& sockets,
                                                  Counters& counters, const EngineOptions& options);
Result<std::unique_ptr<Engine>> make_uring_engine(TunQueue& tun, const UdpSockets& sockets,
                                                  Counters& counters, const EngineOptions& options);

}  // namespace vern
