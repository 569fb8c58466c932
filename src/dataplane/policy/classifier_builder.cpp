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

// The list that asks nothing.
ClassifierBuilder::ClassifierBuilder() { list({}); }

std::size_t ClassifierBuilder::weight() const noexcept {
    return v4_.entries.size() + v6_.entries.size() + out_.intervals_.size() + out_.ranks_.size();
}

template <std::size_t kWords>
bool ClassifierBuilder::add_tuples(Claims& claims, Pending<kWords>& pending, std::size_t weight_max) {
    const auto begin = static_cast<std::uint32_t>(pending.probes.size());
    for (const auto& [shape, table] : claims.shapes[kWords == 4]) {
        const auto [remote_length, local_length, any_protocol] = shape;
        const auto tuple = static_cast<std::uint32_t>(pending.probes.size());
        Classifier::Probe<kWords> probe{Classifier::words_of<kWords>(ones(remote_length), ones(local_length)),
                                        (tuple + 1) * 0xd1342543de82ef95ULL | 1, Classifier::kNone,
                                        tuple << 8, any_protocol ? 0ULL : 0xffULL};
        for (const auto& [key, ports] : table) {
            Classifier::Entry<kWords> entry{
                Classifier::words_of<kWords>(key.remote, key.local), tuple << 8 | key.protocol, 0, {}};
            std::vector<Classifier::Interval> intervals;
            const bool whole = sweep(
                ports, [&](std::uint32_t first, std::uint32_t last, const std::vector<std::uint32_t>& ranks) {
                    probe.best = std::min(probe.best, ranks.front());
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
            if (intervals.size() <= entry.interval.size()) {
                std::ranges::copy(intervals, entry.interval.begin());
            } else {
                entry.interval[0].ranks = static_cast<std::uint32_t>(out_.intervals_.size());
                out_.intervals_.insert(out_.intervals_.end(), intervals.begin(), intervals.end());
            }
            pending.entries.push_back(entry);
            if (!whole || weight() > weight_max) return false;
        }
        pending.probes.push_back(probe);
    }
    pending.sets.push_back({begin, static_cast<std::uint32_t>(pending.probes.size())});
    return true;
}

Result<ClassifierBuilder::Set> ClassifierBuilder::add(std::span<const Ranked> rules, std::size_t weight_max) {
    const std::size_t max = weight() + weight_max;
    const auto before = std::tuple(v4_.entries.size(), v4_.probes.size(), v4_.sets.size(), v6_.entries.size(),
                                   v6_.probes.size(), out_.intervals_.size(), out_.ranks_.size());
    Claims claims;
    const bool fits =
        std::ranges::all_of(rules, [&](const Ranked& rule) { return claims.add(rule, weight_max); });
    if (fits && add_tuples<1>(claims, v4_, max) && add_tuples<4>(claims, v6_, max))
        return static_cast<Set>(v4_.sets.size() - 1);
    const auto [v4_entries, v4_probes, v4_sets, v6_entries, v6_probes, intervals, ranks] = before;
    v4_.entries.resize(v4_entries);
    v4_.probes.resize(v4_probes);
    v4_.sets.resize(v4_sets);
    v6_.entries.resize(v6_entries);
    v6_.probes.resize(v6_probes);
    out_.intervals_.resize(intervals);
    out_.ranks_.resize(ranks);
    return fail(
        "the policy needs more than " + std::to_string(weight_max) + " table entries: use wider prefixes",
        E2BIG);
}

template <std::size_t kWords>
void ClassifierBuilder::add_list(std::span<const Set> sets, const Pending<kWords>& pending,
                                 Classifier::Space<kWords>& space) {
    const std::size_t begin = space.probes.size();
    for (const Set set : sets) {
        space.probes.insert(space.probes.end(), pending.probes.begin() + pending.sets[set].begin,
                            pending.probes.begin() + pending.sets[set].end);
    }
    std::ranges::sort(std::span(space.probes).subspan(begin), {}, &Classifier::Probe<kWords>::best);
    space.lists.push_back(
        {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(space.probes.size())});
}

Classifier::List ClassifierBuilder::list(std::span<const Set> sets) {
    add_list<1>(sets, v4_, out_.v4_);
    add_list<4>(sets, v6_, out_.v6_);
    return static_cast<Classifier::List>(out_.v4_.lists.size() - 1);
}

template <std::size_t kWords>
bool ClassifierBuilder::fill(const Pending<kWords>& pending, Classifier::Space<kWords>& space) {
    constexpr std::size_t kHugeBytes = std::size_t{1} << 21;
    const std::size_t count = std::bit_ceil(pending.entries.size() * 3 / 2 + 1);
    const Pages pages = count * sizeof(Classifier::Entry<kWords>) >= kHugeBytes ? Pages::huge : Pages::small;
    space.entries = Reserved<Classifier::Entry<kWords>>(count, pages);
    if (!space.entries) return false;
    space.entries_mask = count - 1;
    space.filter.resize(std::bit_ceil(pending.entries.size() / 2 + 1));  // 32 bits an entry or more
    space.filter_mask = space.filter.size() - 1;
    for (const auto& entry : pending.entries) {
        const std::uint64_t salt = pending.probes[entry.tag >> 8].salt;
        const std::uint64_t h = Classifier::hash<kWords>(entry.words, salt + (entry.tag & 0xff));
        space.filter_word(h) |= std::uint64_t{1} << (h & 63) | std::uint64_t{1} << (h >> 6 & 63);
        std::uint64_t at = space.home(h);
        while (space.entries[at].intervals != 0) at = (at + 1) & space.entries_mask;
        space.entries[at] = entry;
    }
    return true;
}

Result<Classifier> ClassifierBuilder::finish() && {
    if (!fill<1>(v4_, out_.v4_) || !fill<4>(v6_, out_.v6_))
        return fail("no memory for the tables of the policy", ENOMEM);
    return std::move(out_);
}

}  // namespace vern::policy
