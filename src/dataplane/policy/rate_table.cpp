#include "dataplane/policy/rate_table.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace vern::policy {

// The bucket, or a place for it; nullptr: the owner has enough of the others, or there is none. One that is
// full again keeps its place while nobody takes it: another worker's turn may have begun before it was.
RateTable::Bucket* RateTable::Set::find(std::uint64_t rule, std::uint64_t source, std::uint32_t owner,
                                        Instant now) noexcept {
    Bucket* place = nullptr;
    bool found = false;
    std::size_t had = 0;
    for (std::size_t i = 0; i < kWays; ++i) {
        Bucket& bucket = buckets[i];
        const bool same = bucket.rule == rule && bucket.source == source;
        if (bucket.full_at <= now) {
            if (!found) place = &bucket;
            found = found || same;
        } else if (same) {
            return &bucket;
        } else if (owners[i] == owner) {
            ++had;
        }
    }
    return had < kWaysOfOne ? place : nullptr;
}

RateTable::Answer RateTable::ask(std::uint64_t rule_id, const Rate& rate, std::uint64_t peer,
                                 std::uint64_t sender, const std::array<std::byte, 16>& source, Instant now,
                                 bool take) noexcept {
    const bool by_source = rate.scope == Rate::Scope::source;
    std::uint64_t words[4] = {rule_id, static_cast<std::uint64_t>(rate.scope), 0, 0};
    if (by_source) std::memcpy(&words[2], source.data(), 16);
    if (rate.scope == Rate::Scope::peer)
        words[2] = static_cast<std::uint64_t>(sender != 0 ? begun_by(sender) : begun_towards(peer));
    // 128 bits of keyed hash stand for rule and source: two of them are the same as little as two keys are.
    const std::uint64_t tag = hash_(words);
    const std::uint64_t other_words[5] = {~rule_id, words[1], words[2], words[3], 1};
    const std::uint64_t other = hash_(other_words);
    // Where this side's sources have theirs must not depend on whom they send to: one holds for all peers.
    const std::uint64_t home_words[2] = {rule_id, sender};
    const std::uint64_t owner_words[1] = {sender};
    const std::uint64_t home = by_source && sender != 0 ? hash_(home_words) + tag % kSetsOfPeer : tag;
    const auto owner = static_cast<std::uint32_t>(by_source ? hash_(owner_words) : tag);
    Set& set = by_source ? sources_[home % kSets] : others_[home % kSetsOfOthers];

    const Duration cost = rate.interval / rate.count;
    // A bound on a bound: no operator's burst is worth more than a year.
    const Duration allowance =
        std::min<std::int64_t>(rate.burst, std::chrono::hours(24 * 365) / cost + 1) * cost;
    const std::lock_guard hold(set.lock);
    Bucket* bucket = set.find(tag, other, owner, now);
    if (bucket == nullptr) return Answer::full;
    // The rate may have become stricter since: what was taken then counts no more than the whole burst now.
    const Instant full_at = std::clamp(bucket->full_at, now, now + allowance) + cost;
    if (full_at - now > allowance) return Answer::none;
    if (take) {
        *bucket = {tag, other, full_at};
        set.owners[bucket - set.buckets] = owner;
    }
    return Answer::token;
}

}  // namespace vern::policy
