// What passes the gate and what does not: flows, states, generations, ICMP, fragments, rates, logs.
#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

class Gates : public GateTest {};

// --- flows

TEST_F(Gates, NothingPassesAnEmptyPolicy) {
    use(nothing());
    EXPECT_EQ(why(kIn, tcp(kIn, kSyn)), "policy_no_rule");
    EXPECT_EQ(why(kOut, udp(kOut)), "policy_no_rule");
    EXPECT_EQ(why(kIn, echo(kIn, true)), "policy_no_rule");
    EXPECT_EQ(gate.refused(kIn), 2U);
    EXPECT_EQ(gate.refused(kOut), 1U);
    EXPECT_EQ(tables->flows->size(), 0U);
}

TEST_F(Gates, RepliesOfAFlowPassAndNothingElseDoes) {
    use({allow_in({tcp_port(22), udp_port(53)})});
    EXPECT_TRUE(in(tcp(kIn, kSyn)));
    EXPECT_TRUE(out(tcp(kOut, kSynAck)));
    EXPECT_TRUE(in(tcp(kIn, kAck)));
    EXPECT_TRUE(out(tcp(kOut, kAck | kPsh)));
    EXPECT_FALSE(out(tcp(kOut, kSyn)));
    EXPECT_FALSE(out(tcp(kOut, kAck, 40001)));
    EXPECT_FALSE(in(tcp(kIn, kAck, 40000, 23)));
    EXPECT_TRUE(in(udp(kIn)));
    EXPECT_TRUE(out(udp(kOut)));
    EXPECT_FALSE(out(udp(kOut, 40001)));
}

TEST_F(Gates, TheSameOverIpv6) {
    use({allow_in({tcp_port(22)})});
    EXPECT_TRUE(in(tcp(kIn, kSyn, 40000, 22, true)));
    EXPECT_TRUE(out(tcp(kOut, kSynAck, 40000, 22, true)));
    EXPECT_FALSE(out(tcp(kOut, kSynAck, 40000, 23, true)));
}

TEST_F(Gates, AStrayAckOpensNothing) {
    use({allow_in(), allow_out()});
    for (const std::uint8_t flags :
         {kAck, kSynAck, kFinAck, kRst, std::uint8_t(kRst | kAck), std::uint8_t(kAck | kPsh)}) {
        EXPECT_EQ(why(kIn, tcp(kIn, flags)), "policy_no_flow") << int{flags};
        EXPECT_EQ(why(kOut, tcp(kOut, flags)), "policy_no_flow") << int{flags};
    }
    for (const std::uint8_t flags :
         {std::uint8_t(0), kFin, std::uint8_t(kSyn | kFin), std::uint8_t(kSyn | kRst)})
        EXPECT_EQ(why(kIn, tcp(kIn, flags)), "policy_tcp_flags") << int{flags};
    EXPECT_EQ(tables->flows->size(), 0U);
}

TEST_F(Gates, TheOtherSideOpensOnlyWhatItMay) {
    use({allow_out()});
    EXPECT_TRUE(out(tcp(kOut, kSyn)));
    EXPECT_EQ(why(kIn, tcp(kIn, kSyn)), "policy_tcp_state");
    use({allow_out(), allow_in()});
    EXPECT_TRUE(in(tcp(kIn, kSyn)));
}

TEST_F(Gates, ASynOnAnEndedFlowIsANewFlow) {
    use({allow_in({tcp_port(22)})});
    in(tcp(kIn, kSyn));
    out(tcp(kOut, kSynAck));
    in(tcp(kIn, kAck));
    EXPECT_TRUE(out(tcp(kOut, kRst)));
    EXPECT_FALSE(out(tcp(kOut, kSyn)));  // by the other side, for which there is no rule
    EXPECT_TRUE(in(tcp(kIn, kSyn)));
    EXPECT_EQ(policy->counts(0).flows, 2U);
}

TEST_F(Gates, UdpAndEchoTimeOut) {
    use({allow_in()});
    in(udp(kIn));
    now += seconds(29);
    EXPECT_TRUE(out(udp(kOut)));
    now += seconds(119);
    EXPECT_TRUE(out(udp(kOut)));
    now += seconds(120);
    EXPECT_EQ(why(kOut, udp(kOut)), "policy_no_rule");
    in(udp(kIn));
    now += seconds(30);
    EXPECT_FALSE(out(udp(kOut)));
    in(echo(kIn, true));
    now += seconds(29);
    EXPECT_TRUE(out(echo(kOut, false)));
    now += seconds(30);
    EXPECT_EQ(why(kOut, echo(kOut, false)), "policy_no_flow");
}

