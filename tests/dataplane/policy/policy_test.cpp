// What is compiled agrees with the rules as they are read.
#include <bit>

#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

FlowKey flow(std::uint8_t protocol, const IpAddress& remote, const IpAddress& local) {
    FlowKey key;
    key.protocol = protocol;
    key.remote = remote.bytes;
    key.local = local.bytes;
    key.v6 = remote.family == Family::v6;
    return key;
}
const FlowKey kSsh = flow(6, v4(10, 0, 0, 1), v4(10, 100, 0, 1));

std::uint32_t index(const Policy& policy, Direction direction, std::uint32_t peer_class, const FlowKey& key,
                    std::uint16_t port) {
    const std::uint32_t rank = policy.match(direction, peer_class, key, port);
    return rank == Policy::kNoRule ? rank : policy.index_of(rank);
}

TEST(PolicyMatch, NoRulesMatchNothing) {
    const auto policy = compile(rule_set({}));
    EXPECT_EQ(policy->match(kIn, 0, kSsh, 22), Policy::kNoRule);
    EXPECT_EQ(policy->match(kOut, 0, kSsh, 22), Policy::kNoRule);
}

TEST(PolicyMatch, DenyComesBeforeAllowWhereverItStands) {
    const auto policy =
        compile(rule_set({allow_in({tcp_port(22)}), rule(Action::deny, kIn, {tcp_port(20, 30)})}));
    EXPECT_EQ(index(*policy, kIn, 0, kSsh, 22), 1U);
    EXPECT_EQ(index(*policy, kIn, 0, kSsh, 31), Policy::kNoRule);
}

TEST(PolicyMatch, EarlierComesBeforeLater) {
    const auto policy =
        compile(rule_set({allow_in({tcp_port(20, 30)}), allow_in({tcp_port(22)}), allow_in()}));
    EXPECT_EQ(index(*policy, kIn, 0, kSsh, 22), 0U);
    EXPECT_EQ(index(*policy, kIn, 0, kSsh, 80), 2U);
}

TEST(PolicyMatch, DirectionsAreApart) {
    const auto policy = compile(rule_set({allow_in({tcp_port(22)})}));
    EXPECT_EQ(index(*policy, kIn, 0, kSsh, 22), 0U);
    EXPECT_EQ(index(*policy, kOut, 0, kSsh, 22), Policy::kNoRule);
}

TEST(PolicyMatch, AnEmptySetMatchesNobody) {
    for (const std::size_t others : {0U, 1U}) {
        RuleSet set = rule_set({allow_in()});
        set.peer_sets.resize(1 + others);
        if (others > 0) set.peer_sets[1].push_back(key_of(1));
        set.rules[0].peers = 0;
        const auto policy = compile(set);
        EXPECT_EQ(policy->match(kIn, policy->class_of(key_of(1)), kSsh, 22), Policy::kNoRule);
        EXPECT_EQ(policy->match(kIn, 0, kSsh, 22), Policy::kNoRule);
    }
}

// "any" beside a group must not open the host (an OR where an AND was meant).
TEST(PolicyMatch, EverySelectorOfARuleMustMatch) {
    RuleSet set = rule_set({allow_in({tcp_port(22)})});
    set.peer_sets = {{key_of(1)}};
    set.rules[0].peers = 0;
    set.rules[0].remote = {prefix(v4(0, 0, 0, 0), 0)};
    set.rules[0].local = {prefix(v4(10, 100, 0, 1), 32)};
    const auto policy = compile(set);
    EXPECT_EQ(index(*policy, kIn, policy->class_of(key_of(1)), kSsh, 22), 0U);
    EXPECT_EQ(index(*policy, kIn, policy->class_of(key_of(2)), kSsh, 22), Policy::kNoRule);
    EXPECT_EQ(index(*policy, kIn, policy->class_of(key_of(1)), kSsh, 23), Policy::kNoRule);
    EXPECT_EQ(
        index(*policy, kIn, policy->class_of(key_of(1)), flow(6, v4(10, 0, 0, 1), v4(10, 100, 0, 2)), 22),
        Policy::kNoRule);
    EXPECT_EQ(
        index(*policy, kIn, policy->class_of(key_of(1)), flow(17, v4(10, 0, 0, 1), v4(10, 100, 0, 1)), 22),
        Policy::kNoRule);
}

