#include "dataplane/policy/classifier.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

namespace vern::policy {
namespace {

std::uint64_t load64(const std::byte* at) noexcept {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    return word;
}
std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// One rule's claim on the ports of an entry.
struct Claim {
    std::uint32_t first;
    std::uint32_t last;
    std::uint32_t rank;
    bool always;  // neither rate nor expiry nor observe: nothing behind it is ever asked
};

}  // namespace

Classifier::Words Classifier::words_of(const std::array<std::byte, 16>& remote,
                                       const std::array<std::byte, 16>& local, bool v6) noexcept {
    if (!v6) return {load64(remote.data()) << 32 | (load64(local.data()) & 0xffffffff), 0, 0, 0};
    return {load64(remote.data()), load64(remote.data() + 8), load64(local.data()), load64(local.data() + 8)};
}

Classifier::Words Classifier::mask_of(unsigned remote_length, unsigned local_length, bool v6) noexcept {
    const auto ones = [](unsigned bits) {
        std::array<std::byte, 16> out{};
        for (unsigned bit = 0; bit < bits; ++bit) out[bit / 8] |= std::byte(0x80 >> (bit % 8));
        return out;
    };
    return words_of(ones(remote_length), ones(local_length), v6);
}

// Operators write these tables, not attackers, and an absent key costs a probe as long as the longest run of
// one: no secret is needed.
template <std::size_t kWords>
std::uint64_t Classifier::hash(const Words& words, const Words& mask, std::uint8_t protocol) noexcept {
    constexpr std::uint64_t kA = 0x9e3779b97f4a7c15, kB = 0xd6e8feb86659fd93;
    const auto word = [&](std::size_t i) { return words[i] & mask[i]; };
    const std::uint64_t h = fold(word(0) ^ kA, kB + protocol);
    if constexpr (kWords == 1) return h;
    return fold(h ^ word(1), kA) ^ fold(word(2) ^ kB, word(3) ^ kA);
}

std::uint64_t Classifier::hash(const Words& words, std::uint8_t protocol, bool v6) noexcept {
    constexpr Words kAll{~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0}};
    return v6 ? hash<4>(words, kAll, protocol) : hash<1>(words, kAll, protocol);
}

struct Classifier::Builder {
    using Shape =
        std::tuple<bool, std::uint8_t, std::uint8_t, bool>;  // v6, remote length, local length, any protocol
    struct Key {
        Words words;
        std::uint8_t protocol;
        bool v6;
        friend bool operator==(const Key&, const Key&) = default;
    };
    struct KeyHash {
        std::size_t operator()(const Key& key) const noexcept {
            return hash(key.words, key.protocol, key.v6);
        }
    };
    using Table = std::unordered_map<Key, std::vector<Claim>, KeyHash>;

    std::map<Shape, Table> shapes;
    std::size_t claims = 0;

    bool add(const Ranked& ranked, std::size_t claims_max) {
        const Rule& rule = *ranked.rule;
        // Before any of it is made: a rule of a few lines may ask for billions.
        const double product = static_cast<double>(std::max<std::size_t>(rule.remote.size(), 1)) *
                               static_cast<double>(std::max<std::size_t>(rule.local.size(), 1)) *
                               static_cast<double>(std::max<std::size_t>(rule.services.size(), 1));
        if (product > 2 * static_cast<double>(claims_max))
            return false;  // half of it may be of the other family
        static const std::vector<Service> kAnyService{Service{}};
        const std::vector<Service>& services = rule.services.empty() ? kAnyService : rule.services;
        for (const bool v6 : {false, true}) {
            const Family family = v6 ? Family::v6 : Family::v4;
            Prefix everything;
            everything.address.family = family;
            const std::vector<Prefix> any{everything};
            for (const Prefix& remote : rule.remote.empty() ? any : rule.remote) {
                if (remote.address.family != family) continue;
                for (const Prefix& local : rule.local.empty() ? any : rule.local) {
                    if (local.address.family != family) continue;
                    for (const Service& service : services) {
                        if (++claims > claims_max) return false;
                        add(ranked, remote, local, service, v6);
                    }
                }
            }
        }
        return true;
    }

