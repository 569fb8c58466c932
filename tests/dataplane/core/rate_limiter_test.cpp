#include "dataplane/core/rate_limiter.h"

#include <gtest/gtest.h>

#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

struct RateLimiterTest : ::testing::Test {
    SeededRandom random{1};
    RateLimiter limiter{random};
    Instant now{seconds(1)};
    unsigned admitted(const IpAddress& source, unsigned tries) {
        unsigned n = 0;
        for (unsigned i = 0; i < tries; ++i) n += limiter.admit(source, now) ? 1 : 0;
        return n;
    }
};

TEST_F(RateLimiterTest, FiveAtOnceThenTwentyASecond) {
    EXPECT_EQ(admitted(v4(1, 2, 3, 4), 100), 5U);
    now += milliseconds(49);
    EXPECT_EQ(admitted(v4(1, 2, 3, 4), 100), 0U);
    now += milliseconds(1);
    EXPECT_EQ(admitted(v4(1, 2, 3, 4), 100), 1U);
    unsigned n = 0;
    for (int i = 0; i < 1000; ++i) {
        now += milliseconds(10);
        n += admitted(v4(1, 2, 3, 4), 3);
    }
    EXPECT_EQ(n, 200U);  // in ten seconds
}

TEST_F(RateLimiterTest, RefillsToTheBurstAndNotBeyond) {
    EXPECT_EQ(admitted(v4(1, 2, 3, 4), 5), 5U);
    now += seconds(3600);
    EXPECT_EQ(admitted(v4(1, 2, 3, 4), 100), 5U);
}

TEST_F(RateLimiterTest, SourcesDoNotTakeFromEachOther) {
    for (unsigned i = 0; i < 2000; ++i) ASSERT_EQ(admitted(v4(10, 1, i / 256, i % 256), 6), 5U) << i;
    EXPECT_EQ(admitted(v4(10, 1, 7, 207), 1), 0U);
}

TEST_F(RateLimiterTest, AnIpv6SourceIsASlash64) {
    EXPECT_EQ(admitted(v6({0x2001, 0xdb8, 1, 2, 0, 0, 0, 1}), 5), 5U);
    EXPECT_EQ(admitted(v6({0x2001, 0xdb8, 1, 2, 9, 9, 9, 9}), 5), 0U);
    EXPECT_EQ(admitted(v6({0x2001, 0xdb8, 1, 3, 0, 0, 0, 1}), 9), 5U);
}

TEST_F(RateLimiterTest, FamiliesAreApart) {
    EXPECT_EQ(admitted(v4(0x20, 1, 0xd, 0xb8), 5), 5U);
    EXPECT_EQ(admitted(v6({0x2001, 0xdb8, 0, 0, 0, 0, 0, 0}), 9), 5U);
    EXPECT_EQ(admitted(v6({0, 0, 0, 0, 0, 0, 0, 1}), 9), 5U);  // all of the key is zero but the family
    EXPECT_EQ(admitted(v4(0, 0, 0, 0), 9), 5U);
}

TEST_F(RateLimiterTest, TimeThatStandsStillOrGoesBackGivesNothing) {
    EXPECT_EQ(admitted(v4(1, 2, 3, 4), 5), 5U);
    now -= milliseconds(500);
    EXPECT_EQ(admitted(v4(1, 2, 3, 4), 5), 0U);
}

}  // namespace
}  // namespace vern
