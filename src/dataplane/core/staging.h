// Packets that wait for a session: at most 128 a peer, and a quarter of the memory, so that superpackets for
// one dead peer leave room for those of the living; the oldest goes first when there are more; one Staging a
// worker, so that a flow's packets leave in the order in which they came. Peers are named by serial, because
// packets outlive configurations.
//
// Fixed memory: 4 MiB in chunks of 2 KiB (pages are touched only when used), 2048 packets, 1024 peers. Not
// synchronised: the worker's, but for depth().
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "dataplane/core/train.h"

namespace vern {

class Staging {
  public:
    Staging();
    ~Staging();
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;

    // How many packets were given up for it: as many of the peer's oldest as it takes to keep its limits, and
    // this one when there is no room still.
    std::size_t push(std::uint64_t serial, const TunTrain& train) noexcept;
    bool has(std::uint64_t serial) const noexcept { return find(serial) != nullptr; }
    bool empty() const noexcept { return peers_in_use_ == 0; }
    // Packets that wait. Any thread.
    std::size_t depth() const noexcept { return depth_.load(std::memory_order_relaxed); }

    // The oldest packet of a peer, copied into `scratch` (kTrainBytesMax bytes), and out of the queue. False:
    // there is none.
    bool pop(std::uint64_t serial, std::span<std::byte> scratch, TunTrain& train) noexcept;
    std::size_t drop(std::uint64_t serial) noexcept;  // how many there were
    // The serials of all peers with packets, into `out` (cleared first; its capacity is reserved by the
    // caller).
    void list(std::vector<std::uint64_t>& out) const noexcept;

    static constexpr std::size_t kPacketsPerPeerMax = 128;
    static constexpr std::size_t kPeersMax = 1024;

  private:
    static constexpr std::size_t kChunkBytes = 2048;
    static constexpr std::size_t kChunks = 2048;
    static constexpr std::size_t kPackets = 2048;
    static constexpr std::size_t kTable = 2 * kPeersMax;
    static constexpr std::size_t kChunksPerPeerMax = kChunks / 4;
    static constexpr std::uint16_t kNone = 0xffff;

    static constexpr std::size_t chunks_of(std::size_t bytes) noexcept {
        return (bytes + kChunkBytes - 1) / kChunkBytes;
    }

    struct Packet {
        VnetHeader header;
        std::uint32_t length;
        std::uint16_t first_chunk;
        std::uint16_t next;
    };
    struct Queue {
        std::uint64_t serial = 0;  // 0: free
        std::uint16_t head = kNone;
        std::uint16_t tail = kNone;
        std::uint16_t count = 0;
        std::uint16_t chunks = 0;
    };

    const Queue* find(std::uint64_t serial) const noexcept;
    Queue* find(std::uint64_t serial) noexcept {
        return const_cast<Queue*>(std::as_const(*this).find(serial));
    }
    Queue* find_or_add(std::uint64_t serial) noexcept;
    void remove(Queue& queue) noexcept;
    void discard_head(Queue& queue) noexcept;

    std::byte* chunks_ = nullptr;  // kChunks * kChunkBytes, mapped
    std::array<std::uint16_t, kChunks> next_chunk_;
    std::array<Packet, kPackets> packets_;
    std::array<Queue, kTable> table_;
    std::uint16_t free_chunk_ = 0;
    std::size_t free_chunks_ = kChunks;
    std::uint16_t free_packet_ = 0;
    std::size_t peers_in_use_ = 0;
    std::atomic<std::size_t> depth_{0};
};

}  // namespace vern
