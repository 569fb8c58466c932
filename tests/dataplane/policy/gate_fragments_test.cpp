// Fragments follow the verdict on the first, or nothing.
#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

struct Fragmented : GateTest {
    Bytes piece(unsigned offset, bool more, std::size_t payload, std::uint16_t id = 7, unsigned port = 53,
                Direction direction = kIn) {
        PacketSpec packet = spec(direction, 17, 40000, port);
        packet.fragment = static_cast<std::uint16_t>(offset / 8 | (more ? 0x2000 : 0));
        packet.id = id;
        if (offset == 0) {
            packet.payload = payload - 8;
            return build(packet);
        }
        packet.protocol = 99;  // no header of its own
        packet.payload = payload;
        Bytes out = build(packet);
        out[9] = std::byte{17};
        return out;
    }
};

TEST_F(Fragmented, LaterOnesFollowTheFirst) {
    use({allow_in({udp_port(53)})});
    EXPECT_EQ(why(kIn, piece(24, true, 24)), "policy_fragment_stray");
    EXPECT_TRUE(in(piece(0, true, 24)));
    EXPECT_TRUE(in(piece(24, true, 24)));
    EXPECT_TRUE(in(piece(72, false, 5)));  // out of order
    EXPECT_TRUE(in(piece(48, true, 24)));
    EXPECT_EQ(why(kIn, piece(24, true, 24)), "policy_fragment_stray");  // it was whole
    EXPECT_TRUE(in(piece(0, true, 24)));                                // the identification comes again
    EXPECT_EQ(why(kIn, piece(24, false, 24, 8)), "policy_fragment_stray");
    EXPECT_EQ(why(kIn, piece(24, false, 24), kOther), "policy_fragment_stray");
}

TEST_F(Fragmented, OfADeniedFirstNothingPasses) {
    use({allow_in({udp_port(53)})});
    EXPECT_EQ(why(kIn, piece(0, true, 24, 7, 54)), "policy_no_rule");
    EXPECT_EQ(why(kIn, piece(24, false, 24)), "policy_fragment_stray");
    EXPECT_TRUE(in(piece(0, true, 24, 9)));
    EXPECT_FALSE(in(piece(0, true, 24, 9, 54)));  // a denied one by the same name poisons
    EXPECT_EQ(why(kIn, piece(24, false, 24, 9)), "policy_fragment_overlap");
}

TEST_F(Fragmented, OverlapPoisons) {
    use({allow_in({udp_port(53)})});
    const std::vector<Bytes> overlaps = {
        piece(16, true, 24),    // into the first one
        piece(8, false, 16),    // over its header's end
        piece(24, true, 32),    // into the second one
        piece(32, false, 8),    // inside the second one
        piece(24, true, 24),    // the same again
        piece(0, true, 24),     // a second first
        piece(16, false, 200),  // over everything
    };
    for (std::size_t i = 0; i < overlaps.size(); ++i) {
        now += seconds(31);
        ASSERT_TRUE(in(piece(0, true, 24))) << i;
        ASSERT_TRUE(in(piece(24, true, 24))) << i;
        EXPECT_EQ(why(kIn, overlaps[i]), "policy_fragment_overlap") << i;
        EXPECT_EQ(why(kIn, piece(48, false, 24)), "policy_fragment_overlap") << i;
    }
}

// Neither its state nor its time moves, none begins, and no token is taken.
TEST_F(Fragmented, ARefusedFirstMovesNoFlow) {
    RuleSet set = rule_set({allow_in({udp_port(53)}), allow_in({udp_port(54)})});
    set.rules[1].rate = Rate{1, seconds(3600), 1, Rate::Scope::source};
    use(set);
    const auto flow_of = [&](unsigned port) {
        FlowKey key;
        key.remote = remote.bytes;
        key.local = local.bytes;
        key.remote_port = 40000;
        key.local_port = static_cast<std::uint16_t>(port);
        key.protocol = 17;
        const FlowTable::Held flow = tables->flows->find(key, tables->flows->hash(key), now);
        return flow ? std::optional<Flow>(*flow) : std::nullopt;
    };
    ASSERT_TRUE(in(udp(kIn)));
    ASSERT_TRUE(out(piece(0, true, 24, 7, 53, kOut)));
    const Flow answered = *flow_of(53);
    ASSERT_TRUE(in(piece(0, true, 24)));
    const Flow before = *flow_of(53);
    EXPECT_EQ(before.state, FlowState::answered);
    EXPECT_EQ(before.packets[0], answered.packets[0] + 1);
    now += seconds(1);
    EXPECT_EQ(why(kIn, piece(0, true, 24)), "policy_fragment_overlap");
    EXPECT_EQ(why(kIn, piece(0, true, 24, 7, 54)), "policy_fragment_overlap");
    EXPECT_EQ(flow_of(53)->last_seen, before.last_seen);
    EXPECT_EQ(flow_of(53)->packets, before.packets);
    EXPECT_EQ(flow_of(53)->bytes, before.bytes);
    EXPECT_FALSE(flow_of(54));
    EXPECT_TRUE(in(udp(kIn, 40000, 54))) << "the token was taken";
}

