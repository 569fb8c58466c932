// The buffers in which the core builds trains to send. A fixed number; the one given back last is taken
// first, because it is the one that is still in the cache. The worker's thread only.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>

#include "crypto/error.h"
#include "dataplane/io/mapping.h"

namespace vern {

class BufferPool {
  public:
    // 2.1 MiB if all wait for a full socket; usually two or three are touched at all.
    static constexpr std::size_t kBuffers = 32;

    static Result<BufferPool> make() {
        auto memory = Mapping::make(kBuffers * kSlotStrideBytes);
        if (!memory) return tl::unexpected(memory.error());
        BufferPool pool;
        pool.memory_ = std::move(*memory);
        for (std::size_t i = kBuffers; i-- > 0;) pool.give_back(pool.memory_.data() + i * kSlotStrideBytes);
        return pool;
    }

    // Null when all are taken.
    std::byte* take() noexcept { return free_count_ == 0 ? nullptr : free_[--free_count_]; }

    // Is it the beginning of one of them?
    bool owns(const std::byte* buffer) const noexcept {
        const std::byte* const begin = memory_.data();
        return buffer >= begin && buffer < begin + kBuffers * kSlotStrideBytes &&
               static_cast<std::size_t>(buffer - begin) % kSlotStrideBytes == 0;
    }

    void give_back(std::byte* buffer) noexcept {
        assert(free_count_ < kBuffers);
        free_[free_count_++] = buffer;
    }

  private:
    Mapping memory_;
    std::array<std::byte*, kBuffers> free_{};
    std::size_t free_count_ = 0;
};

}  // namespace vern
