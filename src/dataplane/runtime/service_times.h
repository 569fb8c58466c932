// How long trains are in service: from the moment at which a worker has them to the one at which all that
// follows from them is with the kernel, which is the worker's turn. One object a worker, written by its
// thread alone, read by any.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "crypto/instant.h"

namespace vern {

// Bucket N counts what took up to 2^N us, the last one all that took longer.
inline constexpr std::size_t kServiceBuckets = 18;  // the last with an end: 65 ms

struct ServiceTimeCounts {
    std::array<std::uint64_t, kServiceBuckets> trains{};
    std::uint64_t total_ns = 0;
};

class ServiceTimes {
  public:
    // The owner. `trains` of one turn.
    void add(Duration took, std::size_t trains) noexcept {
        const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(took.count(), 0));
        raise(buckets_[bucket_of(ns)], trains);
        raise(total_ns_, ns * trains);
    }
    // Any thread.
    void add_to(ServiceTimeCounts& sum) const noexcept {
        for (std::size_t i = 0; i < kServiceBuckets; ++i)
            sum.trains[i] += buckets_[i].load(std::memory_order_relaxed);
        sum.total_ns += total_ns_.load(std::memory_order_relaxed);
    }
    static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
        const std::uint64_t us = ns / 1000 + (ns % 1000 != 0 ? 1 : 0);
        const auto bucket = us <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(us - 1));
        return std::min(bucket, kServiceBuckets - 1);
    }

  private:
    using Count = std::atomic<std::uint64_t>;
    static void raise(Count& count, std::uint64_t by) noexcept {
        count.store(count.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
    }

    alignas(64) std::array<Count, kServiceBuckets> buckets_{};
    Count total_ns_{0};
};

}  // namespace vern