TEST_F(Gates, AnEchoRequestIsNeverAnAnswer) {
    for (const bool with_v6 : {false, true}) {
        use({allow_out()});
        EXPECT_TRUE(out(echo(kOut, true, 5, with_v6)));
        EXPECT_EQ(why(kIn, echo(kIn, true, 5, with_v6)), "policy_no_rule");  // by the same identifier
        EXPECT_TRUE(in(echo(kIn, false, 5, with_v6)));
        EXPECT_EQ(why(kIn, echo(kIn, false, 6, with_v6)), "policy_no_flow");
        EXPECT_EQ(why(kOut, echo(kOut, false, 5, with_v6)), "policy_no_flow");
    }
}

TEST_F(Gates, IcmpTypesAreMatchedLikePorts) {
    use({allow_in({{1, 8 << 8, 8 << 8 | 255}})});
    EXPECT_TRUE(in(echo(kIn, true)));
    Bytes timestamp = echo(kIn, true);
    timestamp[20] = std::byte{13};
    EXPECT_EQ(why(kIn, timestamp), "policy_no_rule");
    use({allow_in({{1, 13 << 8, 13 << 8}})});
    EXPECT_TRUE(in(timestamp));
    EXPECT_TRUE(in(timestamp));  // each for itself: no flow
    EXPECT_EQ(why(kOut, timestamp), "policy_no_rule");
    EXPECT_EQ(tables->flows->size(), 1U);  // of the echo
}

TEST_F(Gates, ExtensionHeadersBeforeAnAllowedPortPass) {
    use({allow_in({tcp_port(22)})});
    PacketSpec packet = spec(kIn, 6, 40000, 22, true);
    packet.flags = kSyn;
    packet.extension = Bytes(16);
    packet.extension[1] = std::byte{1};
    EXPECT_TRUE(in(build(packet)));
    packet.destination_port = 23;
    EXPECT_EQ(why(kIn, build(packet)), "policy_no_rule");
    packet.extension[1] = std::byte{255};  // Nebula #1789
    EXPECT_EQ(why(kIn, build(packet)), "policy_extension");
    packet.extension[1] = std::byte{1};
    packet.protocol = 6;
    packet.destination_port = 22;
    Bytes other = build(packet);
    other[40] =
        std::byte{200};  // Nebula #1840: bytes that look like port 22 behind a header that nobody knows
    EXPECT_EQ(why(kIn, other), "policy_no_rule");
}

TEST_F(Gates, AFlowIsItsPeers) {
    use({allow_out()});
    EXPECT_TRUE(out(udp(kOut), kPeer));
    // The prefix moved: the address is another peer's now. Nebula #1779 the other way round.
    EXPECT_EQ(why(kIn, udp(kIn), kOther), "policy_no_rule");
    EXPECT_EQ(tables->flows->size(), 0U);  // and what the first one began is over
    EXPECT_FALSE(in(udp(kIn), kPeer));
    EXPECT_EQ(tables->flows->size_of(kPeer), 0U);
}

TEST_F(Gates, ForwardedFromPeerToPeerBothMustAllowIt) {
    // What comes in from one peer goes out to another with the same addresses: another key, another flow,
    // another rule.
    const IpAddress client = v4(10, 0, 0, 1), server = v4(10, 0, 0, 2);
    PacketSpec there, back;
    there.from = back.to = client;
    there.to = back.from = server;
    there.flags = kSyn;
    back.flags = kSynAck;
    std::swap(back.source_port, back.destination_port);
    use({allow_in({tcp_port(5000)})});
    EXPECT_TRUE(in(build(there), kPeer));
    EXPECT_FALSE(out(build(there), kOther));
    use({allow_in({tcp_port(5000)}), allow_out({tcp_port(5000)})});
    EXPECT_TRUE(in(build(there), kPeer));
    EXPECT_TRUE(out(build(there), kOther));
    EXPECT_TRUE(in(build(back), kOther));
    EXPECT_TRUE(out(build(back), kPeer));
    EXPECT_EQ(tables->flows->size(), 2U);
}

// --- the policy changes