TEST(PolicyMatch, PeersOfManySetsGetOneTable) {
    RuleSet set = rule_set({});
    for (unsigned i = 0; i < 12; ++i) {
        set.rules.push_back(allow_in({tcp_port(100 + i)}));
        set.rules.back().peers = i;
        set.peer_sets.push_back({key_of(1)});
        if (i < 2) set.peer_sets.back().push_back(key_of(2));
    }
    const auto policy = compile(set);
    for (unsigned i = 0; i < 12; ++i) {
        const auto port = static_cast<std::uint16_t>(100 + i);
        EXPECT_EQ(index(*policy, kIn, policy->class_of(key_of(1)), kSsh, port), i);
        EXPECT_EQ(index(*policy, kIn, policy->class_of(key_of(2)), kSsh, port), i < 2 ? i : Policy::kNoRule);
    }
    EXPECT_EQ(policy->classes(), 3U);
}

TEST(PolicyMatch, AgreesWithTheRulesReadFromTopToBottom) {
    std::size_t matched = 0, asked = 0, behind = 0;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        RandomRules random(seed);
        const RuleSet set = random.rules(seed % 3 == 0   ? 5
                                         : seed % 3 == 1 ? 40
                                                         : 200,
                                         static_cast<std::uint32_t>(seed));
        const auto policy = compile(set);
        ASSERT_TRUE(policy);
        for (int i = 0; i < 1500; ++i) {
            const PublicKey peer = key_of(static_cast<unsigned>(random.below(7)));
            const FlowKey key = random.key(random.protocol());
            const std::uint16_t port = key.protocol == 1 || key.protocol == 58
                                           ? static_cast<std::uint16_t>(random.below(65536))
                                       : key.protocol == 6 || key.protocol == 17 ? random.port()
                                                                                 : std::uint16_t{0};
            const Direction direction = random.chance(50) ? kIn : kOut;
            // Rule by rule, as long as one need not apply.
            std::uint32_t rank = Policy::kNoRule;
            const auto expected = reference::all(set, direction, peer, key, port);
            for (std::size_t at = 0;; ++at) {
                rank = policy->match(direction, policy->class_of(peer), key, port, rank);
                ++asked;
                if (at == expected.size()) {
                    ASSERT_EQ(rank, Policy::kNoRule) << "seed " << seed;
                    break;
                }
                ASSERT_NE(rank, Policy::kNoRule) << "seed " << seed << " packet " << i;
                ASSERT_EQ(policy->index_of(rank), expected[at]) << "seed " << seed << " packet " << i;
                ++matched;
                behind += at > 0 ? 1 : 0;
                const Rule& found = policy->rule_of(rank);
                if (!found.rate && !found.expires && !found.observe) break;
            }
        }
    }
    EXPECT_GT(matched, 20000U);
    EXPECT_GT(behind, 3000U);
    EXPECT_GT(asked, matched);
}

TEST(PolicyCompile, RefusesWhatItCannotMean) {
    const auto bad = [](const std::function<void(RuleSet&)>& change) {
        RuleSet set = rule_set({allow_in({tcp_port(22)})});
        change(set);
        return error_of(std::move(set));
    };
    EXPECT_EQ(bad([](RuleSet&) {}), "");
    EXPECT_NE(bad([](RuleSet& set) { set.generation = 0; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].peers = 0; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].services = {{6, 5, 4}}; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].services = {{47, 1, 65535}}; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].services = {{Service::kAnyProtocol, 22, 22}}; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].services = {{257, 0, 65535}}; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].remote = {prefix(v4(1, 2, 3, 4), 33)}; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].local = {Prefix{}}; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].rate = Rate{0, seconds(1), 1, {}}; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].rate = Rate{1, seconds(0), 1, {}}; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].rate = Rate{2, Duration(1), 1, {}}; }), "");
    EXPECT_NE(bad([](RuleSet& set) {
                  set.rules[0].rate = Rate{1, seconds(1), 1, {}};
                  set.rules[0].action = Action::deny;
              }),
              "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules[0].observe = true; }), "");
    EXPECT_NE(bad([](RuleSet& set) { set.rules.resize(kRulesMax + 1); }), "");
}