// An answer in pieces that is refused does not make of a flow one that was answered.
TEST_F(Fragmented, ARefusedFirstAnswersNothing) {
    use({allow_in({udp_port(53)})});
    ASSERT_TRUE(in(udp(kIn)));
    ASSERT_TRUE(in(udp(kIn, 40001)));
    ASSERT_TRUE(out(piece(0, true, 24, 7, 53, kOut)));
    PacketSpec second = spec(kOut, 17, 40001, 53);
    second.fragment = 0x2000;
    second.id = 7;
    second.payload = 16;
    EXPECT_EQ(why(kOut, build(second)), "policy_fragment_overlap");
    now += seconds(31);
    EXPECT_EQ(why(kOut, udp(kOut, 40001)), "policy_no_rule") << "an unanswered flow ends after 30 s";
    EXPECT_TRUE(out(udp(kOut))) << "an answered one does not";
}

TEST_F(Fragmented, ADeniedFirstTakesNoPlace) {
    use({allow_in({udp_port(53)})});
    for (std::uint16_t id = 0; id < FragmentTable::kPerPayerMax; ++id)
        ASSERT_EQ(why(kIn, piece(0, true, 24, id, 54)), "policy_no_rule");
    EXPECT_TRUE(in(piece(0, true, 24, 1)));
    EXPECT_TRUE(in(piece(24, false, 24, 1)));
}

// What passes in the end moves its flow.
TEST_F(Fragmented, UnderAPolicyThatObservesAFirstAlwaysMovesItsFlow) {
    RuleSet set = rule_set({allow_in({udp_port(53)})});
    set.observe = true;
    use(set);
    ASSERT_TRUE(in(piece(0, true, 24)));
    for (int i = 0; i < 3; ++i) {
        now += seconds(20);
        ASSERT_TRUE(in(piece(0, true, 24)));
    }
    const auto would_be = counters[Counter::policy_would_deny];
    EXPECT_TRUE(out(udp(kOut)));
    EXPECT_EQ(counters[Counter::policy_would_deny], would_be);
}

TEST_F(Fragmented, TwoEndsPoison) {
    use({allow_in({udp_port(53)})});
    in(piece(0, true, 24));
    EXPECT_TRUE(in(piece(48, false, 8)));
    EXPECT_EQ(why(kIn, piece(80, false, 8)), "policy_fragment_overlap");
    now += seconds(31);
    in(piece(0, true, 24));
    EXPECT_TRUE(in(piece(48, true, 8)));
    EXPECT_EQ(why(kIn, piece(32, false, 8)), "policy_fragment_overlap");
}

TEST_F(Fragmented, AVerdictEndsAfterHalfAMinuteAndWithThePolicy) {
    use({allow_in({udp_port(53)})});
    in(piece(0, true, 24));
    now += seconds(30) - Duration(1);
    EXPECT_TRUE(in(piece(24, true, 24)));
    now += Duration(1);
    EXPECT_EQ(why(kIn, piece(48, true, 24)), "policy_fragment_stray");
    in(piece(0, true, 24, 8));
    use({allow_in({udp_port(53)})});
    EXPECT_EQ(why(kIn, piece(24, true, 24, 8)), "policy_fragment_stray");
}