    void add(const Ranked& ranked, const Prefix& remote, const Prefix& local, const Service& service,
             bool v6) {
        const bool any_protocol = service.protocol == Service::kAnyProtocol;
        Key key{words_of(remote.address.bytes, local.address.bytes, v6),
                any_protocol ? std::uint8_t{0} : static_cast<std::uint8_t>(service.protocol), v6};
        const Words mask = mask_of(remote.length, local.length, v6);
        for (std::size_t i = 0; i < mask.size(); ++i) key.words[i] &= mask[i];
        const Rule& rule = *ranked.rule;
        const bool always = !rule.rate && !rule.expires && !rule.observe;
        shapes[{v6, remote.length, local.length, any_protocol}][key].push_back(
            {service.first_port, service.last_port, ranked.rank, always});
    }
};

namespace {

// Disjoint intervals of ports with what is claimed there, each list in order of rank up to the first rule
// that always applies.
template <typename Emit>
bool sweep(std::vector<Claim>& claims, const Emit& emit) {
    std::map<std::uint32_t, std::pair<std::vector<const Claim*>, std::vector<const Claim*>>>
        edges;  // begin, end
    for (const Claim& claim : claims) {
        edges[claim.first].first.push_back(&claim);
        edges[claim.last + 1].second.push_back(&claim);
    }
    std::multiset<std::pair<std::uint32_t, bool>> open;
    std::vector<std::uint32_t> ranks;
    for (auto at = edges.begin(); at != edges.end(); ++at) {
        for (const Claim* claim : at->second.second) open.erase(open.find({claim->rank, claim->always}));
        for (const Claim* claim : at->second.first) open.insert({claim->rank, claim->always});
        if (open.empty()) continue;
        ranks.clear();
        for (const auto& [rank, always] : open) {
            if (ranks.empty() || ranks.back() != rank) ranks.push_back(rank);
            if (always) break;
        }
        if (!emit(at->first, std::next(at)->first - 1, ranks)) return false;
    }
    return true;
}

}  // namespace

Result<Classifier> Classifier::build(std::span<const Ranked> rules, std::size_t entries_max) {
    const auto too_large = [&] {
        return fail("the policy needs more than " + std::to_string(entries_max) +
                        " table entries: use wider prefixes",
                    E2BIG);
    };
    Builder builder;
    for (const Ranked& ranked : rules) {
        if (!builder.add(ranked, entries_max)) return too_large();
    }
    Classifier out;
    std::array<std::vector<std::uint64_t>, 2> hashes;
    for (auto& [shape, table] : builder.shapes) {
        const auto [v6, remote_length, local_length, any_protocol] = shape;
        Tuple tuple{mask_of(remote_length, local_length, v6), kNone,
                    any_protocol ? std::uint8_t{0} : std::uint8_t{0xff},
                    static_cast<std::uint32_t>(std::bit_ceil(2 * table.size()) - 1), out.slots_.size()};
        out.slots_.resize(out.slots_.size() + tuple.slots_mask + 1);
        for (auto& [key, claims] : table) {
            Entry entry{key.words, key.protocol, 0, 0, {}};
            std::vector<Interval> intervals;
            bool fits = sweep(claims, [&](std::uint32_t first, std::uint32_t last,
                                          const std::vector<std::uint32_t>& ranks) {
                tuple.best = std::min(tuple.best, ranks.front());
                std::uint32_t where = ranks.front() | kInline;
                if (ranks.size() > 1) {
                    where = static_cast<std::uint32_t>(out.ranks_.size());
                    out.ranks_.insert(out.ranks_.end(), ranks.begin(), ranks.end());
                    out.ranks_.back() |= kInline;
                }
                intervals.push_back(
                    {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last), where});
                return out.weight() + intervals.size() <= entries_max;
            });
            entry.intervals = static_cast<std::uint32_t>(intervals.size());
            if (intervals.size() == 1) {
                entry.interval = intervals.front();
            } else {
                entry.interval.ranks = static_cast<std::uint32_t>(out.intervals_.size());
                out.intervals_.insert(out.intervals_.end(), intervals.begin(), intervals.end());
            }
            const std::uint64_t h = hash(key.words, key.protocol, v6);
            hashes[v6].push_back(h);
            std::size_t at = h & tuple.slots_mask;
            while (out.slots_[tuple.slots + at].tag != 0) at = (at + 1) & tuple.slots_mask;
            out.slots_[tuple.slots + at] = {static_cast<std::uint32_t>(h >> 32) | 1,
                                            static_cast<std::uint32_t>(out.entries_.size())};
            out.entries_.push_back(entry);
            if (!fits || out.weight() > entries_max) return too_large();
        }
        out.spaces_[v6].tuples.push_back(tuple);
    }
    for (const bool v6 : {false, true}) {
        Space& space = out.spaces_[v6];
        std::ranges::sort(space.tuples, {}, &Tuple::best);
        space.present.resize(std::bit_ceil(hashes[v6].size() / 4 + 1));  // 16 bits an entry or more
        space.present_mask = space.present.size() - 1;
        for (const std::uint64_t h : hashes[v6])
            space.present[h >> 6 & space.present_mask] |= std::uint64_t{1} << (h & 63);
    }
    return out;
}