TEST_F(Gates, AChangeCutsWhatItNoLongerAllows) {
    use({allow_in({tcp_port(22)}), allow_in({udp_port(53)})});
    in(tcp(kIn, kSyn));
    out(tcp(kOut, kSynAck));
    in(tcp(kIn, kAck));
    in(udp(kIn));
    use({allow_in({udp_port(53)})});
    EXPECT_EQ(why(kOut, tcp(kOut, kAck)), "policy_flow_cut");  // the first packet, in either direction
    EXPECT_EQ(why(kIn, tcp(kIn, kAck)), "policy_no_flow");
    EXPECT_TRUE(out(udp(kOut)));
    EXPECT_TRUE(in(udp(kIn)));
    EXPECT_EQ(tables->flows->size(), 1U);
}

TEST_F(Gates, ANewDenyRuleCutsToo) {
    use({allow_in()});
    in(udp(kIn));
    use({allow_in(), rule(Action::deny, kIn, {udp_port(53)})});
    EXPECT_EQ(why(kOut, udp(kOut)), "policy_flow_cut");
}

TEST_F(Gates, APeerThatLeavesTheSetLosesItsFlows) {
    RuleSet set = rule_set({allow_in()});
    set.peer_sets = {{peer_keys(kPeer), peer_keys(kOther)}};
    set.rules[0].peers = 0;
    use(set);
    EXPECT_TRUE(in(udp(kIn)));
    set.peer_sets = {{peer_keys(kOther)}};
    use(set);
    EXPECT_EQ(why(kOut, udp(kOut)), "policy_flow_cut");
}

// A ping that ran on after its policy was taken away (NetBird #5685).
TEST_F(Gates, ARunningPingEndsWithItsRule) {
    use({allow_in({{1, 8 << 8, 8 << 8}})});
    EXPECT_TRUE(in(echo(kIn, true)));
    EXPECT_TRUE(out(echo(kOut, false)));
    use(nothing());
    EXPECT_EQ(why(kIn, echo(kIn, true)), "policy_flow_cut");
    EXPECT_EQ(why(kIn, echo(kIn, true)), "policy_no_rule");
    EXPECT_EQ(why(kOut, echo(kOut, false)), "policy_no_flow");
}

TEST_F(Gates, AFlowIsAskedForAgainInTheDirectionInWhichItBegan) {
    use({allow_out({udp_port(40000)})});
    EXPECT_TRUE(out(udp(kOut)));
    EXPECT_TRUE(in(udp(kIn)));
    use({allow_out({udp_port(40000)})});
    EXPECT_TRUE(in(udp(kIn)));  // a reply is the first packet under the new policy
    use({allow_in({udp_port(53)})});
    EXPECT_EQ(why(kIn, udp(kIn)), "policy_flow_cut");  // though it could begin a flow of its own
    EXPECT_TRUE(in(udp(kIn)));
}

TEST_F(Gates, AFlowThatIsAskedForAgainTakesNoToken) {
    Rule limited = allow_in({udp_port(53)});
    limited.rate = Rate{1, seconds(3600), 1, Rate::Scope::source};
    use({limited});
    EXPECT_TRUE(in(udp(kIn)));
    EXPECT_EQ(why(kIn, udp(kIn, 40001)), "policy_rate_limited");
    use({limited});
    EXPECT_TRUE(in(udp(kIn)));
    EXPECT_EQ(why(kIn, udp(kIn, 40001)), "policy_rate_limited");  // and the bucket is as it was
}

TEST_F(Gates, AnExpiredRuleDoesNotExistAndItsFlowsEnd) {
    Rule until = allow_in({tcp_port(22)});
    until.expires = now + seconds(60);
    use({until});
    in(tcp(kIn, kSyn));
    out(tcp(kOut, kSynAck));
    in(tcp(kIn, kAck));
    now += seconds(60) - Duration(1);
    EXPECT_TRUE(in(tcp(kIn, kAck)));
    now += Duration(1);
    EXPECT_EQ(why(kOut, tcp(kOut, kAck)), "policy_flow_cut");
    EXPECT_EQ(why(kIn, tcp(kIn, kSyn)), "policy_no_rule");
    use({until, allow_in()});
    EXPECT_TRUE(in(tcp(kIn, kSyn)));
}

TEST_F(Gates, AFlowGoesOnUnderAnotherRuleWhenItsOwnExpires) {
    Rule until = allow_in({udp_port(53)});
    until.expires = now + seconds(10);
    use({until, allow_in()});
    in(udp(kIn));
    now += seconds(10);
    EXPECT_TRUE(out(udp(kOut)));
    EXPECT_EQ(policy->counts(1).packets, 1U);
}

// --- midstream after a start

