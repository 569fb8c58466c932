// The simulation's own parts: a seed is a world, each invariant sees the defect it is there for, and a
// failure can be replayed.
#include <gtest/gtest.h>

#include <cstring>

#include "owners.h"
#include "packet.h"
#include "world.h"

namespace vern::sim {
namespace {

Options options_of(std::uint64_t seed, Sabotage sabotage = Sabotage::none) {
    Options options;
    options.seed = seed;
    options.sabotage = sabotage;
    return options;
}

TEST(Simulation, SeedIsAWorld) {
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
        const Outcome once = World(options_of(seed)).run();
        const Outcome again = World(options_of(seed)).run();
        EXPECT_EQ(once.hash, again.hash) << "seed " << seed;
        EXPECT_EQ(once.coverage.datagrams, again.coverage.datagrams);
        EXPECT_FALSE(once.violation) << "seed " << seed << ": " << once.violation->message;
    }
}

TEST(Simulation, SeedsDiffer) { EXPECT_NE(World(options_of(1)).run().hash, World(options_of(2)).run().hash); }

struct Defect {
    const char* name;
    Sabotage sabotage;
    std::vector<std::string_view>
        seen_by;  // any of these: some defects break several things, and the first one counts
};

class Defects : public ::testing::TestWithParam<Defect> {};

TEST_P(Defects, IsSeen) {
    constexpr std::uint64_t kSeeds = 60;
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
        const Outcome outcome = World(options_of(seed, GetParam().sabotage)).run();
        if (!outcome.violation) continue;
        const auto& expected = GetParam().seen_by;
        EXPECT_NE(std::find(expected.begin(), expected.end(), outcome.violation->invariant), expected.end())
            << "seed " << seed << ": " << outcome.violation->invariant << ": " << outcome.violation->message;
        EXPECT_FALSE(outcome.tail.empty());
        // The same seed fails in the same way.
        const Outcome again = World(options_of(seed, GetParam().sabotage)).run();
        ASSERT_TRUE(again.violation);
        EXPECT_EQ(again.hash, outcome.hash);
        EXPECT_EQ(again.violation->message, outcome.violation->message);
        return;
    }
    FAIL() << "not seen in " << kSeeds << " worlds";
}

INSTANTIATE_TEST_SUITE_P(
    Each, Defects,
    ::testing::Values(
        Defect{"DeliverTwice", Sabotage::deliver_twice, {"once"}},
        Defect{"AlterPlaintext", Sabotage::alter_plaintext, {"unaltered"}},
        Defect{"ReuseCounter", Sabotage::reuse_counter, {"nonce"}},
        Defect{"AcceptEverything", Sabotage::accept_everything, {"forgery"}},
        Defect{"SwapOrder", Sabotage::swap_order, {"order"}},
        Defect{"SwapTrains", Sabotage::swap_trains, {"order"}},
        Defect{"ForgetDatagram", Sabotage::forget_datagram, {"accounts"}},
        Defect{"ForgetRequests", Sabotage::forget_requests, {"recovery"}},
        Defect{"StuckDeadline", Sabotage::stuck_deadline, {"deadline"}},
        Defect{"Chatter", Sabotage::chatter, {"silence"}},
        Defect{"SkipConfiguration", Sabotage::skip_configuration, {"source", "destination"}},
        Defect{"SkipPadding", Sabotage::skip_padding, {"padding"}},
        Defect{"HijackEndpoint", Sabotage::hijack_endpoint, {"endpoint"}},
        Defect{"SkipPolicy", Sabotage::skip_policy, {"policy"}},
        Defect{"StopWorkerClock", Sabotage::stop_worker_clock, {"keys", "recovery", "silence", "forgotten"}}),
    [](const auto& param) { return param.param.name; });

TEST(Packets, ComeApartAsTheyWereBuilt) {
    for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}, kOtherProtocol}) {
        for (const bool v6 : {false, true}) {
            Flow flow;
            flow.v6 = v6;
            flow.protocol = protocol;
            flow.source_port = 5;
            Shape shape;
            shape.first_id = 77;
            shape.payload = shape.last_payload = 101;
            std::vector<std::byte> bytes;
            std::vector<Found> found;
            const VnetHeader header = build(flow, shape, bytes);
            ASSERT_EQ(take_apart(bytes, header, found), "");
            ASSERT_EQ(found.size(), 1U);
            EXPECT_EQ(payload_id(found[0].payload), 77U);
            EXPECT_TRUE(payload_intact(found[0].payload, 77));
            for (const std::size_t at : {std::size_t{30}, bytes.size() - 1}) {
                bytes[at] ^= std::byte{1};
                std::vector<Found> altered;
                const bool noticed = !take_apart(bytes, header, altered).empty() ||
                                     !payload_intact(altered.at(0).payload, 77) ||
                                     std::memcmp(altered.at(0).from, flow.from.data(), v6 ? 16 : 4) != 0 ||
                                     altered.at(0).source_port != 5;
                EXPECT_TRUE(noticed || (v6 && at == 30)) << at;
                bytes[at] ^= std::byte{1};
            }
        }
    }
}

TEST(Packets, SuperpacketsHaveAnIdForEachSegment) {
    Flow flow;
    flow.protocol = 6;
    Shape shape;
    shape.first_id = 10;
    shape.segments = 4;
    shape.payload = 50;
    shape.last_payload = 20;
    std::vector<std::byte> bytes;
    std::vector<Found> found;
    const VnetHeader header = build(flow, shape, bytes);
    ASSERT_EQ(take_apart(bytes, header, found), "");
    ASSERT_EQ(found.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(payload_id(found[i].payload), 10 + i);
    EXPECT_EQ(flow.sequence, 4U);
}

TEST(OwnersOf, LongestPrefixWins) {
    Owners owners;
    Prefix wide, narrow;
    wide.address = IpAddress::v4(std::array{std::byte{10}, std::byte{0}, std::byte{0}, std::byte{0}});
    wide.length = 8;
    narrow.address = IpAddress::v4(std::array{std::byte{10}, std::byte{1}, std::byte{0}, std::byte{0}});
    narrow.length = 16;
    owners.give(narrow, 2);
    owners.give(wide, 1);
    const std::array inside{std::byte{10}, std::byte{1}, std::byte{2}, std::byte{3}};
    const std::array outside{std::byte{10}, std::byte{2}, std::byte{2}, std::byte{3}};
    const std::array elsewhere{std::byte{11}, std::byte{2}, std::byte{2}, std::byte{3}};
    EXPECT_EQ(owners.of(inside.data(), false), 2);
    EXPECT_EQ(owners.of(outside.data(), false), 1);
    EXPECT_EQ(owners.of(elsewhere.data(), false), kNobody);
    owners.drop(2);
    EXPECT_EQ(owners.of(inside.data(), false), 1);
}

TEST(Agenda, KeepsTheOrderOfOneInstant) {
    Agenda agenda;
    std::vector<int> seen;
    agenda.at(5, [&] { seen.push_back(2); });
    agenda.at(5, [&] { seen.push_back(3); });
    agenda.at(1, [&] { seen.push_back(1); });
    agenda.at(9, [&] { seen.push_back(4); });
    while (agenda.step(6)) {
    }
    EXPECT_EQ(seen, (std::vector{1, 2, 3}));
    EXPECT_EQ(agenda.now(), 6);
}

}  // namespace
}  // namespace vern::sim
