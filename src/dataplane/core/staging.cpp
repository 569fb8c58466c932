#include "dataplane/core/staging.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace vern {

Staging::Staging() {
    void* memory = ::mmap(nullptr, kChunks * kChunkBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::madvise(memory, kChunks * kChunkBytes, MADV_DONTDUMP);
    chunks_ = static_cast<std::byte*>(memory);
    for (std::size_t i = 0; i < kChunks; ++i)
        next_chunk_[i] = static_cast<std::uint16_t>(i + 1 < kChunks ? i + 1 : kNone);
    for (std::size_t i = 0; i < kPackets; ++i)
        packets_[i].next = static_cast<std::uint16_t>(i + 1 < kPackets ? i + 1 : kNone);
}

Staging::~Staging() { ::munmap(chunks_, kChunks * kChunkBytes); }

std::size_t Staging::push(std::uint64_t serial, const TunTrain& train) noexcept {
    const std::size_t chunks = chunks_of(train.packet.size());
    if (train.packet.empty() || train.packet.size() > kTrainBytesMax) return 1;
    Queue* queue = find_or_add(serial);
    if (!queue) return 1;
    std::size_t given_up = 0;
    for (; queue->count == kPacketsPerPeerMax || queue->chunks + chunks > kChunksPerPeerMax; ++given_up)
        discard_head(*queue);
    if (chunks > free_chunks_ || free_packet_ == kNone) {
        if (queue->count == 0) remove(*queue);
        return given_up + 1;
    }
    const std::uint16_t at = free_packet_;
    Packet& packet = packets_[at];
    free_packet_ = packet.next;
    packet = {train.header, static_cast<std::uint32_t>(train.packet.size()), free_chunk_, kNone};
    std::uint16_t last = kNone;
    for (std::size_t offset = 0; offset < train.packet.size(); offset += kChunkBytes) {
        last = free_chunk_;
        std::memcpy(chunks_ + last * kChunkBytes, train.packet.data() + offset,
                    std::min(kChunkBytes, train.packet.size() - offset));
        free_chunk_ = next_chunk_[last];
    }
    next_chunk_[last] = kNone;
    free_chunks_ -= chunks;
    queue->chunks = static_cast<std::uint16_t>(queue->chunks + chunks);
    (queue->count == 0 ? queue->head : packets_[queue->tail].next) = at;
    queue->tail = at;
    ++queue->count;
    depth_.store(depth_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return given_up;
}

bool Staging::pop(std::uint64_t serial, std::span<std::byte> scratch, TunTrain& train) noexcept {
    Queue* queue = find(serial);
    if (!queue) return false;
    const Packet& packet = packets_[queue->head];
    std::size_t offset = 0;
    for (std::uint16_t chunk = packet.first_chunk; chunk != kNone;
         chunk = next_chunk_[chunk], offset += kChunkBytes)
        std::memcpy(scratch.data() + offset, chunks_ + chunk * kChunkBytes,
                    std::min<std::size_t>(kChunkBytes, packet.length - offset));
    train.header = packet.header;
    train.packet = scratch.first(packet.length);
    discard_head(*queue);
    if (queue->count == 0) remove(*queue);
    return true;
}

std::size_t Staging::drop(std::uint64_t serial) noexcept {
    Queue* queue = find(serial);
    if (!queue) return 0;
    const std::size_t dropped = queue->count;
    while (queue->count > 0) discard_head(*queue);
    remove(*queue);
    return dropped;
}

void Staging::list(std::vector<std::uint64_t>& out) const noexcept {
    out.clear();
    for (const Queue& queue : table_) {
        if (queue.serial != 0) out.push_back(queue.serial);
    }
}

void Staging::discard_head(Queue& queue) noexcept {
    const std::uint16_t at = queue.head;
    Packet& packet = packets_[at];
    for (std::uint16_t chunk = packet.first_chunk; chunk != kNone;) {
        const std::uint16_t next = next_chunk_[chunk];
        next_chunk_[chunk] = free_chunk_;
        free_chunk_ = chunk;
        ++free_chunks_;
        chunk = next;
    }
    queue.chunks = static_cast<std::uint16_t>(queue.chunks - chunks_of(packet.length));
    queue.head = packet.next;
    --queue.count;
    depth_.store(depth_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    packet.next = free_packet_;
    free_packet_ = at;
}

// Open addressing with linear probing, never more than half full.
const Staging::Queue* Staging::find(std::uint64_t serial) const noexcept {
    for (std::size_t i = serial % kTable;; i = (i + 1) % kTable) {
        if (table_[i].serial == serial) return &table_[i];
        if (table_[i].serial == 0) return nullptr;
    }
}

Staging::Queue* Staging::find_or_add(std::uint64_t serial) noexcept {
    if (Queue* queue = find(serial)) return queue;
    if (peers_in_use_ == kPeersMax) return nullptr;
    std::size_t i = serial % kTable;
    while (table_[i].serial != 0) i = (i + 1) % kTable;
    table_[i] = {serial, kNone, kNone, 0, 0};
    ++peers_in_use_;
    return &table_[i];
}

// Closes the gap, so that no probe stops short of what lies behind it.
void Staging::remove(Queue& queue) noexcept {
    std::size_t gap = static_cast<std::size_t>(&queue - table_.data());
    --peers_in_use_;
    for (std::size_t i = (gap + 1) % kTable; table_[i].serial != 0; i = (i + 1) % kTable) {
        const std::size_t home = table_[i].serial % kTable;
        // Movable when its home is not (cyclically) within (gap, i].
        if ((i + kTable - home) % kTable < (i + kTable - gap) % kTable) continue;
        table_[gap] = table_[i];
        gap = i;
    }
    table_[gap] = {};
}

}  // namespace vern
