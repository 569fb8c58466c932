// Who stays when there is no room, what times out, and that indices and accounts always agree.
#include "dataplane/policy/flow_table.h"

#include <map>
#include <thread>

#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

struct FlowTableTest : ::testing::Test {
    TestRandom random;
    Instant now{seconds(1000)};
    std::unique_ptr<FlowTable> table = std::move(*FlowTable::make(64, random));

    Flow flow(unsigned number, std::uint64_t peer = 1, FlowState state = FlowState::established) const {
        Flow out;
        store_be32(out.key.remote.data(), number);
        out.key.protocol = 6;
        out.state = state;
        out.peer = peer;
        out.last_seen = now;
        out.valid_until = Instant::max();
        return out;
    }
    FlowTable::Made keep(const Flow& flow, std::size_t peer_max) {
        auto made =
            table->insert(flow.key, table->hash(flow.key), flow.peer, begun_by(flow.peer), peer_max, now);
        if (made.flow) {
            made.flow->state = flow.state;
            made.flow->last_seen = flow.last_seen;
            made.flow->valid_until = flow.valid_until;
        }
        return made;
    }
    FlowTable::Room add(const Flow& flow, std::size_t peer_max = 1000) {
        const auto made = keep(flow, peer_max);
        evicted += made.evicted ? 1 : 0;
        return made.room;
    }
    bool has(const Flow& flow) {
        return static_cast<bool>(table->find(flow.key, table->hash(flow.key), now));
    }
    int evicted = 0;
};

TEST_F(FlowTableTest, FindsWhatWasKept) {
    EXPECT_EQ(add(flow(1)), FlowTable::Room::made);
    EXPECT_EQ(add(flow(1)), FlowTable::Room::there);
    EXPECT_TRUE(has(flow(1)));
    EXPECT_FALSE(has(flow(2)));
    EXPECT_EQ(table->size(), 1U);
    EXPECT_EQ(table->size_of(begun_by(1)), 1U);
}

TEST_F(FlowTableTest, WhatHasTimedOutIsGone) {
    add(flow(1, 1, FlowState::closed));
    now += seconds(10) - Duration(1);
    EXPECT_TRUE(has(flow(1)));
    now += Duration(1);
    EXPECT_FALSE(has(flow(1)));
    EXPECT_EQ(table->size(), 0U);
    EXPECT_EQ(table->size_of(begun_by(1)), 0U);
}

TEST_F(FlowTableTest, AFullTableDeniesAndNeverGivesUpAnAnsweredFlow) {
    for (unsigned i = 0; i < 64; ++i) ASSERT_EQ(add(flow(i, 1 + i % 2)), FlowTable::Room::made);
    for (unsigned i = 64; i < 200; ++i)
        ASSERT_EQ(add(flow(i, 3, FlowState::syn_sent)), FlowTable::Room::table_full);
    for (unsigned i = 0; i < 64; ++i) EXPECT_TRUE(has(flow(i))) << i;
    EXPECT_EQ(evicted, 0);
}

TEST_F(FlowTableTest, WhatHasTimedOutMakesRoomFirst) {
    add(flow(100, 1, FlowState::syn_sent));
    for (unsigned i = 0; i < 63; ++i) add(flow(i, 1, FlowState::closed));
    now += seconds(10);
    EXPECT_EQ(add(flow(500)), FlowTable::Room::made);
    EXPECT_TRUE(has(flow(100, 1)));
    EXPECT_EQ(evicted, 0);
}

TEST_F(FlowTableTest, ThenAHalfOpenFlowOfTheSamePeer) {
    add(flow(60, 2, FlowState::syn_sent));
    add(flow(61, 1, FlowState::syn_sent));
    add(flow(62, 1, FlowState::unanswered));
    for (unsigned i = 0; i < 60; ++i) add(flow(i));
    add(flow(63, 2, FlowState::syn_sent));
    EXPECT_EQ(add(flow(500, 2, FlowState::syn_sent)), FlowTable::Room::made);
    EXPECT_FALSE(has(flow(60)));
    EXPECT_TRUE(has(flow(63)));
    EXPECT_EQ(add(flow(501, 1, FlowState::syn_sent)), FlowTable::Room::made);
    EXPECT_FALSE(has(flow(61)));
    EXPECT_TRUE(has(flow(62)));
    EXPECT_EQ(evicted, 2);
}