TEST_F(Gates, MidstreamIsPickedUpOnlyWhereARuleOpensAndOnlyAfterTheStart) {
    use({allow_in({tcp_port(22)})});
    tables->pick_up_until = (now + kPickUpTime).time_since_epoch().count();
    EXPECT_EQ(why(kOut, tcp(kOut, kAck)), "policy_no_rule");
    EXPECT_EQ(why(kIn, tcp(kIn, kAck, 40000, 23)), "policy_no_rule");
    EXPECT_EQ(why(kIn, tcp(kIn, kRst)), "policy_no_flow");
    EXPECT_EQ(why(kIn, tcp(kIn, kSynAck)), "policy_no_flow");
    EXPECT_TRUE(in(tcp(kIn, kAck)));
    EXPECT_TRUE(out(tcp(kOut, kAck)));
    EXPECT_EQ(counters[Counter::policy_picked_up], 1U);
    now += kPickUpTime;
    EXPECT_TRUE(in(tcp(kIn, kAck)));
    EXPECT_EQ(why(kIn, tcp(kIn, kAck, 40001)), "policy_no_flow");
    EXPECT_EQ(counters[Counter::policy_picked_up], 1U);
}

// --- related ICMP

TEST_F(Gates, AnErrorThatQuotesALiveFlowPasses) {
    for (const bool with_v6 : {false, true}) {
        use({allow_in({udp_port(53)}), allow_out({tcp_port(443)})});
        const std::vector<std::uint8_t> types =
            with_v6 ? std::vector<std::uint8_t>{1, 2, 3, 4} : std::vector<std::uint8_t>{3, 11, 12};
        ASSERT_TRUE(in(udp(kIn, 40000, 53, with_v6)));
        ASSERT_TRUE(out(tcp(kOut, kSyn, 443, 50000, with_v6)));
        for (const std::uint8_t type : types) {
            EXPECT_TRUE(out(error(kOut, udp(kIn, 40000, 53, with_v6), type))) << int{type};
            EXPECT_TRUE(in(error(kIn, udp(kOut, 40000, 53, with_v6), type))) << int{type};
            EXPECT_TRUE(in(error(kIn, tcp(kOut, kAck, 443, 50000, with_v6), type))) << int{type};
            EXPECT_TRUE(out(error(kOut, tcp(kIn, kAck, 443, 50000, with_v6), type))) << int{type};
        }
    }
}

TEST_F(Gates, AnErrorThatQuotesNoFlowDoesNotPassWhateverTheRules) {
    use({allow_in(), allow_out()});
    ASSERT_TRUE(out(udp(kOut)));
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut, 40001), 3, 3)), "policy_icmp_unrelated");
    EXPECT_EQ(why(kIn, error(kIn, udp(kIn), 3, 3)),
              "policy_icmp_unrelated");  // quotes what went the same way
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 3, 27)), "policy_icmp_unrelated");  // too little to tell
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 3, 0)), "policy_icmp_unrelated");
    Bytes elsewhere = error(kIn, udp(kOut), 3, 3);
    elsewhere[19] = std::byte{77};  // to a host that did not send it
    EXPECT_EQ(why(kIn, elsewhere), "policy_icmp_unrelated");
    EXPECT_TRUE(in(error(kIn, udp(kOut), 3, 3)));
    now += seconds(200);
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 3)), "policy_icmp_unrelated");
}

TEST_F(Gates, AnErrorIsRelatedOnlyThroughThePeerThatCarriesTheFlow) {
    use({allow_in(), allow_out()});
    ASSERT_TRUE(out(udp(kOut), kPeer));
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 4), kOther), "policy_icmp_unrelated");
    EXPECT_TRUE(in(error(kIn, udp(kOut), 3, 4), kPeer));
}

TEST_F(Gates, RedirectsNeverPass) {
    use({allow_in(), allow_out()});
    ASSERT_TRUE(out(udp(kOut)));
    ASSERT_TRUE(out(udp(kOut, 40000, 53, true)));
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 5, 1)), "policy_icmp_unrelated");
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut, 40000, 53, true), 137)), "policy_icmp_unrelated");
}

TEST_F(Gates, AnErrorKeepsNoFlowAlive) {
    use({allow_out()});
    out(udp(kOut));
    now += seconds(29);
    EXPECT_TRUE(in(error(kIn, udp(kOut), 3, 1)));
    now += seconds(1);
    EXPECT_FALSE(in(udp(kIn)));
}

TEST_F(Gates, AnErrorAboutAFlowThatIsNoLongerAllowedCutsIt) {
    use({allow_out()});
    out(udp(kOut));
    use(nothing());
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 1)), "policy_flow_cut");
    EXPECT_EQ(tables->flows->size(), 0U);
}

