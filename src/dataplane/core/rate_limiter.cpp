#include "dataplane/core/rate_limiter.h"

#include <sodium.h>

#include <algorithm>

namespace vern {
namespace {

constexpr Duration kCost = Duration(std::chrono::seconds(1)) /
                           RateLimiter::kMessagesPerSecond;  // in nanoseconds: whole seconds would give 0
constexpr Duration kAllowance = kCost * RateLimiter::kBurst;
static_assert(kCost == std::chrono::milliseconds(50));

}  // namespace

RateLimiter::RateLimiter(Random& random) noexcept { random.fill(hash_key_); }

bool RateLimiter::admit(const IpAddress& source, Instant now) noexcept {
    if (!buckets_) buckets_ = std::make_unique<Bucket[]>(kBuckets);
    std::uint64_t key[2] = {0, static_cast<std::uint64_t>(source.family)};
    std::memcpy(&key[0], source.bytes.data(), source.family == Family::v4 ? 4 : 8);

    std::uint64_t hash = 0;
    crypto_shorthash(reinterpret_cast<unsigned char*>(&hash), reinterpret_cast<const unsigned char*>(key),
                     sizeof key, reinterpret_cast<const unsigned char*>(hash_key_));
    auto& sources = buckets_[hash % kBuckets].sources;

    Source* slot = std::find_if(std::begin(sources), std::end(sources),
                                [&](const Source& s) { return s.key[0] == key[0] && s.key[1] == key[1]; });
    if (slot == std::end(sources)) {
        slot = std::min_element(std::begin(sources), std::end(sources),
                                [](const Source& a, const Source& b) { return a.full_at < b.full_at; });
        *slot = {{key[0], key[1]}, now};
    }
    // A token bucket told by one number: each message moves the time at which the bucket is full again by the
    // price of one.
    const Instant full_at = std::max(slot->full_at, now) + kCost;
    if (full_at - now > kAllowance) return false;
    slot->full_at = full_at;
    return true;
}

}  // namespace vern
