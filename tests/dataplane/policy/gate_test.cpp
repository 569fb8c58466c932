// What passes the gate and what does not: flows and their states, changes of policy, and the rules read from
// top to bottom.
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

// What is kept of the rules' answers is kept for whom it was given.
TEST_F(Gates, WhatOnePeerMayAnotherAsksForItself) {
    RuleSet set = rule_set({allow_in({udp_port(53)}), allow_out({udp_port(54)})});
    set.peer_sets = {{peer_keys(kPeer)}};
    for (Rule& rule : set.rules) rule.peers = 0;
    use(std::move(set));
    EXPECT_TRUE(in(udp(kIn, 40000, 53)));
    EXPECT_FALSE(in(udp(kIn, 40001, 53), kOther));
    EXPECT_TRUE(in(udp(kIn, 40002, 53)));
    EXPECT_FALSE(out(udp(kOut, 53, 53)));
    EXPECT_TRUE(out(udp(kOut, 54, 53)));
    EXPECT_FALSE(in(udp(kIn, 40003, 54)));
}

TEST_F(Gates, AFlowIsItsPeers) {
    use({allow_out()});
    EXPECT_TRUE(out(udp(kOut), kPeer));
    // The prefix moved: the address is another peer's now. Nebula #1779 the other way round.
    EXPECT_EQ(why(kIn, udp(kIn), kOther), "policy_no_rule");
    EXPECT_EQ(tables->flows->size(), 0U);  // and what the first one began is over
    EXPECT_FALSE(in(udp(kIn), kPeer));
    EXPECT_EQ(tables->flows->size_of(begun_towards(kPeer)), 0U);
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

TEST_F(Gates, AskingAheadChangesNothing) {
    use({allow_in({tcp_port(22), udp_port(53)})});
    PacketSpec first = spec(kIn, 17, 40000, 53);
    first.fragment = 0x2000;
    first.payload = 16;
    PacketSpec hidden = spec(kIn, 6, 40000, 22);
    hidden.fragment = 1;
    std::vector<Bytes> bytes{tcp(kIn, kSyn),  tcp(kIn, kSyn), udp(kIn),      udp(kIn, 1, 53, true),
                             echo(kIn, true), build(first),   build(hidden), error(kIn, udp(kOut), 3)};
    std::vector<InnerPacket> packets;
    for (Bytes& one : bytes) packets.push_back(*InnerPacket::parse(one));
    gate.begin(policy.get(), tables.get(), now);
    gate.expect(kIn, packets);
    EXPECT_EQ(tables->flows->size(), 0U);
    EXPECT_EQ(why(kIn, tcp(kIn, kAck)), "policy_no_flow");
    EXPECT_TRUE(in(bytes[0]));
    gate.begin(policy.get(), tables.get(), now);
    gate.expect(kIn, packets);
    EXPECT_EQ(tables->flows->size(), 1U);
    EXPECT_TRUE(out(tcp(kOut, kSynAck)));
}

}  // namespace
}  // namespace vern::policy