TEST_F(Gates, AnErrorAboutAPingIsRelated) {
    use({allow_out()});
    out(echo(kOut, true));
    EXPECT_TRUE(in(error(kIn, echo(kOut, true), 3, 1)));
    EXPECT_FALSE(in(error(kIn, echo(kOut, true, 6), 3, 1)));
    EXPECT_FALSE(out(error(kOut, echo(kIn, true), 3, 1)));
    EXPECT_FALSE(in(error(kIn, error(kOut, udp(kIn), 3), 3, 1)));  // nobody answers errors with errors
}

// --- fragments

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
    for (std::uint16_t id = 0; id < FragmentTable::kPerPeerMax; ++id) ASSERT_TRUE(in(piece(0, true, 24, id)));
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
        packet.from = v4(10, 1, 0, static_cast<unsigned>(i / FragmentTable::kPerPeerMax));
        ASSERT_TRUE(in(build(packet), 100 + i / FragmentTable::kPerPeerMax));
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

// --- rates

struct Rates : GateTest {
    Rule limited(Rate::Scope scope, std::uint32_t count = 10, std::uint32_t burst = 3) {
        Rule out = allow_in({tcp_port(22)});
        out.rate = Rate{count, seconds(60), burst, scope};
        return out;
    }
    Bytes syn_from(unsigned host, unsigned port) {
        PacketSpec packet = spec(kIn, 6, port, 22);
        packet.from = v4(10, 0, 1, host);
        packet.flags = kSyn;
        return build(packet);
    }
};

TEST_F(Rates, ABurstThenOneEachInterval) {
    use({limited(Rate::Scope::source)});
    for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(in(syn_from(1, 100 + i)));
    EXPECT_EQ(why(kIn, syn_from(1, 200)), "policy_rate_limited");
    now += seconds(6) - Duration(1);
    EXPECT_FALSE(in(syn_from(1, 200)));
    now += Duration(1);
    EXPECT_TRUE(in(syn_from(1, 200)));
    EXPECT_FALSE(in(syn_from(1, 201)));
    now += seconds(600);
    for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(in(syn_from(1, 300 + i)));
    EXPECT_FALSE(in(syn_from(1, 400)));
    EXPECT_EQ(policy->counts(0).limited, 4U);
}

TEST_F(Rates, ARetransmittedSynTakesNoSecondToken) {
    use({limited(Rate::Scope::source)});
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(in(syn_from(1, 100)));
    EXPECT_TRUE(in(syn_from(1, 101)));
    EXPECT_TRUE(in(syn_from(1, 102)));
    EXPECT_FALSE(in(syn_from(1, 103)));
}

// The nftables wiki's ssh example: one attacker uses up the tokens of everybody.
TEST_F(Rates, OneSourceLocksNobodyElseOut) {
    use({limited(Rate::Scope::source)});
    for (unsigned i = 0; i < 1000; ++i) in(syn_from(1, 1000 + i));
    EXPECT_TRUE(in(syn_from(2, 100)));
}

TEST_F(Rates, ScopesOfPeerAndRule) {
    use({limited(Rate::Scope::peer)});
    for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(in(syn_from(i, 100)));
    EXPECT_FALSE(in(syn_from(9, 100)));
    EXPECT_TRUE(in(syn_from(10, 100), kOther));
    use({limited(Rate::Scope::rule)});
    for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(in(syn_from(20 + i, 100), kPeer + i));
    EXPECT_FALSE(in(syn_from(29, 100), kOther));
}

TEST_F(Rates, WithoutATokenTheRulesBehindAreAsked) {
    Rule wide = allow_in();
    use({limited(Rate::Scope::source), wide});
    for (unsigned i = 0; i < 5; ++i) EXPECT_TRUE(in(syn_from(1, 100 + i)));
    EXPECT_EQ(policy->counts(0).flows, 3U);
    EXPECT_EQ(policy->counts(1).flows, 2U);
}

TEST_F(Rates, TokensOutliveAPolicy) {
    const Rule rule = limited(Rate::Scope::source);
    use({rule});
    for (unsigned i = 0; i < 3; ++i) in(syn_from(1, 100 + i));
    use({rule});
    EXPECT_FALSE(in(syn_from(1, 200)));
    use({limited(Rate::Scope::source)});  // another rule, another bucket
    EXPECT_TRUE(in(syn_from(1, 200)));
}

