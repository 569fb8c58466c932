#include <gtest/gtest.h>

#include "crypto/noise.h"
#include "vectors.h"

namespace vern::noise {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::uint64_t kStep = 1u << 24;
constexpr std::uint64_t kLastStep = 989'855'744;  // 59 steps: the last one within a second

WallTime at(std::int64_t whole, std::int64_t nanos) { return WallTime(seconds(whole) + nanoseconds(nanos)); }

Timestamp raw(std::uint64_t whole, std::uint64_t nanos) {
    Timestamp timestamp;
    for (std::size_t i = 0; i < 8; ++i)
        timestamp.bytes[i] = static_cast<std::byte>(whole >> (56 - 8 * i) & 0xff);
    for (std::size_t i = 0; i < 4; ++i)
        timestamp.bytes[8 + i] = static_cast<std::byte>(nanos >> (24 - 8 * i) & 0xff);
    return timestamp;
}

TEST(Tai64n, KnownValues) {
    EXPECT_EQ(test::hex(timestamp_at(at(0, 0)).bytes), "400000000000000a00000000");
    EXPECT_EQ(test::hex(timestamp_at(at(1'700'000'000, 500'000'000)).bytes), "400000006553f10a1d000000");
    EXPECT_EQ(test::hex(timestamp_at(at(-11, 0)).bytes), "3fffffffffffffff00000000");
    EXPECT_EQ(test::hex(timestamp_at(at(-1, 999'999'999)).bytes), "40000000000000093b000000");
}

TEST(Tai64n, IsWhitened) {
    for (std::int64_t nanos : {0, 1, 16'777'215, 16'777'216, 123'456'789, 999'999'999}) {
        const Timestamp timestamp = timestamp_at(at(100, nanos));
        EXPECT_EQ(timestamp, raw((1ull << 62) + 110, static_cast<std::uint64_t>(nanos) / kStep * kStep))
            << nanos;
    }
    EXPECT_EQ(timestamp_at(at(5, 0)), timestamp_at(at(5, 16'777'215)));
    EXPECT_LT(timestamp_at(at(5, 0)), timestamp_at(at(5, 16'777'216)));
}

TEST(Tai64n, SortsAsTimeDoes) {
    test::Noise noise(3);
    for (int i = 0; i < 1000; ++i) {
        const auto a = static_cast<std::int64_t>(noise.below(1ull << 60));
        const auto b = a + static_cast<std::int64_t>(kStep + noise.below(1ull << 40));
        ASSERT_LT(timestamp_at(WallTime(nanoseconds(a))), timestamp_at(WallTime(nanoseconds(b))));
    }
}

TEST(Tai64n, SuccessorIsTheSmallestGreaterOne) {
    const std::uint64_t t = (1ull << 62) + 1000;
    EXPECT_EQ(successor(raw(t, 0)), raw(t, kStep));
    EXPECT_EQ(successor(raw(t, 1)), raw(t, kStep));
    EXPECT_EQ(successor(raw(t, kStep - 1)), raw(t, kStep));
    EXPECT_EQ(successor(raw(t, kLastStep - kStep)), raw(t, kLastStep));
    EXPECT_EQ(successor(raw(t, kLastStep - 1)), raw(t, kLastStep));
    EXPECT_EQ(successor(raw(t, kLastStep)), raw(t + 1, 0));
    EXPECT_EQ(successor(raw(t, 999'999'999)), raw(t + 1, 0));
    EXPECT_EQ(successor(raw(0x40000000ffffffff, kLastStep)), raw(0x4000000100000000, 0));
}

TEST(Tai64n, SuccessorsRiseThroughTwoSeconds) {
    Timestamp timestamp = timestamp_at(at(1'700'000'000, 0));
    for (int i = 0; i < 120; ++i) {
        const Timestamp next = successor(timestamp);
        ASSERT_GT(next, timestamp);
        timestamp = next;
    }
    EXPECT_EQ(timestamp, timestamp_at(at(1'700'000'002, 0)));
}

}  // namespace
}  // namespace vern::noise