TEST(PolicyCompile, HasALimitOnItsTables) {
    RuleSet set = rule_set({allow_in()});
    for (unsigned i = 0; i < 2100; ++i) {
        set.rules[0].remote.push_back(prefix(v4(10, 0, i >> 8, i & 255), 32));
        set.rules[0].local.push_back(prefix(v4(11, 0, i >> 8, i & 255), 32));
    }
    EXPECT_NE(error_of(std::move(set)).find("table entries"), std::string::npos);
}

// A class of peers has its tuples to itself; rules of many shapes, and peers of which hardly two are in the
// same groups, are what makes many of them.
TEST(PolicyCompile, HasALimitOnCombinationsOfGroups) {
    constexpr std::size_t kSets = 20, kAtOnce = 4, kPrefixLengths = 33;
    RuleSet few = rule_set({});
    few.peer_sets.resize(kSets);
    for (std::uint32_t group = 0; group < kSets; ++group) {
        Rule rule = allow_in({tcp_port(22)});
        rule.peers = group;
        for (unsigned length = 0; length < kPrefixLengths; ++length) {
            rule.remote.push_back(prefix(v4(10, 0, 0, 1), length));
            rule.local.push_back(prefix(v4(11, 0, 0, 1), length));
        }
        few.rules.push_back(rule);
    }
    const auto with_peers = [&](std::size_t count) {
        RuleSet set = few;
        unsigned combination = 0;
        for (std::size_t peer = 0; peer < count; ++peer, ++combination) {
            while (std::popcount(combination) != kAtOnce) ++combination;
            for (std::size_t group = 0; group < kSets; ++group) {
                if ((combination >> group & 1) != 0)
                    set.peer_sets[group].push_back(key_of(static_cast<unsigned>(peer)));
            }
        }
        return set;
    };
    constexpr std::size_t kFit = kTuplesMax / (kAtOnce * kPrefixLengths * kPrefixLengths);
    EXPECT_TRUE(compile(with_peers(kFit))->crowded().empty());
    // One more is denied everything, whatever a rule for everybody says, and the others are not touched.
    RuleSet set = with_peers(kFit + 1);
    set.rules.push_back(allow_in());
    const auto policy = compile(std::move(set));
    ASSERT_EQ(policy->crowded().size(), 1U);
    FlowKey key;
    key.protocol = kTcp;
    std::size_t denied = 0;
    for (unsigned peer = 0; peer <= kFit; ++peer) {
        const bool allowed =
            policy->match(Direction::in, policy->class_of(key_of(peer)), key, 22) != Policy::kNoRule;
        EXPECT_EQ(allowed, key_of(peer) != policy->crowded().front());
        denied += !allowed;
    }
    EXPECT_EQ(denied, 1U);
}

TEST(PolicyCompile, OverlappingConditionsThatNoTableCanHoldAreAnError) {
    RuleSet set = rule_set({});
    for (unsigned i = 0; i < 6000; ++i) {
        set.rules.push_back(allow_in({tcp_port(i + 1, 65535 - i)}));
        set.rules.back().expires = Instant(seconds(5));
    }
    EXPECT_NE(error_of(std::move(set)).find("table entries"), std::string::npos);
}

TEST(PolicyCounts, GoOnInTheNextPolicyByTheRulesId) {
    RuleSet set = rule_set({allow_in({tcp_port(1)}), allow_in({tcp_port(2)})});
    const auto first = compile(set, 2);
    first->count(0, 0, Policy::Count::packets, 5);
    first->count(1, 0, Policy::Count::packets, 7);
    first->count(1, Policy::kNoRule, Policy::Count::denied, 3);
    std::swap(set.rules[0], set.rules[1]);
    set.generation = 2;
    const auto second = compile(set, 1);
    second->take_over_counts(*first);
    second->count(0, 1, Policy::Count::packets, 1);
    EXPECT_EQ(second->counts(0).packets, 0U);
    EXPECT_EQ(second->counts(1).packets, 13U);
    EXPECT_EQ(second->counts(Policy::kNoRule).denied, 3U);
}

}  // namespace
}  // namespace vern::policy
