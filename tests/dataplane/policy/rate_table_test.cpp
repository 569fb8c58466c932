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
                          std::uint64_t to = kTo, Rate::Scope scope = Rate::Scope::source,
                          std::uint32_t burst = 1) {
        const Rate rate{1, seconds(60), burst, scope};
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
    EXPECT_EQ(tokens(kThisSide, 0, 1'500'000), 4U * 65536);
    EXPECT_TRUE(others_are_served());
}

// A bucket that is full again counts as none: it is no way around what its owner may have.
TEST_F(RateTableTest, WhatIsFullAgainHasNoPlace) {
    tokens(kThisSide, 0, 1'500'000);
    now += seconds(30);
    EXPECT_EQ(tokens(kPeer, 0, 20'000), kMost);
    now += seconds(61);
    EXPECT_EQ(tokens(kPeer, 20'000, 20'000), kMost);
    EXPECT_EQ(tokens(kPeer, 0, 20'000), 0U);
    now += seconds(61);
    EXPECT_EQ(ask(kPeer, 0), RateTable::Answer::token);
}

// Whoever invents sources: there are as many buckets of these as there are rules and peers.
TEST_F(RateTableTest, BucketsOfRulesAndPeersAreNoSourcesToTake) {
    for (const std::uint64_t sender : {kPeer, kPeer + 1, kThisSide})
        for (std::uint64_t rule = 1; rule <= 600; ++rule) tokens(sender, 0, 2500, rule);
    for (std::uint64_t rule = 1; rule <= 1000; ++rule) {
        EXPECT_EQ(ask(kPeer, 0, rule, kTo, Rate::Scope::rule), RateTable::Answer::token);
        EXPECT_EQ(ask(kPeer, 0, rule, kTo, Rate::Scope::peer), RateTable::Answer::token);
    }
}

TEST_F(RateTableTest, APeersBucketIsOfWhoeverSends) {
    const auto ask_peer = [this](std::uint64_t sender, std::uint64_t to) {
        return ask(sender, 1, 1, to, Rate::Scope::peer);
    };
    EXPECT_EQ(ask_peer(kPeer, kTo), RateTable::Answer::token);
    EXPECT_EQ(ask_peer(kPeer, kTo + 1), RateTable::Answer::none);
    EXPECT_EQ(ask_peer(kTo, kTo), RateTable::Answer::token);
    EXPECT_EQ(ask_peer(kThisSide, kTo), RateTable::Answer::token);
    EXPECT_EQ(ask_peer(kThisSide, kTo), RateTable::Answer::none);
    EXPECT_EQ(ask_peer(kThisSide, kTo + 1), RateTable::Answer::token);
}

// Each worker has the time at which its turn began.
TEST_F(RateTableTest, AWorkerWithAnEarlierTimeFindsNoSecondBucket) {
    tokens(kPeer, 0, 500);
    now += seconds(30);
    const unsigned behind = tokens(kPeer, 500, 200);  // in places behind those, which are free sooner
    now += seconds(60);
    unsigned again = 0;
    for (unsigned i = 500; i < 700; ++i) {
        const auto ask_ten = [&] { return ask(kPeer, i, 1, kTo, Rate::Scope::source, 10); };
        for (int j = 0; j < 10; ++j) again += ask_ten() == RateTable::Answer::token ? 1 : 0;
        now -= Duration(1);
        ASSERT_NE(ask_ten(), RateTable::Answer::token) << i;
        now += Duration(1);
    }
    EXPECT_GE(again, behind * 10);
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
