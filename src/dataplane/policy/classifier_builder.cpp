#include "dataplane/policy/classifier_builder.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>

#include "dataplane/policy/classifier_words.h"

namespace vern::policy {
namespace {

// One rule's claim on the ports of an entry.
struct Claim {
    std::uint32_t first;
    std::uint32_t last;
    std::uint32_t rank;
    bool always;  // neither rate nor expiry nor observe: nothing behind it is ever asked
};

using Address = std::array<std::byte, 16>;
using Shape = std::tuple<std::uint8_t, std::uint8_t, bool>;  // remote length, local length, any protocol

struct EntryKey {
    Address remote, local;  // masked
    std::uint8_t protocol;
    friend bool operator==(const EntryKey&, const EntryKey&) = default;
};
struct EntryKeyHash {
    std::size_t operator()(const EntryKey& key) const noexcept {
        return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&key), sizeof key});
    }
};
static_assert(std::has_unique_object_representations_v<EntryKey>);
using Table = std::unordered_map<EntryKey, std::vector<Claim>, EntryKeyHash>;

// Entries of few ports are in the filter by block of ports, those of many once.
constexpr std::size_t kBlocksPerEntry = 4;

Address ones(unsigned bits) {
    Address out{};
    for (unsigned bit = 0; bit < bits; ++bit) out[bit / 8] |= std::byte(0x80 >> (bit % 8));
    return out;
}
Address masked(const Prefix& prefix) {
    const Address mask = ones(prefix.length);
    Address out = prefix.address.bytes;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] &= mask[i];
    return out;
}

// Disjoint intervals of ports with what is claimed there, each list in order of rank up to the first rule
// that always applies. False: `emit` wants no more, and the rest is missing.
template <typename Emit>
bool sweep(const std::vector<Claim>& claims, const Emit& emit) {
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

// What the rules of one set claim, by family and shape.
struct ClassifierBuilder::Claims {
    std::array<std::map<Shape, Table>, 2> shapes;
    std::size_t count = 0;

    bool add(const Ranked& ranked, std::size_t max) {
        const Rule& rule = *ranked.rule;
        // Before any of it is made: a rule of a few lines may ask for billions.
        const double product = static_cast<double>(std::max<std::size_t>(rule.remote.size(), 1)) *
                               static_cast<double>(std::max<std::size_t>(rule.local.size(), 1)) *
                               static_cast<double>(std::max<std::size_t>(rule.services.size(), 1));
        if (product > 2 * static_cast<double>(max)) return false;  // half of it may be of the other family
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
                        if (++count > max) return false;
                        add(ranked, remote, local, service, shapes[v6]);
                    }
                }
            }
        }
        return true;
    }

    static void add(const Ranked& ranked, const Prefix& remote, const Prefix& local, const Service& service,
                    std::map<Shape, Table>& shapes) {
        const bool any_protocol = service.protocol == Service::kAnyProtocol;
        const EntryKey key{masked(remote), masked(local),
                           any_protocol ? std::uint8_t{0} : static_cast<std::uint8_t>(service.protocol)};
        const Rule& rule = *ranked.rule;
        const bool always = !rule.rate && !rule.expires && !rule.observe;
        shapes[{remote.length, local.length, any_protocol}][key].push_back(
            {service.first_port, service.last_port, ranked.rank, always});
    }
};

// Of ports in which something is claimed.
template <typename Visit>
void ClassifierBuilder::each_block(std::span<const Classifier::Interval> intervals, const Visit& visit) {
    std::uint32_t next = 0;  // intervals are in order, and two may share a block
    for (const Classifier::Interval& interval : intervals) {
        const std::uint32_t last = Classifier::block_of(interval.last);
        for (next = std::max(next, Classifier::block_of(interval.first)); next <= last; ++next) visit(next);
    }
}

template <std::size_t kWords>
std::span<const Classifier::Interval> ClassifierBuilder::intervals_of(
    const Classifier::Entry<kWords>& entry) const noexcept {
    if (entry.intervals <= entry.interval.size()) return std::span(entry.interval).first(entry.intervals);
    return std::span(out_.intervals_).subspan(entry.interval[0].ranks, entry.intervals);
}