TEST_F(Rates, AFullTableRefusesAndOnePeerCannotFillItForOthers) {
    use({limited(Rate::Scope::source, 1, 1)});
    bool full = false;
    for (unsigned i = 0; i < 4000; ++i) {
        PacketSpec packet = spec(kIn, 6, 100, 22);
        packet.from = v4(10, 9, i >> 8, i & 255);
        packet.flags = kSyn;
        full |= why(kIn, build(packet)) == "policy_rates_full";
    }
    EXPECT_TRUE(full);
    unsigned refused = 0;
    for (unsigned peer = 0; peer < 100; ++peer) refused += in(syn_from(peer, 100), 1000 + peer) ? 0 : 1;
    EXPECT_LE(refused, 3U);
    now += seconds(61);  // every bucket is full again: its place is free
    EXPECT_TRUE(in(syn_from(200, 100)));
}

// --- limits

struct Small : GateTest {
    Small() : GateTest(32) {}
};

TEST_F(Small, AFullTableDeniesWhatIsNewAndCounts) {
    use({allow_in()});
    for (unsigned i = 0; i < 32; ++i) {
        ASSERT_TRUE(in(udp(kIn, 1000 + i)));
        ASSERT_TRUE(out(udp(kOut, 1000 + i)));
    }
    EXPECT_EQ(why(kIn, udp(kIn, 5000)), "policy_flows_full");
    EXPECT_TRUE(in(udp(kIn, 1000)));
}

TEST_F(Small, APeersFlowsAreLimited) {
    RuleSet set = rule_set({allow_in()});
    set.flows_per_peer = 4;
    use(set);
    for (unsigned i = 0; i < 4; ++i) {
        ASSERT_TRUE(in(udp(kIn, 1000 + i)));
        ASSERT_TRUE(out(udp(kOut, 1000 + i)));
    }
    EXPECT_EQ(why(kIn, udp(kIn, 5000)), "policy_peer_flows_full");
    PacketSpec packet = spec(kIn, 17, 1, 53);
    packet.from = v4(10, 0, 0, 77);
    EXPECT_TRUE(in(build(packet), kOther));
}

TEST_F(Small, OneWorkerAfterTheOtherIsOneFlow) {
    use({allow_in()});
    Gate second(1, counters);
    EXPECT_EQ(judge(kIn, udp(kIn), kPeer, &gate), Verdict::pass);
    EXPECT_EQ(judge(kOut, udp(kOut), kPeer, &second), Verdict::pass);
    EXPECT_EQ(judge(kIn, udp(kIn), kPeer, &second), Verdict::pass);
    EXPECT_EQ(tables->flows->size(), 1U);
    EXPECT_EQ(policy->counts(0).packets, 3U);
}

// The memo of the last flow must notice that it is gone, changed hands or became another.
TEST_F(Small, TheMemoIsOnlyAMemo) {
    use({allow_in({udp_port(53)})});
    EXPECT_TRUE(in(udp(kIn)));
    EXPECT_TRUE(in(udp(kIn)));
    now += seconds(31);
    use(nothing());
    EXPECT_EQ(why(kIn, udp(kIn)), "policy_no_rule");
    use({allow_in({udp_port(53)})});
    EXPECT_TRUE(in(udp(kIn)));
    EXPECT_FALSE(out(udp(kOut), kOther));
    EXPECT_TRUE(in(udp(kIn)));
    EXPECT_TRUE(out(udp(kOut)));
}

// --- observe, counters, log

TEST_F(Gates, ARuleThatObservesCountsAndLogsAndStopsNothing) {
    Rule deny = rule(Action::deny, kIn, {tcp_port(22)});
    deny.observe = deny.log = true;
    use({deny, allow_in()});
    EXPECT_TRUE(in(tcp(kIn, kSyn)));
    EXPECT_EQ(policy->counts(0).would_be, 1U);
    EXPECT_EQ(policy->counts(0).denied, 0U);
    EXPECT_EQ(policy->counts(1).flows, 1U);
    const auto records = logged();
    ASSERT_EQ(records.size(), 1U);
    EXPECT_TRUE(records[0].would_be);
    EXPECT_EQ(records[0].rule, 0U);
}

TEST_F(Gates, APolicyThatObservesStopsNothingAndSaysWhatItWouldHave) {
    RuleSet set = rule_set({});
    set.observe = true;
    use(set);
    EXPECT_TRUE(in(tcp(kIn, kSyn)));
    EXPECT_TRUE(out(tcp(kOut, kSynAck)));  // of a flow: said once
    EXPECT_TRUE(in(tcp(kIn, kAck, 40001)));
    EXPECT_EQ(counters[Counter::policy_would_deny], 2U);
    EXPECT_EQ(policy->counts(Policy::kNoRule).would_be, 2U);
    const auto records = logged();
    ASSERT_EQ(records.size(), 2U);
    EXPECT_TRUE(records[0].would_be);
    EXPECT_EQ(records[1].reason, Counter::policy_no_flow);
    set.observe = false;
    use(set);
    EXPECT_EQ(why(kIn, tcp(kIn, kAck)), "policy_flow_cut");
}

