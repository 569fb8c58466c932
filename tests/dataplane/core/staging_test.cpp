#include "dataplane/core/staging.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>

#include "packets.h"

namespace vern {
namespace {

using test::Bytes;

struct StagingTest : ::testing::Test {
    std::unique_ptr<Staging> staging = std::make_unique<Staging>();
    Bytes scratch = Bytes(kTrainBytesMax);

    static Bytes numbered(std::uint32_t number, std::size_t size = 100) {
        Bytes bytes(std::max<std::size_t>(size, 4));
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = test::payload_byte(number, i);
        store_be32(bytes.data(), number);
        return bytes;
    }
    std::size_t push(std::uint64_t serial, Bytes bytes, std::uint16_t mark = 0) {
        VnetHeader header;
        header.gso_size = mark;
        return staging->push(serial, {header, bytes});
    }
    std::optional<Bytes> pop(std::uint64_t serial, std::uint16_t* mark = nullptr) {
        TunTrain train;
        if (!staging->pop(serial, scratch, train)) return std::nullopt;
        if (mark) *mark = train.header.gso_size;
        return Bytes(train.packet.begin(), train.packet.end());
    }
};

TEST_F(StagingTest, FirstInFirstOutPerPeer) {
    EXPECT_TRUE(staging->empty());
    for (std::uint32_t i = 0; i < 50; ++i) {
        EXPECT_EQ(push(1, numbered(i), static_cast<std::uint16_t>(i)), 0U);
        EXPECT_EQ(push(2, numbered(1000 + i)), 0U);
    }
    EXPECT_TRUE(staging->has(1));
    EXPECT_FALSE(staging->has(3));
    EXPECT_EQ(staging->depth(), 100U);
    for (std::uint32_t i = 0; i < 50; ++i) {
        std::uint16_t mark = 0;
        EXPECT_EQ(pop(1, &mark), numbered(i));
        EXPECT_EQ(mark, i);
    }
    EXPECT_EQ(pop(1), std::nullopt);
    EXPECT_FALSE(staging->has(1));
    EXPECT_EQ(staging->depth(), 50U);
    EXPECT_EQ(staging->drop(2), 50U);
    EXPECT_EQ(staging->drop(2), 0U);
    EXPECT_EQ(staging->depth(), 0U);
    EXPECT_TRUE(staging->empty());
}

TEST_F(StagingTest, The129thPushesTheOldestOut) {
    for (std::uint32_t i = 0; i < 128; ++i) ASSERT_EQ(push(1, numbered(i)), 0U);
    EXPECT_EQ(push(1, numbered(128)), 1U);
    EXPECT_EQ(push(1, numbered(129)), 1U);
    for (std::uint32_t i = 2; i < 130; ++i) ASSERT_EQ(pop(1), numbered(i));
    EXPECT_EQ(pop(1), std::nullopt);
}

TEST_F(StagingTest, SuperpacketsComeBackWhole) {
    for (const std::size_t size : {4UL, 2047UL, 2048UL, 2049UL, 4096UL, 65534UL, kTrainBytesMax}) {
        ASSERT_EQ(push(1, numbered(7, size)), 0U) << size;
        ASSERT_EQ(pop(1), numbered(7, size)) << size;
    }
    EXPECT_EQ(push(1, Bytes(kTrainBytesMax + 1)), 1U);
    EXPECT_EQ(push(1, {}), 1U);
    EXPECT_TRUE(staging->empty());
}

TEST_F(StagingTest, AFullPoolRefusesAndRecovers) {
    // 64 KiB each: 32 chunks of 2048.
    std::uint64_t serial = 1;
    std::uint32_t held = 0;
    while (push(serial, numbered(held, kTrainBytesMax)) == 0) {
        ++held;
        serial = held / 16 + 1;
    }
    EXPECT_EQ(held, 64U);
    EXPECT_EQ(push(999, numbered(0)), 1U);
    EXPECT_FALSE(staging->has(999));  // an empty queue is not kept
    EXPECT_NE(pop(1), std::nullopt);
    EXPECT_EQ(push(999, numbered(0)), 0U);
    EXPECT_EQ(pop(999), numbered(0));
}

TEST_F(StagingTest, OnePeersSuperpacketsLeaveRoomForOthers) {
    for (std::uint32_t i = 0; i < 100; ++i) ASSERT_EQ(push(1, numbered(i, kTrainBytesMax)), i < 16 ? 0U : 1U);
    for (std::uint64_t serial = 2; serial < 50; ++serial)
        ASSERT_EQ(push(serial, numbered(7, kTrainBytesMax)), 0U);
    EXPECT_EQ(pop(1), numbered(84, kTrainBytesMax));  // the newest sixteen
    // Small ones count for what they are: one large one takes the place of many.
    while (pop(1)) {
    }
    for (std::uint32_t i = 0; i < 100; ++i) ASSERT_EQ(push(1, numbered(i, 12'000)), i < 85 ? 0U : 1U);
    EXPECT_EQ(push(1, numbered(500, kTrainBytesMax)), 5U);
}

TEST_F(StagingTest, AFullQueueInAFullPoolSaysHowManyWereLost) {
    for (std::uint32_t i = 0; i < 128; ++i) ASSERT_EQ(push(1, numbered(i)), 0U);
    for (std::uint64_t serial = 2; push(serial, numbered(0, kTrainBytesMax)) == 0; ++serial) {
    }
    // The oldest went, which made too little room: both are lost.
    EXPECT_EQ(push(1, numbered(500, kTrainBytesMax)), 2U);
    std::size_t left = 0;
    while (pop(1)) ++left;
    EXPECT_EQ(left, 127U);
}

TEST_F(StagingTest, NoMorePacketsThan2048NorPeersThan1024) {
    for (std::uint64_t serial = 1; serial <= 1024; ++serial) {
        ASSERT_EQ(push(serial, numbered(0)), 0U);
        ASSERT_EQ(push(serial, numbered(1)), 0U);
    }
    EXPECT_EQ(push(1, numbered(2)), 1U);
    EXPECT_EQ(push(2000, numbered(2)), 1U);
    EXPECT_EQ(staging->drop(5), 2U);
    EXPECT_EQ(push(2000, numbered(2)), 0U);
    std::vector<std::uint64_t> serials;
    serials.reserve(Staging::kPeersMax);
    staging->list(serials);
    EXPECT_EQ(serials.size(), 1024U);
}

// Serials that fall on one slot of the table, taken out in every order: none may get lost behind a gap.
TEST_F(StagingTest, CollidingSerialsSurviveRemovals) {
    constexpr std::uint64_t kTable = 2 * Staging::kPeersMax;
    std::vector<std::uint64_t> serials;
    for (std::uint64_t i = 0; i < 6; ++i) {
        serials.push_back(kTable - 2 + i * kTable);  // wraps around the end
        serials.push_back(kTable - 1 + i * kTable);
        serials.push_back(kTable + 1 + i * kTable);
    }
    std::mt19937_64 random(1);
    for (int round = 0; round < 200; ++round) {
        std::shuffle(serials.begin(), serials.end(), random);
        for (const std::uint64_t serial : serials)
            ASSERT_EQ(push(serial, numbered(static_cast<std::uint32_t>(serial))), 0U);
        std::shuffle(serials.begin(), serials.end(), random);
        for (std::size_t i = 0; i < serials.size(); ++i) {
            for (std::size_t k = 0; k < serials.size(); ++k) ASSERT_EQ(staging->has(serials[k]), k >= i);
            ASSERT_EQ(pop(serials[i]), numbered(static_cast<std::uint32_t>(serials[i])));
        }
        ASSERT_TRUE(staging->empty());
    }
}

TEST_F(StagingTest, AgreesWithAModel) {
    for (unsigned seed = 0; seed < 8; ++seed) {
        staging = std::make_unique<Staging>();
        std::mt19937_64 random(seed);
        std::map<std::uint64_t, std::deque<Bytes>> model;
        std::size_t chunks = 2048, packets = 2048;
        const auto held = [](const std::deque<Bytes>& queue) {
            std::size_t sum = 0;
            for (const Bytes& bytes : queue) sum += (bytes.size() + 2047) / 2048;
            return sum;
        };
        const auto cost = [](const Bytes& bytes) { return (bytes.size() + 2047) / 2048; };
        for (std::uint32_t step = 0; step < 20'000; ++step) {
            const std::uint64_t serial = 1 + random() % 40 * 2048 + random() % 3;
            const auto what = random() % 100;
            if (what < 60) {
                Bytes bytes = numbered(step, random() % 20 ? random() % 1500 : random() % kTrainBytesMax);
                std::size_t lost = 0;
                auto& queue = model[serial];
                while (queue.size() == 128 || held(queue) + cost(bytes) > 512) {
                    chunks += cost(queue.front());
                    ++packets;
                    queue.pop_front();
                    ++lost;
                }
                if (cost(bytes) > chunks || packets == 0) {
                    ++lost;
                } else {
                    chunks -= cost(bytes);
                    --packets;
                    queue.push_back(bytes);
                }
                if (queue.empty()) model.erase(serial);
                ASSERT_EQ(push(serial, bytes), lost) << "seed " << seed << " step " << step;
            } else if (what < 99) {
                const auto at = model.find(serial);
                const auto got = pop(serial);
                ASSERT_EQ(got.has_value(), at != model.end());
                if (!got) continue;
                ASSERT_EQ(*got, at->second.front()) << "seed " << seed << " step " << step;
                chunks += cost(*got);
                ++packets;
                at->second.pop_front();
                if (at->second.empty()) model.erase(at);
            } else {
                const auto at = model.find(serial);
                ASSERT_EQ(staging->drop(serial), at == model.end() ? 0 : at->second.size());
                if (at == model.end()) continue;
                for (const Bytes& bytes : at->second) chunks += cost(bytes);
                packets += at->second.size();
                model.erase(at);
            }
            ASSERT_EQ(staging->empty(), model.empty());
        }
    }
}

}  // namespace
}  // namespace vern