// The list that asks nothing.
ClassifierBuilder::ClassifierBuilder() { static_cast<void>(list({}, 0)); }

std::size_t ClassifierBuilder::weight() const noexcept {
    return v4_.entries.size() + v6_.entries.size() + out_.intervals_.size() + out_.ranks_.size();
}

template <std::size_t kWords>
bool ClassifierBuilder::add_tuples(Claims& claims, Pending<kWords>& pending, std::size_t weight_max) {
    const auto begin = static_cast<std::uint32_t>(pending.tuples.size());
    for (const auto& [shape, table] : claims.shapes[kWords == 4]) {
        const auto [remote_length, local_length, any_protocol] = shape;
        const auto number = static_cast<std::uint32_t>(pending.tuples.size());
        Tuple<kWords> tuple{Classifier::words_of<kWords>(ones(remote_length), ones(local_length)),
                            (number + 1) * 0xd1342543de82ef95ULL | 1,
                            any_protocol ? 0ULL : 0xffULL,
                            0,
                            Classifier::kNone,
                            number << 8};
        std::size_t blocks = 0;
        for (const auto& [key, ports] : table) {
            Classifier::Entry<kWords> entry{Classifier::words_of<kWords>(key.remote, key.local),
                                            tuple.tag | key.protocol,
                                            0,
                                            {Classifier::kNoPort, Classifier::kNoPort}};
            std::vector<Classifier::Interval> intervals;
            const bool whole = sweep(
                ports, [&](std::uint32_t first, std::uint32_t last, const std::vector<std::uint32_t>& ranks) {
                    tuple.best = std::min(tuple.best, ranks.front());
                    std::uint32_t where = ranks.front() | Classifier::kInline;
                    if (ranks.size() > 1) {
                        where = static_cast<std::uint32_t>(out_.ranks_.size());
                        out_.ranks_.insert(out_.ranks_.end(), ranks.begin(), ranks.end());
                        out_.ranks_.back() |= Classifier::kInline;
                    }
                    intervals.push_back(
                        {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last), where});
                    return weight() + intervals.size() <= weight_max;
                });
            entry.intervals = static_cast<std::uint32_t>(intervals.size());
            each_block(intervals, [&](std::uint32_t) { ++blocks; });
            if (intervals.size() <= entry.interval.size()) {
                std::ranges::copy(intervals, entry.interval.begin());
            } else {
                entry.interval[0].ranks = static_cast<std::uint32_t>(out_.intervals_.size());
                out_.intervals_.insert(out_.intervals_.end(), intervals.begin(), intervals.end());
            }
            pending.entries.push_back(entry);
            if (!whole || weight() > weight_max) return false;
        }
        if (blocks <= kBlocksPerEntry * table.size()) tuple.port_mask = ~std::uint64_t{0};
        pending.tuples.push_back(tuple);
    }
    pending.sets.push_back({begin, static_cast<std::uint32_t>(pending.tuples.size())});
    return true;
}

Result<ClassifierBuilder::Set> ClassifierBuilder::add(std::span<const Ranked> rules, std::size_t weight_max) {
    const std::size_t max = weight() + weight_max;
    const auto before = std::tuple(v4_.entries.size(), v4_.tuples.size(), v4_.sets.size(), v6_.entries.size(),
                                   v6_.tuples.size(), out_.intervals_.size(), out_.ranks_.size());
    Claims claims;
    const bool fits =
        std::ranges::all_of(rules, [&](const Ranked& rule) { return claims.add(rule, weight_max); });
    if (fits && add_tuples<1>(claims, v4_, max) && add_tuples<4>(claims, v6_, max))
        return static_cast<Set>(v4_.sets.size() - 1);
    const auto [v4_entries, v4_tuples, v4_sets, v6_entries, v6_tuples, intervals, ranks] = before;
    v4_.entries.resize(v4_entries);
    v4_.tuples.resize(v4_tuples);
    v4_.sets.resize(v4_sets);
    v6_.entries.resize(v6_entries);
    v6_.tuples.resize(v6_tuples);
    out_.intervals_.resize(intervals);
    out_.ranks_.resize(ranks);
    return fail(
        "the policy needs more than " + std::to_string(weight_max) + " table entries: use wider prefixes",
        E2BIG);
}

