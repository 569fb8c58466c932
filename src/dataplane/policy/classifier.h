// Rules of one direction as a tuple space (Srinivasan, Suri and Varghese, SIGCOMM 1999): what asks for the
// same prefix lengths and gives a protocol, or gives none, is one hash table; ports are disjoint intervals
// within an entry. A lookup is one probe for each table that could still have something better than what was
// found. Immutable once built.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "crypto/error.h"
#include "dataplane/policy/flow_key.h"
#include "dataplane/policy/rules.h"

namespace vern::policy {

class Classifier {
  public:
    static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

    struct Ranked {
        std::uint32_t rank;  // precedence: the lowest one decides; below 2^31
        const Rule* rule;
    };
    Classifier() = default;
    // Adds what it takes to `entries`, `ranks`, of a limit each. Errors: more than these.
    static Result<Classifier> build(std::span<const Ranked> rules, std::size_t entries_max);

    // The lowest rank above `after` (kNone: of all) and below `below` that matches; kNone when there is none.
    // A rule that always applies hides those behind it: ask again only after one that does not apply now.
    std::uint32_t match(const FlowKey& key, std::uint16_t port, std::uint32_t after,
                        std::uint32_t below) const noexcept;

    std::uint32_t best_rank() const noexcept { return std::min(spaces_[0].best(), spaces_[1].best()); }
    std::size_t entries() const noexcept { return entries_.size(); }
    // Of entries, intervals and list members: what the limit is on.
    std::size_t weight() const noexcept { return entries_.size() + intervals_.size() + ranks_.size(); }

  private:
    // Ports [first, last], and the ranks there: one, with kInline, or a list that begins at ranks_[ranks].
    struct Interval {
        std::uint16_t first;
        std::uint16_t last;
        std::uint32_t ranks;
    };
    // Addresses as words, so that masking and comparing are a few instructions: IPv4 in one (remote, then
    // local), IPv6 in four.
    using Words = std::array<std::uint64_t, 4>;
    struct Entry {
        Words words;             // masked
        std::uint16_t protocol;  // 0 in tuples that do not look at it
        std::uint16_t unused;
        std::uint32_t intervals;  // how many; one is here, more begin at intervals_[interval.ranks]
        Interval interval;
    };
    struct Tuple {
        Words mask;
        std::uint32_t best;          // the lowest rank in it
        std::uint8_t protocol_mask;  // 0: it does not look at the protocol
        std::uint32_t slots_mask;
        std::size_t slots;  // where its table begins
    };
    // The tuples of a family.
    struct Space {
        std::vector<Tuple> tuples;  // best first
        // A bit for each entry of all tables, by its hash: most probes find nothing, and this says so from a
        // few hot cache lines.
        std::vector<std::uint64_t> present;
        std::uint64_t present_mask = 0;
        std::uint32_t best() const noexcept { return tuples.empty() ? kNone : tuples.front().best; }
        bool has(std::uint64_t h) const noexcept { return present[h >> 6 & present_mask] >> (h & 63) & 1; }
    };
    struct Slot {
        std::uint32_t tag;  // of the hash; 0: empty
        std::uint32_t entry;
    };
    static constexpr std::uint32_t kInline = std::uint32_t{1}
                                             << 31;  // of Interval::ranks; in lists: the last one

    struct Builder;
    static Words words_of(const std::array<std::byte, 16>& remote, const std::array<std::byte, 16>& local,
                          bool v6) noexcept;
    static Words mask_of(unsigned remote_length, unsigned local_length, bool v6) noexcept;
    template <std::size_t kWords>
    static std::uint64_t hash(const Words& words, const Words& mask, std::uint8_t protocol) noexcept;
    static std::uint64_t hash(const Words& words, std::uint8_t protocol, bool v6) noexcept;
    template <std::size_t kWords>
    std::uint32_t match(const Space& space, const Words& words, std::uint8_t protocol, std::uint16_t port,
                        std::uint32_t after, std::uint32_t below) const noexcept;
    template <std::size_t kWords>
    const Entry* find(const Tuple& tuple, std::uint64_t h, const Words& words,
                      std::uint8_t protocol) const noexcept;
    const Interval* find_interval(const Entry& entry, std::uint16_t port) const noexcept;
    std::uint32_t first_behind(const Interval& interval, std::uint32_t after) const noexcept;

    std::array<Space, 2> spaces_;  // IPv4, IPv6
    std::vector<Slot> slots_;
    std::vector<Entry> entries_;
    std::vector<Interval> intervals_;
    std::vector<std::uint32_t> ranks_;
};

}  // namespace vern::policy