const Classifier::Interval* Classifier::find_interval(const Entry& entry, std::uint16_t port) const noexcept {
    const Interval* at = &entry.interval;
    if (entry.intervals > 1) {
        const Interval* first = &intervals_[entry.interval.ranks];
        at = std::upper_bound(first, first + entry.intervals, port,
                              [](std::uint16_t wanted, const Interval& one) { return wanted < one.first; });
        if (at == first) return nullptr;
        --at;
    }
    return port >= at->first && port <= at->last ? at : nullptr;
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
const Classifier::Entry* Classifier::find(const Tuple& tuple, std::uint64_t h, const Words& words,
                                          std::uint8_t protocol) const noexcept {
    const std::uint32_t tag = static_cast<std::uint32_t>(h >> 32) | 1;
    const Slot* slots = &slots_[tuple.slots];
    for (std::size_t at = h & tuple.slots_mask; slots[at].tag != 0; at = (at + 1) & tuple.slots_mask) {
        if (slots[at].tag != tag) continue;
        const Entry& entry = entries_[slots[at].entry];
        std::uint64_t differ = static_cast<std::uint64_t>(entry.protocol) ^ (protocol & tuple.protocol_mask);
        for (std::size_t i = 0; i < kWords; ++i) differ |= entry.words[i] ^ (words[i] & tuple.mask[i]);
        if (differ == 0) return &entry;
    }
    return nullptr;
}

// First all hashes, without a branch on what they say, so that the processor works on many at once; then only
// the tables that may hold something, whose lines are on their way by then.
template <std::size_t kWords>
std::uint32_t Classifier::match(const Space& space, const Words& words, std::uint8_t protocol,
                                std::uint16_t port, std::uint32_t after, std::uint32_t below) const noexcept {
    constexpr std::size_t kAtOnce = 32;
    std::uint32_t found = below;
    const Tuple *tuple = space.tuples.data(), *const end = tuple + space.tuples.size();
    while (tuple != end && tuple->best < found) {
        std::array<std::uint64_t, kAtOnce> hashes;
        std::uint32_t candidates = 0;
        const std::size_t count = std::min<std::size_t>(static_cast<std::size_t>(end - tuple), kAtOnce);
        for (std::size_t i = 0; i < count; ++i) {
            hashes[i] = hash<kWords>(words, tuple[i].mask, protocol & tuple[i].protocol_mask);
            candidates |= static_cast<std::uint32_t>(space.has(hashes[i])) << i;
        }
        for (std::uint32_t left = candidates; left != 0; left &= left - 1) {
            const auto i = static_cast<std::size_t>(std::countr_zero(left));
            __builtin_prefetch(&slots_[tuple[i].slots + (hashes[i] & tuple[i].slots_mask)]);
        }
        for (; candidates != 0; candidates &= candidates - 1) {
            const auto i = static_cast<std::size_t>(std::countr_zero(candidates));
            if (tuple[i].best >= found) return found;
            const Entry* entry = find<kWords>(tuple[i], hashes[i], words, protocol);
            if (entry == nullptr) continue;
            if (const Interval* interval = find_interval(*entry, port))
                found = std::min(found, first_behind(*interval, after));
        }
        tuple += count;
    }
    return found;
}

std::uint32_t Classifier::match(const FlowKey& key, std::uint16_t port, std::uint32_t after,
                                std::uint32_t below) const noexcept {
    const Words words = words_of(key.remote, key.local, key.v6);
    const std::uint32_t found = key.v6 ? match<4>(spaces_[1], words, key.protocol, port, after, below)
                                       : match<1>(spaces_[0], words, key.protocol, port, after, below);
    return found < below ? found : kNone;
}

}  // namespace vern::policy
