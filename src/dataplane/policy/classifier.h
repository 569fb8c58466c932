// Rules as a tuple space (Srinivasan, Suri and Varghese, SIGCOMM 1999): what one set of rules asks of packets
// with the same prefix lengths, a protocol given or not, is one tuple. The entries of all tuples of all sets
// lie in one hash table a family, so that a lookup over several sets is one run over their tuples: hash all,
// ask a filter which of them can have anything at all, and look at the one or two that do. Ports are disjoint
// intervals within an entry. Immutable once built.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "dataplane/policy/flow_key.h"
#include "dataplane/policy/reserved.h"

namespace vern::policy {

class Classifier {
  public:
    static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

    // Which sets of rules are asked together. The one that is 0 asks none.
    using List = std::uint32_t;

    // The lowest rank above `after` (kNone: of all) that matches in any set of the lists; kNone when there is
    // none. A rule that always applies hides those behind it: ask again only after one that does not apply
    // now.
    std::uint32_t match(const std::array<List, 2>& lists, const FlowKey& key, std::uint16_t port,
                        std::uint32_t after) const noexcept;

  private:
    friend class ClassifierBuilder;

    // Ports [first, last], and the ranks there: one, with kInline, or a list that begins at ranks_[ranks].
    struct Interval {
        std::uint16_t first;
        std::uint16_t last;
        std::uint32_t ranks;
    };
    static constexpr Interval kNoPort{1, 0, 0};
    // Addresses as words, so that masking and comparing are a few instructions: IPv4 in one (remote, then
    // local), IPv6 in four.
    template <std::size_t kWords>
    using Words = std::array<std::uint64_t, kWords>;
    // What a packet asks of every tuple.
    template <std::size_t kWords>
    struct Asked {
        Words<kWords> words;
        std::uint64_t protocol;
        std::uint64_t ports;  // mixed(block_of(port))
    };
    // Half a cache line, or one. All zero: empty.
    template <std::size_t kWords>
    struct alignas(kWords == 1 ? 32 : 64) Entry {
        Words<kWords> words;      // masked
        std::uint32_t tag;        // tuple << 8 | protocol, 0 in tuples that do not look at it
        std::uint32_t intervals;  // how many; more than here: they begin at intervals_[interval[0].ranks]
        std::array<Interval, 2> interval;  // what is not used holds no port
    };
    static_assert(sizeof(Entry<1>) == 32 && sizeof(Entry<4>) == 64);
    struct Range {
        std::uint32_t begin, end;
    };
    // The tuples of all lists of a family, one array a field, so that several can be looked at at once.
    template <std::size_t kWords>
    struct Tuples {
        std::vector<Words<kWords>> mask;
        std::vector<std::uint64_t> salt;           // of its hashes
        std::vector<std::uint64_t> protocol_mask;  // 0: it does not look at the protocol
        std::vector<std::uint64_t> port_mask;      // of the filter; 0: what it has is there for all ports
        std::vector<std::uint32_t> best;           // the lowest rank in it
        std::vector<std::uint32_t> tag;            // number << 8
    };
    // Tuples of a list that may have something for a packet.
    static constexpr std::size_t kAtOnce = 32;
    struct Hits {
        static constexpr std::size_t kSlack = 8;  // that is written and does not count
        std::array<std::uint64_t, 2 * kAtOnce + kSlack> h, tuple;
    };
    template <std::size_t kWords>
    struct Space {
        Tuples<kWords> tuples;
        std::vector<Range> lists;  // of tuples, best first
        Reserved<Entry<kWords>> entries;
        std::uint64_t entries_mask = 0;
        // Two bits for each block of ports of each entry, by its hash: most probes find nothing, and this
        // says so from a few hot cache lines. Without the ports, rules for large networks, which have
        // something for most pairs of addresses, would pass it with every packet.
        Reserved<std::uint64_t> filter;
        std::uint64_t filter_mask = 0;

        std::uint64_t home(std::uint64_t h) const noexcept { return h >> 32 & entries_mask; }
        std::uint64_t& filter_word(std::uint64_t h) const noexcept { return filter[h >> 12 & filter_mask]; }
        static std::uint64_t filter_bits(std::uint64_t h) noexcept {
            return std::uint64_t{1} << (h & 63) | std::uint64_t{1} << (h >> 6 & 63);
        }
    };
    static constexpr std::uint32_t kInline = std::uint32_t{1}
                                             << 31;  // of Interval::ranks; in lists: the last
    static constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15;  // of hash()
    static constexpr std::uint32_t block_of(std::uint16_t port) noexcept { return port >> 6; }
    static constexpr std::uint64_t mixed(std::uint32_t block) noexcept {
        return (block + 1) * 0xa0761d6478bd642f;
    }

    template <std::size_t kWords>
    static Words<kWords> words_of(const std::array<std::byte, 16>& remote,
                                  const std::array<std::byte, 16>& local) noexcept;
    template <std::size_t kWords>
    static std::uint64_t hash(const Words<kWords>& masked, std::uint64_t salt) noexcept;
    template <std::size_t kWords>
    static Words<kWords> masked(const Words<kWords>& words, const Words<kWords>& mask) noexcept;
    // Adds the hits among `some` tuples, and answers how many there are with them.
    template <std::size_t kWords>
    std::size_t sift(const Space<kWords>& space, Range some, const Asked<kWords>& asked, Hits& hits,
                     std::size_t count) const noexcept;
    template <std::size_t kWords>
    static std::size_t sift_plain(const Space<kWords>& space, Range some, const Asked<kWords>& asked,
                                  Hits& hits, std::size_t count) noexcept;
    static std::size_t sift_avx512(const Space<1>& space, Range some, const Asked<1>& asked, Hits& hits,
                                   std::size_t count) noexcept;
    template <std::size_t kWords>
    std::uint32_t match(const Space<kWords>& space, const std::array<List, 2>& lists, const FlowKey& key,
                        std::uint16_t port, std::uint32_t after) const noexcept;
    template <std::size_t kWords>
    static const Entry<kWords>* find(const Space<kWords>& space, const Words<kWords>& masked,
                                     std::uint32_t tag, std::uint64_t h) noexcept;
    template <std::size_t kWords>
    const Interval* find_interval(const Entry<kWords>& entry, std::uint16_t port) const noexcept;
    std::uint32_t first_behind(const Interval& interval, std::uint32_t after) const noexcept;

    Space<1> v4_;
    Space<4> v6_;
    std::vector<Interval> intervals_;
    std::vector<std::uint32_t> ranks_;
    bool avx512_ = false;
};

}  // namespace vern::policy
