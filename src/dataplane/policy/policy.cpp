#include "dataplane/policy/policy.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "dataplane/policy/transport.h"

namespace vern::policy {
namespace {

constexpr std::size_t kSetsMax = 4;  // that a class asks one by one; more are merged where memory allows

bool whole_range(const Service& service) noexcept {
    return service.first_port == 0 && service.last_port == 65535;
}

Result<void> check_service(const Service& service, const std::string& name) {
    if (service.protocol > Service::kAnyProtocol) return fail(name + ": a protocol is a number up to 255");
    if (service.first_port > service.last_port)
        return fail(name + ": a range of ports that ends before it begins");
    const bool has_ports = service.protocol == kTcp || service.protocol == kUdp ||
                           service.protocol == kIcmp || service.protocol == kIcmp6;
    if (!has_ports && !whole_range(service)) return fail(name + ": ports for a protocol that has none");
    return {};
}

Result<void> check_prefixes(const std::vector<Prefix>& prefixes, const std::string& name) {
    for (const Prefix& prefix : prefixes) {
        if (prefix.address.family == Family::none ||
            prefix.length > (prefix.address.family == Family::v4 ? 32 : 128))
            return fail(name + ": a prefix that is none");
    }
    return {};
}

Result<void> check_rule(const Rule& rule, const std::string& name, std::size_t peer_sets) {
    if (rule.peers != kAnyPeer && rule.peers >= peer_sets)
        return fail(name + ": a set of peers that is not there");
    if (rule.rate && (rule.action != Action::allow || rule.rate->count == 0 || rule.rate->burst == 0 ||
                      rule.rate->interval.count() <= 0))
        return fail(name + ": a rate goes with allow, and its numbers are at least 1");
    if (rule.rate && rule.rate->interval / rule.rate->count <= Duration::zero())
        return fail(name + ": a rate that is no limit");
    if (rule.observe && rule.action == Action::allow)
        return fail(name + ": observe goes with deny and reject");
    for (const Service& service : rule.services) {
        if (auto fine = check_service(service, name); !fine) return fine;
    }
    if (auto fine = check_prefixes(rule.remote, name); !fine) return fine;
    return check_prefixes(rule.local, name);
}

}  // namespace

Result<std::unique_ptr<const Policy>> Policy::compile(RuleSet rules, unsigned workers) {
    std::unique_ptr<Policy> policy(new Policy(std::move(rules), std::max(workers, 1U)));
    if (auto fine = policy->check(); !fine) return tl::unexpected(fine.error());
    policy->rank();
    if (auto built = policy->build(); !built) return tl::unexpected(built.error());
    const std::size_t cells = policy->workers_ * (policy->rules_.rules.size() + 1);
    policy->cells_ = Reserved<Cell>(cells, pages_for(cells * sizeof(Cell)));
    if (!policy->cells_) return fail("no memory for the counters of the rules", ENOMEM);
    return policy;
}

Result<void> Policy::check() const {
    if (rules_.generation == 0) return fail("a policy's generation is never 0");
    if (rules_.rules.size() > kRulesMax)
        return fail("more than " + std::to_string(kRulesMax) + " rules", E2BIG);
    if (rules_.peer_sets.size() > kPeerSetsMax)
        return fail("more than " + std::to_string(kPeerSetsMax) + " sets of peers", E2BIG);
    for (std::size_t i = 0; i < rules_.rules.size(); ++i) {
        if (auto fine = check_rule(rules_.rules[i], "rule " + std::to_string(i + 1), rules_.peer_sets.size());
            !fine)
            return fine;
    }
    return {};
}

// Deny and reject before allow; within those as the operator wrote them.
void Policy::rank() {
    for (const bool allow : {false, true}) {
        for (std::uint32_t i = 0; i < rules_.rules.size(); ++i) {
            const Rule& rule = rules_.rules[i];
            if ((rule.action == Action::allow) != allow) continue;
            effects_.push_back(
                {rule.id, i, rule.action, rule.rate || rule.expires || rule.observe, rule.log});
        }
    }
}

Result<void> Policy::build() {
    // Rules for any peer last; a set nobody is in is built by nobody's class, so its rules match nobody.
    const std::size_t sets = rules_.peer_sets.size();
    std::vector<RankedOfSet> of_set(sets + 1);
    for (std::uint32_t rank = 0; rank < effects_.size(); ++rank) {
        const Rule& rule = rule_of(rank);
        of_set[rule.peers == kAnyPeer ? sets : rule.peers][static_cast<std::size_t>(rule.direction)]
            .push_back({rank, &rule});
    }
    ClassifierBuilder builder;
    Lists everybody{};
    for (std::size_t direction = 0; direction < 2; ++direction) {
        const auto set = builder.add(of_set[sets][direction], kEntriesMax - builder.weight());
        if (!set) return tl::unexpected(set.error());
        const auto list = builder.list({&*set, 1}, kTuplesMax);
        if (!list) return tl::unexpected(list.error());
        everybody[direction][0] = *list;
    }
    classes_.push_back(everybody);
    if (auto built = build_classes(of_set, builder); !built) return built;
    weight_ = builder.weight();
    auto classifier = std::move(builder).finish();
    if (!classifier) return tl::unexpected(classifier.error());
    classifier_ = std::move(*classifier);
    return {};
}

Result<void> Policy::build_classes(const std::vector<RankedOfSet>& of_set, ClassifierBuilder& builder) {
    std::unordered_map<PublicKey, std::vector<std::uint32_t>, PublicKeyHash> sets_of;
    for (std::uint32_t set = 0; set < rules_.peer_sets.size(); ++set) {
        if (of_set[set][0].empty() && of_set[set][1].empty()) continue;
        for (const PublicKey& key : rules_.peer_sets[set]) {
            auto& sets = sets_of[key];
            if (sets.empty() || sets.back() != set) sets.push_back(set);
        }
    }
    // Made when the first class needs them, so that each is built once and none for nothing.
    using Set = ClassifierBuilder::Set;
    std::vector<std::array<std::optional<Set>, 2>> made(rules_.peer_sets.size());
    std::size_t merged = 0;  // entries; they take nothing from what sets may have
    const auto sets_for = [&](const std::vector<std::uint32_t>& sets,
                              std::size_t direction) -> Result<std::vector<Set>> {
        std::vector<std::uint32_t> used;
        for (const std::uint32_t set : sets) {
            if (!of_set[set][direction].empty()) used.push_back(set);
        }
        if (used.size() > kSetsMax) {
            std::vector<ClassifierBuilder::Ranked> all;
            for (const std::uint32_t set : used)
                all.insert(all.end(), of_set[set][direction].begin(), of_set[set][direction].end());
            const std::size_t before = builder.weight();
            if (auto one = builder.add(all, kMergedEntriesMax - merged); one) {
                merged += builder.weight() - before;
                return std::vector{*one};
            }
        }
        std::vector<Set> out;
        for (const std::uint32_t set : used) {
            std::optional<Set>& known = made[set][direction];
            if (!known) {
                const auto added =
                    builder.add(of_set[set][direction], kEntriesMax + merged - builder.weight());
                if (!added) return tl::unexpected(added.error());
                known = *added;
            }
            out.push_back(*known);
        }
        return out;
    };
    std::map<std::vector<std::uint32_t>, std::uint32_t> class_of_sets;
    for (const auto& [key, sets] : sets_of) {
        const auto [at, fresh] = class_of_sets.try_emplace(sets, static_cast<std::uint32_t>(classes_.size()));
        class_of_.emplace(key, at->second);
        if (!fresh) continue;
        Lists lists = classes_.front();
        bool fits = true;
        for (std::size_t direction = 0; direction < 2 && fits; ++direction) {
            const auto asked = sets_for(sets, direction);
            if (!asked) return tl::unexpected(asked.error());
            if (asked->empty()) continue;
            const auto list = builder.list(*asked, kTuplesMax);
            fits = list.has_value();
            if (fits) lists[direction][1] = *list;
        }
        if (!fits) {
            lists = {};  // the list that asks nothing, so everything is denied
            crowded_.push_back(key);
        }
        classes_.push_back(lists);
    }
    return {};
}

std::uint32_t Policy::class_of(const PublicKey& peer) const noexcept {
    const auto at = class_of_.find(peer);
    return at == class_of_.end() ? 0 : at->second;
}

std::uint32_t Policy::match(Direction direction, std::uint32_t peer_class, const FlowKey& key,
                            std::uint16_t port, std::uint32_t after) const noexcept {
    return classifier_.match(classes_[peer_class][static_cast<std::size_t>(direction)], key, port, after);
}

void Policy::count(unsigned worker, std::uint32_t index, Count what, std::uint64_t n) const noexcept {
    auto& value = cells_[cell(worker, index)].of[static_cast<std::size_t>(what)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

RuleCounts Policy::counts(std::uint32_t index) const noexcept {
    const std::size_t place = index == kNoRule ? rules_.rules.size() : index;
    RuleCounts sum = place < before_.size() ? before_[place] : RuleCounts{};
    std::uint64_t* const of[] = {&sum.packets, &sum.bytes,    &sum.flows,
                                 &sum.denied,  &sum.would_be, &sum.limited};
    for (unsigned worker = 0; worker < workers_; ++worker) {
        for (std::size_t i = 0; i < std::size(of); ++i)
            *of[i] += cells_[cell(worker, index)].of[i].load(std::memory_order_relaxed);
    }
    return sum;
}

void Policy::take_over_counts(const Policy& previous) const {
    std::unordered_map<std::uint64_t, std::uint32_t> by_id;
    for (std::uint32_t i = 0; i < previous.rules_.rules.size(); ++i)
        by_id.try_emplace(previous.rules_.rules[i].id, i);
    before_.assign(rules_.rules.size() + 1, {});
    for (std::size_t i = 0; i < rules_.rules.size(); ++i) {
        if (const auto at = by_id.find(rules_.rules[i].id); at != by_id.end())
            before_[i] = previous.counts(at->second);
    }
    before_.back() = previous.counts(kNoRule);
}

}  // namespace vern::policy