// The hand goes on where it stopped, so that a peer's few half-open flows among many others are found by one
// of its next attempts.
TEST_F(FlowTableTest, AHalfOpenFlowFarAwayIsFoundLater) {
    for (unsigned i = 0; i < 60; ++i) add(flow(i));
    add(flow(60, 2, FlowState::syn_sent));
    for (unsigned i = 61; i < 64; ++i) add(flow(i));
    EXPECT_EQ(add(flow(500, 2, FlowState::syn_sent)), FlowTable::Room::table_full);
    EXPECT_EQ(add(flow(500, 2, FlowState::syn_sent)), FlowTable::Room::made);
    EXPECT_FALSE(has(flow(60)));
}

TEST_F(FlowTableTest, ThenAHalfOpenOneOfAPeerThatHoldsMore) {
    for (unsigned i = 0; i < 60; ++i) add(flow(i, 9, FlowState::syn_sent));
    for (unsigned i = 60; i < 64; ++i) add(flow(i, 2, FlowState::established));
    EXPECT_EQ(add(flow(500, 3, FlowState::syn_sent)), FlowTable::Room::made);
    EXPECT_EQ(table->size_of(begun_by(9)), 59U);
    EXPECT_EQ(table->size(), 64U);
}

TEST_F(FlowTableTest, APeersLimitIsItsOwn) {
    for (unsigned i = 0; i < 8; ++i) ASSERT_EQ(add(flow(i, 1), 8), FlowTable::Room::made);
    EXPECT_EQ(add(flow(8, 1), 8), FlowTable::Room::peer_full);
    EXPECT_EQ(add(flow(9, 2), 8), FlowTable::Room::made);
    // With one that is half open it may go on, at its own cost.
    for (unsigned i = 20; i < 27; ++i) ASSERT_EQ(add(flow(i, 3), 8), FlowTable::Room::made);
    ASSERT_EQ(add(flow(27, 3, FlowState::syn_sent), 8), FlowTable::Room::made);
    EXPECT_EQ(add(flow(28, 3, FlowState::syn_sent), 8), FlowTable::Room::made);
    EXPECT_FALSE(has(flow(27)));
    EXPECT_EQ(table->size_of(begun_by(3)), 8U);
}

TEST_F(FlowTableTest, AStepOutOfHalfOpenProtects) {
    add(flow(1, 1, FlowState::syn_sent));
    {
        auto held = table->find(flow(1).key, table->hash(flow(1).key), now);
        held->state = FlowState::established;
    }
    for (unsigned i = 2; i <= 64; ++i) add(flow(i));
    EXPECT_EQ(add(flow(500, 1, FlowState::syn_sent)), FlowTable::Room::table_full);
    EXPECT_TRUE(has(flow(1)));
}

TEST_F(FlowTableTest, TheSweepFindsWhatNobodyAsksFor) {
    for (unsigned i = 0; i < 40; ++i) add(flow(i, 1, i % 2 ? FlowState::closed : FlowState::established));
    now += seconds(60);
    for (int i = 0; i < 3; ++i) table->sweep(now, 64);
    EXPECT_EQ(table->size(), 20U);
}

TEST_F(FlowTableTest, CopiesEachLiveFlowOnce) {
    table = std::move(*FlowTable::make(20000, random));
    for (unsigned i = 0; i < 10000; ++i)
        add(flow(i, 1, i % 10 == 0 ? FlowState::closed : FlowState::established), 20000);
    now += seconds(20);
    std::set<std::uint32_t> seen;
    std::array<Flow, 100> out;
    std::size_t cursor = 0;
    while (const std::size_t n = table->copy(cursor, out, now)) {
        for (std::size_t i = 0; i < n; ++i)
            EXPECT_TRUE(seen.insert(load_be32(out[i].key.remote.data())).second);
    }
    EXPECT_EQ(seen.size(), 9000U);
    EXPECT_EQ(cursor, table->end());
}

