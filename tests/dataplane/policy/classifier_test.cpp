// The tables alone: what the policy's own tests do not reach.
#include "dataplane/policy/classifier_builder.h"

#include "policies.h"

namespace vern::policy {
namespace {

using test::prefix;
using test::RandomRules;
namespace reference = test::reference;
using vern::test::v4;

// A port range that is lost at the limit would be a rule that is not there.
TEST(Classifier, WhatDoesNotFitIsRefusedWhole) {
    Rule reject;
    reject.remote = {prefix(v4(10, 0, 0, 1), 32), prefix(v4(10, 0, 0, 2), 32)};
    Rule deny = reject;
    reject.services = {{6, 80, 80}};
    deny.services = {{6, 0, 65535}};
    const std::vector<ClassifierBuilder::Ranked> rules{{0, &reject}, {1, &deny}};
    bool fitted = false;
    for (std::size_t max = 1; max < 12; ++max) {
        ClassifierBuilder builder;
        const auto set = builder.add(rules, max);
        EXPECT_TRUE(set || !fitted) << max << ": what fits a smaller table fits this one";
        if (!set) continue;
        fitted = true;
        const auto list = *builder.list(std::array{*set}, 100);
        const auto classifier = std::move(builder).finish();
        ASSERT_TRUE(classifier);
        for (const auto& address : reject.remote)
            for (const std::uint16_t port : std::array<std::uint16_t, 4>{22, 80, 443, 65535}) {
                FlowKey key;
                key.remote = address.address.bytes;
                key.protocol = 6;
                EXPECT_EQ(classifier->match({list, 0}, key, port, Classifier::kNone), port == 80 ? 0U : 1U)
                    << "limit " << max << ", port " << port;
            }
    }
    EXPECT_TRUE(fitted);
}

// More tuples than are looked at at once, ports at the edges of the filter's blocks, and entries of few and
// of many ports in one tuple. What this CPU does with many tuples at once must answer the same.
TEST(Classifier, AgreesWithTheRulesReadOneByOne) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        RandomRules random(seed);
        static constexpr std::uint16_t kPorts[] = {0,   1,   22,   63,    64,    65,   127,
                                                   128, 443, 4096, 65471, 65472, 65535};
        const auto port = [&] { return kPorts[random.below(std::size(kPorts))]; };
        const auto address = [&](bool v6) {
            IpAddress out = v6 ? vern::test::v6({0xfd00, 0, 0, 0, 0, 0, 0, 0}) : v4(10, 0, 0, 0);
            const std::size_t bytes = v6 ? 16 : 4;
            for (std::size_t i = 1; i < bytes; ++i) out.bytes[i] = std::byte(random.below(2) * 0x55);
            return out;
        };
        std::array<std::vector<Rule>, 2> sets;
        for (std::vector<Rule>& rules : sets) {
            for (int i = 0; i < 150; ++i) {
                const bool v6 = random.chance(40);
                const unsigned bits = v6 ? 128 : 32;
                Rule rule;
                rule.remote = {prefix(address(v6), static_cast<unsigned>(random.below(bits + 1)))};
                rule.local = {prefix(address(v6), bits - static_cast<unsigned>(random.below(3)))};
                const auto [first, last] = std::minmax({port(), port()});
                rule.services = {{17, first, random.chance(80) ? first : last}};
                rules.push_back(rule);
            }
        }
        std::array<Classifier, 2> classifiers;  // plain, and what this CPU has
        std::array<Classifier::List, 2> lists{};
        for (const bool wide : {false, true}) {
            ClassifierBuilder builder;
            for (std::size_t i = 0; i < sets.size(); ++i) {
                std::vector<ClassifierBuilder::Ranked> ranked;
                for (std::uint32_t rank = 0; rank < sets[i].size(); ++rank)
                    ranked.push_back({2 * rank + static_cast<std::uint32_t>(i), &sets[i][rank]});
                lists[i] = *builder.list(std::array{*builder.add(ranked, 100'000)}, 10'000);
            }
            classifiers[wide] = *std::move(builder).finish(wide);
        }
        unsigned matched = 0;
        for (int i = 0; i < 5000; ++i) {
            FlowKey key;
            key.v6 = random.chance(40);
            key.remote = address(key.v6).bytes;
            key.local = address(key.v6).bytes;
            key.protocol = random.chance(90) ? 17 : 6;
            const std::uint16_t to = port();
            std::uint32_t expected = Classifier::kNone;
            for (std::size_t set = 0; set < sets.size(); ++set) {
                for (std::uint32_t rank = 0; rank < sets[set].size(); ++rank) {
                    const Rule& rule = sets[set][rank];
                    if (reference::within_any(rule.remote, key.remote, key.v6) &&
                        reference::within_any(rule.local, key.local, key.v6) &&
                        reference::serves(rule.services, key.protocol, to))
                        expected = std::min(expected, 2 * rank + static_cast<std::uint32_t>(set));
                }
            }
            matched += expected != Classifier::kNone ? 1 : 0;
            for (const bool wide : {false, true})
                ASSERT_EQ(classifiers[wide].match(lists, key, to, Classifier::kNone), expected)
                    << "seed " << seed << ", packet " << i << ", wide " << wide << ", v6 " << key.v6
                    << ", port " << to;
        }
        EXPECT_GT(matched, 200U);
        EXPECT_LT(matched, 4800U);
    }
}

}  // namespace
}  // namespace vern::policy
