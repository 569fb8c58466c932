#include "dataplane/policy/rate_table.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace vern::policy {

// A bucket for one more of the owner's; nullptr: it has enough, or there is none.
RateTable::Bucket* RateTable::Set::vacant(std::uint32_t owner, Instant now) noexcept {
    Bucket* found = nullptr;
    std::size_t had = 0;
    for (std::size_t i = 0; i < kWays; ++i) {
        if (buckets[i].full_at <= now)
            found = &buckets[i];
        else if (owners[i] == owner)
            ++had;
    }
    return had < kWaysOfOne ? found : nullptr;
}

RateTable::Answer RateTable::ask(std::uint64_t rule_id, const Rate& rate, std::uint64_t peer,
                                 Direction direction, const std::array<std::byte, 16>& source, Instant now,
                                 bool take) noexcept {
    std::uint64_t words[4] = {rule_id, static_cast<std::uint64_t>(rate.scope), 0, 0};
    if (rate.scope == Rate::Scope::source) std::memcpy(&words[2], source.data(), 16);
    if (rate.scope == Rate::Scope::peer) words[2] = peer;
    // 128 bits of keyed hash stand for rule and source: two of them are the same as little as two keys are.
    const std::uint64_t tag = hash_(words);
    const std::uint64_t other_words[5] = {~rule_id, words[1], words[2], words[3], 1};
    const std::uint64_t other = hash_(other_words);
    // Out, sources are this side's own, and one bucket must hold for all peers that they go to.
    const std::uint64_t home_words[2] = {rule_id, peer};
    const bool near = direction == Direction::in && rate.scope == Rate::Scope::source;
    const std::uint64_t home = hash_(home_words);
    const std::size_t at = near ? (home + (tag & (kSetsOfPeer - 1))) % kSets : tag % kSets;
    const auto owner = static_cast<std::uint32_t>((near ? home : tag) >> 32);

    const Duration cost = rate.interval / rate.count;
    // A bound on a bound: no operator's burst is worth more than a year.
    const Duration allowance =
        std::min<std::int64_t>(rate.burst, std::chrono::hours(24 * 365) / cost + 1) * cost;
    Set& set = sets_[at];
    const std::lock_guard hold(set.lock);
    Bucket* end = std::end(set.buckets);
    Bucket* bucket = std::find_if(std::begin(set.buckets), end,
                                  [&](const Bucket& b) { return b.rule == tag && b.source == other; });
    if (bucket == end) {
        bucket = set.vacant(owner, now);
        if (bucket == nullptr) return Answer::full;
        if (!take) return Answer::token;
        *bucket = {tag, other, now};
        set.owners[bucket - set.buckets] = owner;
    }
    // The rate may have become stricter since: what was taken then counts no more than the whole burst now.
    const Instant full_at = std::max(std::min(bucket->full_at, now + allowance), now) + cost;
    if (full_at - now > allowance) return Answer::none;
    if (take) bucket->full_at = full_at;
    return Answer::token;
}

}  // namespace vern::policy
