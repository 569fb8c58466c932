// Whose buckets may take how much of the table of rates.
#include "dataplane/policy/rate_table.h"

#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

struct RateTableTest : ::testing::Test {
    static constexpr std::uint64_t kPeer = 7, kThisSide = 0, kTo = 99;
    static constexpr unsigned kMost = 256 * 4;  // buckets that a peer has under one rule

    RateTable::Answer ask(std::uint64_t sender, unsigned source, std::uint64_t rule = 1,
                          std::uint64_t to = kTo) {
        const Rate rate{1, seconds(60), 1, Rate::Scope::source};
        return table.ask(rule, rate, to, sender, v4(10, source >> 16, source >> 8 & 255, source & 255).bytes,
                         now, true);
    }
    // How many of so many sources of its own got a token.
    unsigned tokens(std::uint64_t sender, unsigned first, unsigned count, std::uint64_t rule = 1) {
        unsigned got = 0;
        for (unsigned i = 0; i < count; ++i)
            got += ask(sender, first + i, rule) == RateTable::Answer::token ? 1 : 0;
        return got;
    }
    bool others_are_served() {
        for (std::uint64_t sender = 1000; sender < 3000; ++sender)
            if (ask(sender, static_cast<unsigned>(sender) << 8) != RateTable::Answer::token) return false;
        return true;
    }

    TestRandom random;
    RateTable table{random};
    Instant now{seconds(1000)};
};

TEST_F(RateTableTest, APeerThatChangesItsSourceTakesItsPartAndNoMore) {
    EXPECT_EQ(tokens(kPeer, 0, 20'000), kMost);
    EXPECT_EQ(ask(kPeer, 20'000), RateTable::Answer::full);
    EXPECT_TRUE(others_are_served());
    EXPECT_EQ(tokens(kThisSide, 0, 1000), 1000U);
}

TEST_F(RateTableTest, NorUnderManyRules) {
    for (std::uint64_t rule = 1; rule <= 600; ++rule) tokens(kPeer, 0, 2000, rule);
    EXPECT_TRUE(others_are_served());
}

TEST_F(RateTableTest, ThisSidesSourcesAreHalfOfTheTableAtMost) {
    EXPECT_EQ(tokens(kThisSide, 0, 400'000), 65536U);
    EXPECT_TRUE(others_are_served());
}

// A bucket that is full again counts as none: it is no way around what its owner may have.
TEST_F(RateTableTest, WhatIsFullAgainHasNoPlace) {
    tokens(kThisSide, 0, 400'000);
    now += seconds(30);
    EXPECT_EQ(tokens(kPeer, 0, 20'000), kMost);
    now += seconds(61);
    EXPECT_EQ(tokens(kPeer, 20'000, 20'000), kMost);
    EXPECT_EQ(tokens(kPeer, 0, 20'000), 0U);
    now += seconds(61);
    EXPECT_EQ(ask(kPeer, 0), RateTable::Answer::token);
}

TEST_F(RateTableTest, ABucketOfThisSideHoldsForAllPeersThatItSendsTo) {
    EXPECT_EQ(ask(kThisSide, 1, 1, kTo), RateTable::Answer::token);
    EXPECT_EQ(ask(kThisSide, 1, 1, kTo + 1), RateTable::Answer::none);
    EXPECT_EQ(ask(kPeer, 2, 1, kTo), RateTable::Answer::token);
    EXPECT_EQ(ask(kPeer, 2, 1, kTo + 1), RateTable::Answer::none);
}

TEST_F(RateTableTest, AWholeNetworkBehindAPeerHasRoom) {
    unsigned served = 0;
    for (std::uint64_t sender = 1; sender <= 32; ++sender)
        served += tokens(sender, static_cast<unsigned>(sender) << 8, 254);
    EXPECT_GE(served, 32 * 254 * 99 / 100U);
}

}  // namespace
}  // namespace vern::policy
