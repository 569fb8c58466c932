#include "crypto/secret_pool.h"

#include <sodium.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdint>

namespace vern {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kFirstChunkBytes = std::size_t{64} << 10;
constexpr std::size_t kLargestChunkBytes =
    std::size_t{512} << 10;  // all of a chunk is touched at once (mlock), so its unused rest counts

std::size_t round_up(std::size_t value, std::size_t multiple) noexcept {
    return (value + multiple - 1) / multiple * multiple;
}
std::size_t page_bytes() noexcept { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

// One mapping: guard page, slots, guard page. The slots end at the rear guard, since a buffer overruns more
// often than it underruns.
struct SecretPool::Chunk {
    std::byte* mapping = nullptr;
    std::size_t mapping_bytes = 0;
    std::byte* first_slot = nullptr;
    std::size_t slots = 0;

    bool map(std::size_t slot_bytes) noexcept;
    bool has(const std::byte* slot, std::size_t slot_bytes) const noexcept {
        const auto begin = reinterpret_cast<std::uintptr_t>(first_slot);
        const auto at = reinterpret_cast<std::uintptr_t>(slot);
        return at >= begin && at < begin + slots * slot_bytes && (at - begin) % slot_bytes == 0;
    }
};

bool SecretPool::Chunk::map(std::size_t slot_bytes) noexcept {
    const std::size_t page = page_bytes();
    const std::size_t usable = round_up(slots * slot_bytes, page);
    mapping_bytes = usable + 2 * page;
    void* mapped = mmap(nullptr, mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return false;
    mapping = static_cast<std::byte*>(mapped);
    std::byte* const inner = mapping + page;
    // Keys that may show up in a core dump are worse than no keys; a kernel without the other two only
    // protects less.
    if (mprotect(inner, usable, PROT_READ | PROT_WRITE) != 0 || madvise(inner, usable, MADV_DONTDUMP) != 0) {
        munmap(mapping, mapping_bytes);
        return false;
    }
    static_cast<void>(madvise(inner, usable, MADV_WIPEONFORK));
    static_cast<void>(mlock(inner, usable));
    first_slot = inner + (usable - slots * slot_bytes);
    return true;
}

SecretPool::SecretPool(std::size_t slot_bytes, std::size_t limit) noexcept
    : slot_bytes_(round_up(std::max<std::size_t>(slot_bytes, 1), kAlignment)), limit_(limit) {}

SecretPool::~SecretPool() {
    assert(in_use_ == 0);
    for (const Chunk& chunk : chunks_) {
        // Free slots hold nothing but links; what was not given back must not outlive us either.
        sodium_memzero(chunk.first_slot, chunk.slots * slot_bytes_);
        munmap(chunk.mapping, chunk.mapping_bytes);
    }
}

bool SecretPool::grow() noexcept {
    if (capacity_ >= limit_) return false;
    const std::size_t doubled = kFirstChunkBytes << std::min<std::size_t>(chunks_.size(), 6);
    const std::size_t wanted_bytes = std::min(doubled, kLargestChunkBytes);
    Chunk chunk;
    chunk.slots = std::clamp<std::size_t>(wanted_bytes / slot_bytes_, 1, limit_ - capacity_);
    try {
        chunks_.reserve(chunks_.size() + 1);
    } catch (const std::bad_alloc&) {
        return false;
    }
    if (!chunk.map(slot_bytes_)) return false;
    chunks_.push_back(chunk);
    capacity_ += chunk.slots;
    for (std::size_t i = chunk.slots; i-- > 0;) free_ = new (chunk.first_slot + i * slot_bytes_) Free{free_};
    return true;
}

bool SecretPool::reserve(std::size_t count) noexcept {
    while (capacity_ - in_use_ < count) {
        if (!grow()) return false;
    }
    return true;
}

void* SecretPool::take() noexcept {
    if (!free_ && !grow()) return nullptr;
    Free* slot = free_;
    free_ = slot->next;
    slot->next = nullptr;
    ++in_use_;
    return slot;
}

void SecretPool::give_back(void* slot) noexcept {
    auto* const bytes = static_cast<std::byte*>(slot);
    assert(in_use_ > 0);
    assert(std::any_of(chunks_.begin(), chunks_.end(),
                       [&](const Chunk& chunk) { return chunk.has(bytes, slot_bytes_); }));
    sodium_memzero(bytes, slot_bytes_);
    free_ = new (bytes) Free{free_};
    --in_use_;
}

}  // namespace vern
