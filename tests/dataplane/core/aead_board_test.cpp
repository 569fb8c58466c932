// Handing AEAD work from one worker to another: the board alone, and workers whose output must not depend on
// who did the work.
#include "dataplane/core/aead_board.h"

#include <atomic>
#include <thread>

#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

// A message to seal, and what it must become.
struct Message {
    explicit Message(std::uint64_t n, std::size_t length = 48) : counter(n), bytes(length + kTagBytes) {
        for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(n + i);
        expected = bytes;
        const aead::SealJob reference{key().data(), counter, expected.data(), expected.data(),
                                      static_cast<std::uint32_t>(length)};
        aead::best().seal({&reference, 1});
        job = {key().data(), counter, bytes.data(), bytes.data(), static_cast<std::uint32_t>(length)};
    }
    static const Bytes& key() {
        static const Bytes bytes(32, std::byte{7});
        return bytes;
    }
    bool sealed() const { return bytes == expected; }
    AeadTask task() const { return {{&job, 1}, {}}; }

    std::uint64_t counter;
    Bytes bytes;
    Bytes expected;
    aead::SealJob job;
};

// Helpers in threads of their own, for as long as it lives.
class Helpers {
  public:
    Helpers(AeadBoard& board, unsigned count) : board_(board) {
        for (unsigned i = 0; i < count; ++i) {
            board_.attend();
            threads_.emplace_back([this, i] {
                while (!stop_.load(std::memory_order_relaxed)) {
                    if (!board_.help(i, aead::best())) std::this_thread::yield();
                }
            });
        }
    }
    ~Helpers() {
        stop_ = true;
        for (std::thread& thread : threads_) {
            thread.join();
            board_.leave();
        }
    }