TEST_F(Fragmented, OnePeersFirstFragmentsStarveNobody) {
    use({allow_in({udp_port(53)})});
    for (std::uint16_t id = 0; id < FragmentTable::kPerPayerMax; ++id)
        ASSERT_TRUE(in(piece(0, true, 24, id)));
    EXPECT_EQ(why(kIn, piece(0, true, 24, 60000)), "policy_fragments_full");
    EXPECT_EQ(why(kIn, piece(24, true, 24, 60000)), "policy_fragment_stray");
    use({allow_in({udp_port(53)})});
    now += seconds(1);
    // Another peer has room: by other addresses, since a flow is its peer's.
    PacketSpec packet = spec(kIn, 17, 40000, 53);
    packet.from = v4(10, 0, 0, 99);
    packet.fragment = 0x2000;
    packet.payload = 16;
    EXPECT_TRUE(in(build(packet), kOther));
    now += seconds(30);
    EXPECT_TRUE(in(piece(0, true, 24, 60000)));
}

TEST_F(Fragmented, TheTableHasALimitAndGivesPlacesBack) {
    use({allow_in({udp_port(53)})});
    for (unsigned i = 0; i < FragmentTable::kDatagramsMax; ++i) {
        PacketSpec packet = spec(kIn, 17, 40000, 53);
        packet.fragment = 0x2000;
        packet.payload = 16;
        packet.id = static_cast<std::uint16_t>(i);
        packet.from = v4(10, 1, 0, static_cast<unsigned>(i / FragmentTable::kPerPayerMax));
        ASSERT_TRUE(in(build(packet), 100 + i / FragmentTable::kPerPayerMax));
    }
    EXPECT_EQ(why(kIn, piece(0, true, 24)), "policy_fragments_full");
    now += seconds(30);
    EXPECT_TRUE(in(piece(0, true, 24)));
    EXPECT_TRUE(in(piece(24, false, 24)));
}

TEST_F(Fragmented, Ipv6DoesNotAskForTheProtocolOfLaterOnes) {
    use({allow_in({udp_port(53)})});
    const auto piece6 = [&](unsigned offset, bool more, std::uint8_t next) {
        PacketSpec packet = spec(kIn, 17, 40000, 53, true);
        packet.payload = 16;
        packet.extension = Bytes(8);
        Bytes out = build(packet);
        out[6] = std::byte{44};
        out[40] = std::byte(next);
        store_be16(&out[42], static_cast<std::uint16_t>(offset | (more ? 1 : 0)));
        return out;
    };
    EXPECT_TRUE(in(piece6(0, true, 17)));
    EXPECT_TRUE(in(piece6(24, true, 6)));
    EXPECT_EQ(why(kIn, piece6(24, true, 17)), "policy_fragment_overlap");
    now += seconds(31);
    EXPECT_TRUE(in(piece6(0, false, 17)));  // atomic: no datagram is remembered
    EXPECT_EQ(why(kIn, piece6(24, true, 17)), "policy_fragment_stray");
}

// A worker that stood still between a first fragment and what the rules say to it finds another datagram of
// the same name, which another worker has not decided about.
TEST(FragmentTableTest, ALateDecisionIsAboutItsOwnDatagramAlone) {
    TestRandom random(5);
    FragmentTable table(random);
    ASSERT_TRUE(table);
    PacketSpec spec;
    spec.protocol = 17;
    Bytes bytes = build(spec);
    const InnerPacket packet = *InnerPacket::parse(bytes);
    Transport first;
    first.protocol = 17;
    first.fragment = Fragment::first;
    first.fragment_end = 24;
    first.more_fragments = true;
    Transport later = first;
    later.fragment = Fragment::later;
    later.fragment_begin = 24;
    later.fragment_end = 48;
    const Instant before(seconds(100)), after = before + seconds(31);
    std::uint32_t rule = 0;
    ASSERT_EQ(table.first(1, begun_by(1), kIn, packet, first, 1, before), FragmentTable::Answer::pass);
    ASSERT_EQ(table.first(1, begun_by(1), kIn, packet, first, 2, after), FragmentTable::Answer::pass);
    table.allow(1, kIn, packet, first, 1, before, 99);
    EXPECT_EQ(table.later(1, kIn, packet, later, 2, after, rule), FragmentTable::Answer::stray);
    table.deny(1, kIn, packet, first, 1, before);
    table.allow(1, kIn, packet, first, 2, after, 3);
    EXPECT_EQ(table.later(1, kIn, packet, later, 2, after, rule), FragmentTable::Answer::pass);
    EXPECT_EQ(rule, 3U);
}

}  // namespace
}  // namespace vern::policy
