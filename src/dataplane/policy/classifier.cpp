#include "dataplane/policy/classifier.h"

#include <algorithm>

#include "dataplane/policy/classifier_words.h"

namespace vern::policy {

template <std::size_t kWords>
const Classifier::Interval* Classifier::find_interval(const Entry<kWords>& entry,
                                                      std::uint16_t port) const noexcept {
    const Interval* first = entry.interval.data();
    std::size_t count = entry.intervals;
    if (count > entry.interval.size()) {
        first = &intervals_[entry.interval[0].ranks];
        const Interval* const at =
            std::upper_bound(first, first + count, port,
                             [](std::uint16_t wanted, const Interval& one) { return wanted < one.first; });
        if (at == first) return nullptr;
        first = at - 1;
        count = 1;
    }
    for (const Interval& one : std::span(first, count)) {
        if (port >= one.first && port <= one.last) return &one;
    }
    return nullptr;
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
        if (entry.tag == tag && entry.words == masked && entry.intervals != 0) return &entry;
        if (entry.intervals == 0) return nullptr;
    }
}

// First all hashes, without a branch on what they say, so that the processor works on many at once; then only
// the tuples that may hold something, whose lines are on their way by then.
template <std::size_t kWords>
std::uint32_t Classifier::match(const Space<kWords>& space, const std::array<List, 2>& lists,
                                const FlowKey& key, std::uint16_t port, std::uint32_t after) const noexcept {
    constexpr std::size_t kAtOnce = 32;
    struct Hit {
        std::uint64_t h;
        const Probe<kWords>* probe;
    };
    std::array<Hit, kAtOnce + 1> hits;  // the last is written, and never one
    const Words<kWords> words = words_of<kWords>(key.remote, key.local);
    const auto masked = [&](const Probe<kWords>& probe) {
        Words<kWords> out;
        for (std::size_t i = 0; i < kWords; ++i) out[i] = words[i] & probe.mask[i];
        return out;
    };
    std::uint32_t found = kNone;
    for (const List list : lists) {
        const Probe<kWords>*probe = space.probes.data() + space.lists[list].begin, *const end =
                                                                                       space.probes.data() +
                                                                                       space.lists[list].end;
        while (probe != end && probe->best < found) {
            const Probe<kWords>* const stop = probe + std::min<std::ptrdiff_t>(end - probe, kAtOnce);
            std::size_t count = 0;
            for (; probe != stop; ++probe) {
                const std::uint64_t h =
                    hash<kWords>(masked(*probe), probe->salt + (key.protocol & probe->protocol_mask));
                hits[count] = {h, probe};
                count += space.has(h) ? 1 : 0;
            }
            for (const Hit& hit : std::span(hits).first(count))
                __builtin_prefetch(&space.entries[space.home(hit.h)]);
            for (const Hit& hit : std::span(hits).first(count)) {
                if (hit.probe->best >= found) break;
                const auto protocol = static_cast<std::uint32_t>(key.protocol & hit.probe->protocol_mask);
                const auto* entry = find<kWords>(space, masked(*hit.probe), hit.probe->tag | protocol, hit.h);
                if (entry == nullptr) continue;
                if (const Interval* interval = find_interval<kWords>(*entry, port))
                    found = std::min(found, first_behind(*interval, after));
            }
        }
    }
    return found;
}

std::uint32_t Classifier::match(const std::array<List, 2>& lists, const FlowKey& key, std::uint16_t port,
                                std::uint32_t after) const noexcept {
    return key.v6 ? match<4>(v6_, lists, key, port, after) : match<1>(v4_, lists, key, port, after);
}

}  // namespace vern::policy
