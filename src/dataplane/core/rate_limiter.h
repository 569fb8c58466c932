// How many handshake messages one source may have handled a second while the device is under load: 20, and 5
// at once. A source is an IPv4 address or an IPv6 /64. Never global: one flooding source takes nothing from
// another.
//
// Fixed memory: 1024 buckets of 8 sources (192 KiB, touched only under load). When a bucket is full the
// source unheard for longest makes room; who has come that far has proven its address with a cookie, and the
// bucket is chosen by a keyed hash. Slow path only.
#pragma once

#include <cstdint>
#include <memory>

#include "crypto/instant.h"
#include "dataplane/base/address.h"
#include "dataplane/base/random.h"

namespace vern {

class RateLimiter {
  public:
    explicit RateLimiter(Random& random) noexcept;
    bool admit(const IpAddress& source, Instant now) noexcept;

    static constexpr unsigned kMessagesPerSecond = 20;
    static constexpr unsigned kBurst = 5;

  private:
    static constexpr std::size_t kBuckets = 1024;
    static constexpr std::size_t kWays = 8;
    struct Source {
        std::uint64_t key[2];  // address or /64, with the family: never 0 when in use
        Instant full_at;       // when the allowance is whole again
    };
    struct Bucket {
        Source sources[kWays];
    };
    std::unique_ptr<Bucket[]> buckets_;
    std::byte hash_key_[16];
};

}  // namespace vern