TEST_F(FlowTableTest, AgreesWithAMapUnderRandomUse) {
    table = std::move(*FlowTable::make(500, random));
    std::mt19937_64 engine(5);
    std::map<unsigned, std::uint64_t> model;
    for (int step = 0; step < 100000; ++step) {
        const auto number = static_cast<unsigned>(engine() % 700);
        const std::uint64_t peer = 1 + number % 5;
        if (engine() % 2 == 0) {
            const Flow one = flow(number, peer, engine() % 2 ? FlowState::established : FlowState::answered);
            const auto room = add(one);
            if (model.contains(number))
                ASSERT_EQ(room, FlowTable::Room::there);
            else if (model.size() == 500)
                ASSERT_EQ(room, FlowTable::Room::table_full);
            else
                ASSERT_EQ(room, FlowTable::Room::made);
            if (room == FlowTable::Room::made) model[number] = peer;
        } else {
            auto held = table->find(flow(number).key, table->hash(flow(number).key), now);
            ASSERT_EQ(static_cast<bool>(held), model.contains(number));
            if (held) {
                ASSERT_EQ(held->peer, model[number]);
                if (engine() % 2 == 0) {
                    table->remove(std::move(held));
                    model.erase(number);
                }
            }
        }
        ASSERT_EQ(table->size(), model.size());
    }
}

TEST_F(FlowTableTest, APeerAtItsLimitTakesNothingFromOthers) {
    add(flow(100, 2, FlowState::syn_sent));
    for (unsigned i = 0; i < 8; ++i) ASSERT_EQ(add(flow(i, 1), 8), FlowTable::Room::made);
    EXPECT_EQ(add(flow(8, 1), 8), FlowTable::Room::peer_full);
    EXPECT_TRUE(has(flow(100)));
    EXPECT_EQ(evicted, 0);
}

TEST_F(FlowTableTest, WhoHoldsMoreTakesNothingFromWhoHoldsLess) {
    add(flow(100, 2, FlowState::syn_sent));
    for (unsigned i = 0; i < 63; ++i) ASSERT_EQ(add(flow(i, 1)), FlowTable::Room::made);
    EXPECT_EQ(add(flow(500, 1)), FlowTable::Room::table_full);
    EXPECT_TRUE(has(flow(100)));
    EXPECT_EQ(evicted, 0);
}

// Many of one bucket: those that found it full must be found when earlier ones are gone, also after the index
// has grown.
TEST_F(FlowTableTest, WhatFoundItsBucketFullIsFoundAgain) {
    table = std::move(*FlowTable::make(4096, random));
    std::mt19937_64 engine(7);
    std::map<unsigned, bool> model;
    for (int round = 0; round < 20'000; ++round) {
        const unsigned number = static_cast<unsigned>(engine() % 400);
        if (model[number]) {
            auto held = table->find(flow(number).key, table->hash(flow(number).key), now);
            ASSERT_TRUE(held) << number;
            table->remove(std::move(held));
        } else {
            ASSERT_EQ(add(flow(number)), FlowTable::Room::made) << number;
        }
        model[number] = !model[number];
    }
    for (const auto& [number, there] : model) EXPECT_EQ(has(flow(number)), there) << number;
}

TEST_F(FlowTableTest, ManyWorkersAtOnce) {
    table = std::move(*FlowTable::make(4096, random));
    std::vector<std::thread> threads;
    for (unsigned worker = 0; worker < 4; ++worker) {
        threads.emplace_back([&, worker] {
            std::mt19937_64 engine(worker);
            for (int i = 0; i < 20000; ++i) {
                const Flow one =
                    flow(static_cast<unsigned>(engine() % 3000), 1 + engine() % 3, FlowState::syn_sent);
                const auto hash = table->hash(one.key);
                if (auto held = table->find(one.key, hash, now)) {
                    held->state = engine() % 2 ? FlowState::established : FlowState::syn_sent;
                    if (engine() % 4 == 0) table->remove(std::move(held));
                } else {
                    held.release();
                    keep(one, 900);
                }
            }
        });
    }
    for (auto& thread : threads) thread.join();
    std::size_t cursor = 0, live = 0;
    std::array<Flow, 64> out;
    std::map<std::uint64_t, std::size_t> of_peer;
    while (const std::size_t n = table->copy(cursor, out, now)) {
        live += n;
        for (std::size_t i = 0; i < n; ++i) ++of_peer[out[i].peer];
    }
    EXPECT_EQ(live, table->size());
    for (const auto& [peer, count] : of_peer) EXPECT_EQ(count, table->size_of(begun_by(peer)));
}

TEST_F(FlowTableTest, MemoryOfAFlow) {
    static_assert(sizeof(Flow) == 128);
    const auto million = std::move(*FlowTable::make(1 << 20, random));
    EXPECT_LE(static_cast<double>(million->reserved_bytes()) / (1 << 20), 160.0);
    EXPECT_FALSE(FlowTable::make(0, random));
    EXPECT_FALSE(FlowTable::make(kFlowsMax + 1, random));
}

}  // namespace
}  // namespace vern::policy