  private:
    AeadBoard& board_;
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

struct AeadBoardTest : ::testing::Test {
    AeadBoardTest() { EXPECT_TRUE(start_crypto()); }
    AeadBoard board{3};
    AeadBoard::Desk& desk = board.desk(1);
};

TEST_F(AeadBoardTest, TasksAreTakenOldestFirstAndOnce) {
    std::vector<Message> messages;
    for (unsigned i = 0; i < 3; ++i) messages.emplace_back(i);
    for (const Message& message : messages) desk.seals.offer(message.task());
    EXPECT_EQ(desk.seals.untaken(), 3U);
    for (AeadLine::Number i = 0; i < 3; ++i) {
        ASSERT_EQ(desk.seals.take(), i);
        EXPECT_FALSE(desk.seals.done(i));
    }
    EXPECT_EQ(desk.seals.take(), std::nullopt);
    EXPECT_EQ(desk.seals.untaken(), 0U);
    for (const AeadLine::Number i : {2U, 0U, 1U}) {
        EXPECT_FALSE(messages[i].sealed());
        desk.seals.run(i, aead::best());
        EXPECT_TRUE(desk.seals.done(i));
        EXPECT_TRUE(messages[i].sealed());
    }
}

TEST_F(AeadBoardTest, PlacesAreUsedAgain) {
    for (std::uint64_t i = 0; i < 5 * AeadLine::kTasks; ++i) {
        const Message message(i);
        const auto task = desk.seals.offer(message.task());
        EXPECT_FALSE(desk.seals.done(task));
        board.finish(desk, desk.seals, task, aead::best());
        EXPECT_TRUE(desk.seals.done(task));
        EXPECT_TRUE(message.sealed());
    }
    EXPECT_EQ(desk.handed_over(), 0U);
    EXPECT_EQ(desk.stalls(), 0U);
}

TEST_F(AeadBoardTest, HelpersLookAtEveryDeskAndBothLines) {
    Message sealed(1), opened(2);
    aead::best().seal({&opened.job, 1});
    aead::OpenJob open{Message::key().data(), 2, opened.bytes.data(), 48, false};
    board.desk(0).seals.offer(sealed.task());
    board.desk(2).opens.offer({{}, {&open, 1}});
    EXPECT_TRUE(board.help(1, aead::best()));
    EXPECT_TRUE(open.authentic);
    EXPECT_FALSE(sealed.sealed());
    EXPECT_TRUE(board.help(1, aead::best()));
    EXPECT_TRUE(sealed.sealed());
    EXPECT_FALSE(board.help(1, aead::best()));
    EXPECT_EQ(board.desk(0).handed_over(), 1U);
    EXPECT_EQ(board.desk(1).handed_over(), 0U);
    EXPECT_EQ(board.desk(2).handed_over(), 1U);
}

TEST_F(AeadBoardTest, AnOwnerDoesWhatIsLeftBeforeItWaitsAndCountsAStallOnce) {
    // A helper that has the first task, and is ready only after many looks.
    struct Slow final : AeadBoard::Patience {
        void wait(unsigned worker, unsigned round) noexcept override {
            EXPECT_EQ(worker, 1U);
            EXPECT_TRUE(second->sealed());
            if (round == 2 * AeadBoard::kStallRounds) line->run(0, aead::best());
        }
        AeadLine* line = nullptr;
        const Message* second = nullptr;
    } slow;
    const Message first(1), second(2);
    slow.line = &desk.seals;
    slow.second = &second;
    board.set_patience(slow);
    desk.seals.offer(first.task());
    desk.seals.offer(second.task());
    ASSERT_EQ(desk.seals.take(), 0U);
    board.finish(desk, desk.seals, 0, aead::best());
    EXPECT_TRUE(first.sealed());
    EXPECT_EQ(desk.handed_over(), 1U);
    EXPECT_EQ(desk.stalls(), 1U);
}

// Several owners and several helpers, without a pause between turns: what one ThreadSanitizer looks at.
TEST_F(AeadBoardTest, ManyTurnsOfManyThreads) {
    const Helpers helpers(board, 2);
    const auto own = [this](unsigned worker) {
        AeadBoard::Desk& mine = board.desk(worker);
        std::mt19937 dice(worker);
        for (unsigned turn = 0; turn < 300; ++turn) {
            std::vector<Message> messages;
            for (unsigned i = 0; i < 1 + dice() % AeadLine::kTasks; ++i)
                messages.emplace_back(turn * 100 + i, dice() % 2000);
            std::vector<AeadLine::Number> tasks;
            for (const Message& message : messages) tasks.push_back(mine.seals.offer(message.task()));
            for (std::size_t i = 0; i < tasks.size(); ++i) {
                board.finish(mine, mine.seals, tasks[i], aead::best());
                ASSERT_TRUE(messages[i].sealed());
            }
        }
    };
    std::vector<std::thread> owners;
    for (unsigned worker = 0; worker < 3; ++worker) owners.emplace_back(own, worker);
    for (std::thread& owner : owners) owner.join();
}

// --- workers

// Two of the same, from the same seeds: the first alone, the second with helpers.
struct Sharing : ::testing::Test {
    struct World {
        World() {
            a.add(b);
            b.add(a);
            a.send_to(b);
            net.settle();
            b.take_written();
        }
        Host a{1, 2};
        Host b{2, 2};
        Network net{{&a, &b}};
    };
    // Some superpackets and some packets of another size, as one turn brings them.
    static void send(World& world, unsigned seed) {
        std::mt19937 dice(seed);
        std::vector<std::pair<VnetHeader, Bytes>> packets;
        for (unsigned i = 0; i < 1 + dice() % 12; ++i) {
            if (dice() % 4 == 0) {
                packets.push_back({{}, udp_packet(world.a.address, world.b.address, dice() % 1300, i)});
                continue;
            }
            PacketSpec spec;
            spec.from = world.a.address;
            spec.to = world.b.address;
            spec.payload = 1000 + dice() % 60000;
            Bytes whole = build(spec);
            leave_partial_checksum(whole, spec);
            packets.push_back({superpacket_header(spec, 1368), std::move(whole)});
        }
        world.a.turn([&](Worker& worker) {
            for (auto& [header, bytes] : packets) worker.from_tun({header, bytes}, world.a.outlet);
        });
    }
    static std::vector<SentTrain> take_trains(World& world) {
        return std::exchange(world.a.outlet.trains, {});
    }
    static void receive(World& world, std::vector<SentTrain>& trains) {
        world.b.turn([&](Worker& worker) {
            for (SentTrain& train : trains)
                worker.from_underlay({train.bytes, train.segment_bytes, world.a.endpoint, 0}, world.b.outlet);
        });
    }
    static void expect_equal(const std::vector<SentTrain>& one, const std::vector<SentTrain>& other) {
        ASSERT_EQ(one.size(), other.size());
        for (std::size_t i = 0; i < one.size(); ++i) {
            EXPECT_EQ(one[i].bytes, other[i].bytes) << "train " << i;
            EXPECT_EQ(one[i].segment_bytes, other[i].segment_bytes);
        }
    }
    World alone, shared;
};

TEST_F(Sharing, WhatLeavesAndWhatArrivesIsTheSameWhoeverDoesTheWork) {
    const Helpers at_a(shared.a.device.board(), 2);
    const Helpers at_b(shared.b.device.board(), 1);
    for (unsigned turn = 0; turn < 60; ++turn) {
        send(alone, turn);
        send(shared, turn);
        auto expected = take_trains(alone), trains = take_trains(shared);
        ASSERT_NO_FATAL_FAILURE(expect_equal(expected, trains));
        // One that is forged, and one that comes twice.
        for (auto* sent : {&expected, &trains}) {
            SentTrain forged = sent->front(), again = sent->back();
            forged.bytes[forged.bytes.size() / 2] ^= std::byte{1};
            sent->insert(sent->begin(), std::move(forged));
            sent->push_back(std::move(again));
        }
        receive(alone, expected);
        receive(shared, trains);
        const auto written = shared.b.take_written(), expected_written = alone.b.take_written();
        ASSERT_EQ(written.size(), expected_written.size());
        for (std::size_t i = 0; i < written.size(); ++i)
            ASSERT_EQ(written[i].packet, expected_written[i].packet) << i;
    }
    for (std::size_t i = 0; i < kCounterCount; ++i)
        EXPECT_EQ(shared.b.count(static_cast<Counter>(i)), alone.b.count(static_cast<Counter>(i)))
            << kCounterInfo[i].name;
    EXPECT_GT(shared.b.count(Counter::bad_tag), 0U);
    EXPECT_GT(shared.b.count(Counter::replayed), 0U);
    EXPECT_EQ(alone.a.device.board().desk(0).handed_over(), 0U);
}

TEST_F(Sharing, NothingIsHandedOverWhenNobodyAttends) {
    send(shared, 1);
    EXPECT_EQ(shared.a.device.board().desk(0).seals.offered(), 0U);
    shared.a.device.board().attend();
    send(shared, 1);  // offered, but not taken: the owner does it all
    EXPECT_GT(shared.a.device.board().desk(0).seals.offered(), 0U);
    EXPECT_EQ(shared.a.device.board().desk(0).seals.untaken(), 0U);
    EXPECT_EQ(shared.a.device.board().desk(0).handed_over(), 0U);
    shared.a.device.board().leave();
}

TEST_F(Sharing, TrainsThatWaitGiveTheirBuffersBackWhenThereIsNoOther) {
    // The first train is taken by a helper that is not ready before the owner needs its buffer.
    struct Late final : AeadBoard::Patience {
        void wait(unsigned, unsigned) noexcept override {
            if (waits++ == 0) line->run(*task, aead::best());
        }
        AeadLine* line = nullptr;
        std::optional<AeadLine::Number> task;
        unsigned waits = 0;
    } late;
    AeadBoard& board = shared.a.device.board();
    late.line = &board.desk(0).seals;
    board.set_patience(late);
    board.attend();
    PacketSpec spec;
    spec.from = shared.a.address;
    spec.to = shared.b.address;
    spec.payload = 50000;
    std::vector<Bytes> packets(20, build(spec));
    shared.a.turn([&](Worker& worker) {
        for (Bytes& packet : packets) {
            leave_partial_checksum(packet, spec);
            worker.from_tun({superpacket_header(spec, 1368), packet}, shared.a.outlet);
            if (!late.task) late.task = late.line->take();
        }
    });
    board.leave();
    EXPECT_EQ(late.waits, 1U);
    EXPECT_EQ(shared.a.count(Counter::no_send_buffer), 0U);
    std::uint64_t last = 0;
    for (const Datagram& datagram : shared.a.take_sent())
        EXPECT_GT(datagram.counter(), std::exchange(last, datagram.counter()));
    EXPECT_GT(last, 20U * 36U - 1);
}

}  // namespace
}  // namespace vern