TEST_F(Gates, RulesCountWhatTheyDo) {
    Rule deny = rule(Action::deny, kIn, {tcp_port(23)});
    use({allow_in({tcp_port(22)}), deny});
    in(tcp(kIn, kSyn));
    out(tcp(kOut, kSynAck));
    in(tcp(kIn, kSyn, 1, 23));
    in(tcp(kIn, kSyn, 1, 24));
    EXPECT_EQ(policy->counts(0).flows, 1U);
    EXPECT_EQ(policy->counts(0).packets, 2U);
    EXPECT_EQ(policy->counts(0).bytes, 100U);
    EXPECT_EQ(policy->counts(1).denied, 1U);
    EXPECT_EQ(policy->counts(Policy::kNoRule).denied, 1U);
}

TEST_F(Gates, ALogSaysWhoWhatAndWhy) {
    Rule deny = rule(Action::deny, kIn, {tcp_port(23)}), allow = allow_in({tcp_port(22)});
    deny.log = allow.log = true;
    use({allow, deny});
    in(tcp(kIn, kSyn));
    in(tcp(kIn, kSyn));  // no new flow
    in(tcp(kIn, kSyn, 1, 23));
    in(tcp(kIn, kSyn, 1, 24));
    const auto records = logged();
    ASSERT_EQ(records.size(), 3U);
    EXPECT_EQ(records[0].verdict, Verdict::pass);
    EXPECT_EQ(records[0].rule, 0U);
    EXPECT_EQ(records[0].port, 22);
    EXPECT_EQ(records[0].peer, kPeer);
    EXPECT_EQ(records[0].generation, policy->generation());
    EXPECT_EQ(records[0].key.remote, remote.bytes);
    EXPECT_EQ(records[1].rule, 1U);
    EXPECT_EQ(records[1].reason, Counter::policy_denied);
    EXPECT_EQ(records[2].rule, Policy::kNoRule);
    EXPECT_EQ(records[2].reason, Counter::policy_no_rule);
}

// Over 100 MB an hour for one expired certificate (Nebula #1095).
TEST_F(Gates, AFloodOfDenialsIsNoFloodOfLogs) {
    use(nothing());
    for (int i = 0; i < 50000; ++i) in(udp(kIn, 1 + static_cast<unsigned>(i) % 60000));
    EXPECT_LE(logged().size(), kLogRecordsPerSecond);
    EXPECT_GE(counters[Counter::policy_log_suppressed], 50000U - kLogRecordsPerSecond);
    now += seconds(1);
    for (int i = 0; i < 1000; ++i) in(udp(kIn));
    EXPECT_LE(logged().size(), kLogRecordsPerSecond);
    EXPECT_EQ(counters[Counter::policy_no_rule], 51000U);
}

// Packets that were dropped only while somebody looked (Nebula #239).
TEST_F(Gates, LoggingChangesNoVerdict) {
    for (std::uint64_t seed = 1; seed < 6; ++seed) {
        RandomRules random_rules(seed);
        RuleSet quiet = random_rules.rules(30, 1);
        for (Rule& one : quiet.rules) one.rate.reset();
        RuleSet loud = quiet;
        quiet.log_default = false;
        for (Rule& one : loud.rules) one.log = true;
        std::vector<Verdict> verdicts[2];
        for (int pass = 0; pass < 2; ++pass) {
            tables = std::move(*Tables::make(4096, 2, random));
            gate.~Gate();
            new (&gate) Gate(0, counters);
            use(pass == 0 ? quiet : loud);
            RandomRules packets(seed + 100);
            for (int i = 0; i < 400; ++i) {
                PacketSpec packet;
                packet.v6 = packets.chance(50);
                packet.from = packets.address(packet.v6);
                packet.to = packets.address(packet.v6);
                packet.protocol = 17;
                packet.destination_port = packets.port();
                verdicts[pass].push_back(
                    judge(packets.chance(50) ? kIn : kOut, build(packet), packets.below(6)));
            }
        }
        EXPECT_EQ(verdicts[0], verdicts[1]);
    }
}

// --- explain

