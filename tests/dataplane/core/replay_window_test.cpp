#include "dataplane/core/replay_window.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace vern {
namespace {

constexpr std::uint64_t kUsable = 8128;

TEST(ReplayWindow, TakesEachCounterOnce) {
    ReplayWindow window;
    EXPECT_TRUE(window.accept(0));
    EXPECT_FALSE(window.accept(0));
    EXPECT_TRUE(window.accept(1));
    EXPECT_TRUE(window.accept(63));
    EXPECT_TRUE(window.accept(64));
    EXPECT_FALSE(window.accept(63));
    EXPECT_TRUE(window.accept(2));
    EXPECT_FALSE(window.accept(2));
    EXPECT_EQ(window.next(), 65U);
}

TEST(ReplayWindow, Keeps8128CountersAndNotOneMore) {
    for (const std::uint64_t newest :
         {kUsable, kUsable + 1, std::uint64_t{8191}, std::uint64_t{8192}, std::uint64_t{8193},
          std::uint64_t{100'000}, std::uint64_t{1} << 32, (std::uint64_t{1} << 60) + 5}) {
        ReplayWindow window;
        ASSERT_TRUE(window.accept(newest));
        EXPECT_TRUE(window.is_fresh(newest + 1 - kUsable)) << newest;
        EXPECT_FALSE(window.is_fresh(newest - kUsable)) << newest;
        for (std::uint64_t back = 1; back < kUsable; ++back)
            ASSERT_TRUE(window.accept(newest - back)) << newest << " - " << back;
        for (std::uint64_t back = 0; back < 9000 && back <= newest; ++back)
            ASSERT_FALSE(window.accept(newest - back)) << newest << " - " << back;
    }
}

TEST(ReplayWindow, LookingChangesNothing) {
    ReplayWindow window;
    EXPECT_TRUE(window.is_fresh(5));
    EXPECT_TRUE(window.is_fresh(5));
    EXPECT_EQ(window.next(), 0U);
    EXPECT_TRUE(window.accept(5));
    EXPECT_TRUE(window.is_fresh(1'000'000));
    EXPECT_EQ(window.next(), 6U);
    EXPECT_TRUE(window.accept(4));
}

TEST(ReplayWindow, HugeJumpsForgetEverythingBelow) {
    ReplayWindow window;
    for (std::uint64_t i = 0; i < 20'000; ++i) ASSERT_TRUE(window.accept(i));
    const std::uint64_t far = std::uint64_t{1} << 61;
    ASSERT_TRUE(window.accept(far));
    for (std::uint64_t i = 1; i < kUsable; ++i) ASSERT_TRUE(window.accept(far - i)) << i;
    EXPECT_FALSE(window.accept(far - kUsable));
    EXPECT_FALSE(window.accept(19'999));
}

TEST(ReplayWindow, RefusesCountersAtAndBeyondTheLimit) {
    ReplayWindow window;
    EXPECT_FALSE(window.accept(kRejectAfterMessages));
    EXPECT_FALSE(window.accept(UINT64_MAX));
    EXPECT_TRUE(window.accept(kRejectAfterMessages - 1));
    EXPECT_FALSE(window.accept(kRejectAfterMessages - 1));
    EXPECT_FALSE(window.accept(kRejectAfterMessages));
    EXPECT_FALSE(window.accept(UINT64_MAX));
    EXPECT_FALSE(window.accept(0));
    EXPECT_TRUE(window.accept(kRejectAfterMessages - 2));
}

TEST(ReplayWindow, LimitIsTheProtocols) { EXPECT_EQ(kRejectAfterMessages, UINT64_MAX - 8192); }

// Against a set that remembers everything.
TEST(ReplayWindow, AgreesWithASet) {
    for (unsigned seed = 0; seed < 20; ++seed) {
        std::mt19937_64 random(seed);
        ReplayWindow window;
        std::set<std::uint64_t> seen;
        std::uint64_t next = 0;
        for (int i = 0; i < 20'000; ++i) {
            std::uint64_t counter = 0;
            switch (random() % 8) {
                case 0: counter = next + random() % 200; break;
                case 1: counter = next + random() % 10'000; break;
                case 2: counter = next > 9000 ? next - 8000 - random() % 200 : random() % (next + 1); break;
                default: counter = next > 100 ? next - random() % 100 : next; break;
            }
            const bool expected = counter >= next || (next - counter <= kUsable && !seen.contains(counter));
            ASSERT_EQ(window.is_fresh(counter), expected) << "seed " << seed << " step " << i;
            ASSERT_EQ(window.accept(counter), expected) << "seed " << seed << " step " << i;
            if (expected) {
                seen.insert(counter);
                next = std::max(next, counter + 1);
            }
        }
    }
}

}  // namespace
}  // namespace vern
