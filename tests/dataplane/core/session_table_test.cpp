#include "dataplane/core/session_table.h"

#include <gtest/gtest.h>

#include <set>

#include "dataplane/core/peer.h"
#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

struct SessionTableTest : ::testing::Test {
    SeededRandom random{7};
    Peer peer{PublicKey{}, 1};
    SessionTable table;
    std::vector<std::unique_ptr<SessionTable::Buckets>> old;
    std::uint32_t reserve() {
        std::unique_ptr<SessionTable::Buckets> outgrown;
        const std::uint32_t index = table.reserve(peer, random, outgrown);
        if (outgrown) old.push_back(std::move(outgrown));
        return index;
    }
};

TEST_F(SessionTableTest, ReservedIsWaitingAndNotASession) {
    const std::uint32_t index = reserve();
    EXPECT_EQ(table.waiting(index), &peer);
    EXPECT_EQ(table.find(index), nullptr);
    EXPECT_EQ(table.waiting(index ^ 0x80000000), nullptr);
    Session session;
    session.local_index = index;
    table.publish(session);
    EXPECT_EQ(table.waiting(index), nullptr);
    EXPECT_EQ(table.find(index), &session);
    EXPECT_EQ(table.find(index ^ 0x80000000), nullptr);  // same bucket
    table.release(index ^ 0x80000000);
    EXPECT_EQ(table.find(index), &session);
    table.release(index);
    EXPECT_EQ(table.find(index), nullptr);
    EXPECT_EQ(table.used(), 0U);
    table.release(index);
    EXPECT_EQ(table.used(), 0U);
}

// Indices must tell an observer nothing: not the number of sessions, not their order.
TEST_F(SessionTableTest, IndicesAreRandomInAllBits) {
    constexpr std::size_t kDraws = 20'000;
    std::array<std::size_t, 32> ones{};
    std::array<std::size_t, 32> changed{};
    std::size_t rising = 0, near = 0;
    std::uint32_t last = 0;
    for (std::size_t i = 0; i < kDraws; ++i) {
        const std::uint32_t index = reserve();
        for (unsigned bit = 0; bit < 32; ++bit) {
            ones[bit] += index >> bit & 1;
            changed[bit] += (index ^ last) >> bit & 1;
        }
        rising += index > last;
        near += index - last < 1'000'000 || last - index < 1'000'000;
        last = index;
        table.release(index);
    }
    // Six standard deviations of a fair coin.
    for (unsigned bit = 0; bit < 32; ++bit) {
        EXPECT_NEAR(static_cast<double>(ones[bit]), kDraws / 2.0, 425.0) << bit;
        EXPECT_NEAR(static_cast<double>(changed[bit]), kDraws / 2.0, 425.0) << bit;
    }
    EXPECT_NEAR(static_cast<double>(rising), kDraws / 2.0, 425.0);
    EXPECT_LT(near, 40U);
}

TEST_F(SessionTableTest, GrowthKeepsEverythingReachableAndUnique) {
    constexpr std::size_t kSessions = 10'000;
    std::set<std::uint32_t> indices;
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<std::uint32_t> waiting;
    for (std::size_t i = 0; i < kSessions; ++i) {
        const std::uint32_t index = reserve();
        ASSERT_TRUE(indices.insert(index).second);
        if (i % 3 == 0) {
            waiting.push_back(index);
            continue;
        }
        sessions.push_back(std::make_unique<Session>());
        sessions.back()->local_index = index;
        table.publish(*sessions.back());
    }
    EXPECT_FALSE(old.empty());
    EXPECT_EQ(table.used(), kSessions);
    for (const auto& session : sessions) ASSERT_EQ(table.find(session->local_index), session.get());
    for (const std::uint32_t index : waiting) {
        ASSERT_EQ(table.waiting(index), &peer);
        ASSERT_EQ(table.find(index), nullptr);
    }
    for (const std::uint32_t index : indices) table.release(index);
    EXPECT_EQ(table.used(), 0U);
    for (const auto& session : sessions) ASSERT_EQ(table.find(session->local_index), nullptr);
}

TEST_F(SessionTableTest, ATakenBucketIsDrawnAgain) {
    for (int i = 0; i < 16; ++i) reserve();  // a quarter of the smallest table, no growth yet
    EXPECT_TRUE(old.empty());
    reserve();
    EXPECT_EQ(old.size(), 1U);
}

}  // namespace
}  // namespace vern