TEST_F(Gates, ExplainSaysWhatTheGateWouldAndChangesNothing) {
    Rule limited = allow_in({tcp_port(22)});
    limited.rate = Rate{1, seconds(60), 1, Rate::Scope::source};
    Rule reject = rule(Action::reject, kIn, {tcp_port(25)});
    use({limited, reject});
    const Subject peer{kPeer, policy->class_of(peer_keys(kPeer))};
    FlowKey key;
    key.remote = remote.bytes;
    key.local = local.bytes;
    key.protocol = 6;
    key.remote_port = 40000;
    const auto explain = [&](std::uint16_t port) {
        key.local_port = port;
        return Gate::explain(*policy, *tables, kIn, peer, key, port, now);
    };
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(explain(22).allowed);
        EXPECT_EQ(explain(22).rule, 0U);
    }
    EXPECT_FALSE(explain(22).live);
    EXPECT_TRUE(explain(25).reject);
    EXPECT_EQ(explain(25).rule, 1U);
    EXPECT_EQ(explain(26).reason, Counter::policy_no_rule);
    EXPECT_EQ(tables->flows->size(), 0U);
    EXPECT_TRUE(in(tcp(kIn, kSyn)));
    EXPECT_EQ(explain(22).reason, Counter::policy_rate_limited);
    ASSERT_TRUE(explain(22).live);
    EXPECT_EQ(explain(22).live->state, FlowState::syn_sent);
    EXPECT_EQ(policy->counts(0).limited, 0U);
    EXPECT_TRUE(logged().empty());
}

// --- against the rules read from top to bottom

// Every packet of a stateless view: what the gate lets begin is what the rules allow, and nothing else passes
// but replies of what began.
TEST_F(Gates, AgreesWithTheRulesOverChangesOfPolicy) {
    struct Live {
        Direction began;
        FlowKey key;
        std::uint16_t port;
    };
    std::size_t passed = 0, cut = 0, replies = 0;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        tables = std::move(*Tables::make(1 << 16, 2, random));
        gate.~Gate();
        new (&gate) Gate(0, counters);
        now = Instant(seconds(1000));
        RandomRules draw(seed);
        std::map<std::string, Live> live;  // by the whole tuple and the peer
        for (int round = 0; round < 6; ++round) {
            RuleSet set = draw.rules(40, 1);
            for (Rule& one : set.rules) one.rate.reset();
            use(set);
            for (int i = 0; i < 800; ++i) {
                now += milliseconds(1);
                const Direction direction = draw.chance(50) ? kIn : kOut;
                PacketSpec packet;
                packet.v6 = draw.chance(40);
                packet.protocol = 17;
                packet.payload = 0;
                // A peer an address: the source check has been made.
                const auto peer = draw.below(6);
                const IpAddress away =
                    packet.v6 ? vern::test::v6({0xfd00, 0, 0, 0, 0, 0, 0, static_cast<unsigned>(peer)})
                              : v4(10, 0, 0, static_cast<unsigned>(peer));
                const IpAddress here = draw.address(packet.v6);
                packet.from = direction == kIn ? away : here;
                packet.to = direction == kIn ? here : away;
                packet.source_port = draw.port();
                packet.destination_port = draw.port();
                FlowKey key;
                key.v6 = packet.v6;
                key.protocol = 17;
                key.remote = away.bytes;
                key.local = here.bytes;
                key.remote_port = direction == kIn ? packet.source_port : packet.destination_port;
                key.local_port = direction == kIn ? packet.destination_port : packet.source_port;
                const std::string name =
                    std::string(reinterpret_cast<const char*>(&key), sizeof key) + std::to_string(peer);
                bool expected = false;
                if (const auto at = live.find(name); at != live.end()) {
                    const Live& one = at->second;
                    expected = reference::allowed(policy->rules(), one.began, peer_keys(peer), one.key,
                                                  one.port, now);
                    ++(expected ? replies : cut);
                    if (!expected) live.erase(at);
                } else {
                    expected = reference::allowed(policy->rules(), direction, peer_keys(peer), key,
                                                  packet.destination_port, now);
                    if (expected) live[name] = {direction, key, packet.destination_port};
                }
                ASSERT_EQ(judge(direction, build(packet), peer) == Verdict::pass, expected)
                    << "seed " << seed << " round " << round << " packet " << i;
                passed += expected ? 1 : 0;
            }
        }
    }
    EXPECT_GT(passed, 5000U);
    EXPECT_GT(cut, 100U);
    EXPECT_GT(replies, 300U);
}

}  // namespace
}  // namespace vern::policy
