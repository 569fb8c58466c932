#include "dataplane/policy/classifier.h"

#include <algorithm>

#include "dataplane/policy/classifier_words.h"

namespace vern::policy {

template <std::size_t kWords>
const Classifier::Interval* Classifier::find_interval(const Entry<kWords>& entry,
                                                      std::uint16_t port) const noexcept {
    const auto holds = [port](const Interval& one) { return (port >= one.first) & (port <= one.last); };
    if (entry.intervals <= entry.interval.size()) {
        const bool first = holds(entry.interval[0]), second = holds(entry.interval[1]);
        return first || second ? &entry.interval[first ? 0 : 1] : nullptr;
    }
    const Interval* const begin = &intervals_[entry.interval[0].ranks];
    const Interval* const at =
        std::upper_bound(begin, begin + entry.intervals, port,
                         [](std::uint16_t wanted, const Interval& one) { return wanted < one.first; });
    return at != begin && holds(at[-1]) ? at - 1 : nullptr;
}

std::uint32_t Classifier::first_behind(const Interval& interval, std::uint32_t after) const noexcept {
    const auto behind = [after](std::uint32_t rank) { return after == kNone || rank > after; };
    if ((interval.ranks & kInline) != 0)
        return behind(interval.ranks & ~kInline) ? interval.ranks & ~kInline : kNone;
    for (const std::uint32_t* at = &ranks_[interval.ranks];; ++at) {
        if (behind(*at & ~kInline)) return *at & ~kInline;
        if ((*at & kInline) != 0) return kNone;
    }
}

template <std::size_t kWords>
const Classifier::Entry<kWords>* Classifier::find(const Space<kWords>& space, const Words<kWords>& masked,
                                                  std::uint32_t tag, std::uint64_t h) noexcept {
    for (std::uint64_t at = space.home(h);; at = (at + 1) & space.entries_mask) {
        const Entry<kWords>& entry = space.entries[at];
        std::uint64_t differ = entry.tag ^ tag;  // std::array would be compared by a call
        for (std::size_t i = 0; i < kWords; ++i) differ |= entry.words[i] ^ masked[i];
        if (differ == 0 && entry.intervals != 0) return &entry;
        if (entry.intervals == 0) return nullptr;
    }
}

// All hashes, without a branch on what they say, so that the processor works on many at once.
template <std::size_t kWords>
std::size_t Classifier::sift_plain(const Space<kWords>& space, Range some, const Asked<kWords>& asked,
                                   Hits& hits, std::size_t count) noexcept {
    const Tuples<kWords>& tuples = space.tuples;
    for (std::size_t i = some.begin; i < some.end; ++i) {
        const std::uint64_t h = hash<kWords>(masked<kWords>(asked.words, tuples.mask[i]),
                                             tuples.salt[i] + (asked.protocol & tuples.protocol_mask[i]));
        hits.h[count] = h;
        hits.tuple[count] = i;
        const std::uint64_t asks = h ^ (asked.ports & tuples.port_mask[i]);
        const std::uint64_t bits = space.filter_bits(asks);
        count += (space.filter_word(asks) & bits) == bits ? 1 : 0;
    }
    return count;
}

template <std::size_t kWords>
std::size_t Classifier::sift(const Space<kWords>& space, Range some, const Asked<kWords>& asked, Hits& hits,
                             std::size_t count) const noexcept {
    if constexpr (kWords == 1) {
        if (avx512_) return sift_avx512(space, some, asked, hits, count);
    }
    return sift_plain<kWords>(space, some, asked, hits, count);
}

// Both lists are sifted first; then only the tuples that may hold something are looked at, whose lines are
// on their way by then.
template <std::size_t kWords>
std::uint32_t Classifier::match(const Space<kWords>& space, const std::array<List, 2>& lists,
                                const FlowKey& key, std::uint16_t port, std::uint32_t after) const noexcept {
    const Tuples<kWords>& tuples = space.tuples;
    const Asked<kWords> asked{words_of<kWords>(key.remote, key.local), key.protocol, mixed(block_of(port))};
    std::array<Range, 2> left{space.lists[lists[0]], space.lists[lists[1]]};
    Hits hits;
    std::uint32_t found = kNone;
    do {
        std::size_t count = 0;
        for (Range& range : left) {
            if (range.begin != range.end && tuples.best[range.begin] >= found) range.begin = range.end;
            const auto stop = std::min<std::uint32_t>(range.end, range.begin + kAtOnce);
            count = sift<kWords>(space, {range.begin, stop}, asked, hits, count);
            range.begin = stop;
        }
        for (const std::uint64_t h : std::span(hits.h).first(count))
            __builtin_prefetch(&space.entries[space.home(h)]);
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t tuple = hits.tuple[i];
            if (tuples.best[tuple] >= found) continue;
            const auto protocol = static_cast<std::uint32_t>(asked.protocol & tuples.protocol_mask[tuple]);
            const auto* entry = find<kWords>(space, masked<kWords>(asked.words, tuples.mask[tuple]),
                                             tuples.tag[tuple] | protocol, hits.h[i]);
            if (entry == nullptr) continue;
            if (const Interval* interval = find_interval<kWords>(*entry, port))
                found = std::min(found, first_behind(*interval, after));
        }
    } while (left[0].begin != left[0].end || left[1].begin != left[1].end);
    return found;
}

std::uint32_t Classifier::match(const std::array<List, 2>& lists, const FlowKey& key, std::uint16_t port,
                                std::uint32_t after) const noexcept {
    return key.v6 ? match<4>(v6_, lists, key, port, after) : match<1>(v4_, lists, key, port, after);
}

}  // namespace vern::policy