template <std::size_t kWords>
std::size_t ClassifierBuilder::tuples_of(std::span<const Set> sets, const Pending<kWords>& pending) noexcept {
    std::size_t sum = 0;
    for (const Set set : sets) sum += pending.sets[set].end - pending.sets[set].begin;
    return sum;
}

template <std::size_t kWords>
void ClassifierBuilder::add_list(std::span<const Set> sets, const Pending<kWords>& pending,
                                 Classifier::Space<kWords>& space) {
    std::vector<Tuple<kWords>> tuples;
    for (const Set set : sets) {
        const auto [begin, end] = pending.sets[set];
        tuples.insert(tuples.end(), pending.tuples.begin() + begin, pending.tuples.begin() + end);
    }
    std::ranges::sort(tuples, {}, &Tuple<kWords>::best);
    Classifier::Tuples<kWords>& out = space.tuples;
    const auto begin = static_cast<std::uint32_t>(out.tag.size());
    for (const Tuple<kWords>& tuple : tuples) {
        out.mask.push_back(tuple.mask);
        out.salt.push_back(tuple.salt);
        out.protocol_mask.push_back(tuple.protocol_mask);
        out.port_mask.push_back(tuple.port_mask);
        out.best.push_back(tuple.best);
        out.tag.push_back(tuple.tag);
    }
    space.lists.push_back({begin, static_cast<std::uint32_t>(out.tag.size())});
}

Result<Classifier::List> ClassifierBuilder::list(std::span<const Set> sets, std::size_t tuples_max) {
    const std::size_t there = out_.v4_.tuples.tag.size() + out_.v6_.tuples.tag.size();
    if (there + tuples_of(sets, v4_) + tuples_of(sets, v6_) > tuples_max)
        return fail("more than " + std::to_string(tuples_max) + " lookups in the lists of all classes",
                    E2BIG);
    add_list(sets, v4_, out_.v4_);
    add_list(sets, v6_, out_.v6_);
    return static_cast<Classifier::List>(out_.v4_.lists.size() - 1);
}

// `asked`: the hashes of all that may be asked of it with success.
template <std::size_t kWords>
bool ClassifierBuilder::fill_filter(const std::vector<std::uint64_t>& asked,
                                    Classifier::Space<kWords>& space) {
    const std::size_t words = std::bit_ceil(asked.size() / 4 + 1);  // 16 bits for each or more
    space.filter = Reserved<std::uint64_t>(words, pages_for(words * sizeof(std::uint64_t)));
    if (!space.filter) return false;
    space.filter_mask = words - 1;
    for (const std::uint64_t h : asked) space.filter_word(h) |= space.filter_bits(h);
    return true;
}

template <std::size_t kWords>
bool ClassifierBuilder::fill(const Pending<kWords>& pending, Classifier::Space<kWords>& space) const {
    const std::size_t count = std::bit_ceil(pending.entries.size() * 3 / 2 + 1);
    space.entries =
        Reserved<Classifier::Entry<kWords>>(count, pages_for(count * sizeof(Classifier::Entry<kWords>)));
    if (!space.entries) return false;
    space.entries_mask = count - 1;
    std::vector<std::uint64_t> asked;
    for (const auto& entry : pending.entries) {
        const Tuple<kWords>& tuple = pending.tuples[entry.tag >> 8];
        const std::uint64_t h = Classifier::hash<kWords>(entry.words, tuple.salt + (entry.tag & 0xff));
        if (tuple.port_mask == 0)
            asked.push_back(h);
        else
            each_block(intervals_of(entry),
                       [&](std::uint32_t block) { asked.push_back(h ^ Classifier::mixed(block)); });
        std::uint64_t at = space.home(h);
        while (space.entries[at].intervals != 0) at = (at + 1) & space.entries_mask;
        space.entries[at] = entry;
    }
    return fill_filter(asked, space);
}

Result<Classifier> ClassifierBuilder::finish(bool wide) && {
    if (!fill<1>(v4_, out_.v4_) || !fill<4>(v6_, out_.v6_))
        return fail("no memory for the tables of the policy", ENOMEM);
#if defined(__x86_64__)
    out_.avx512_ = wide && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
#endif
    return std::move(out_);
}

}  // namespace vern::policy
