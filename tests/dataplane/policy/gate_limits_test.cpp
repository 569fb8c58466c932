// Rates of new flows, and how many flows there may be.
#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

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

// In and out alike: what a peer sends through this host is its own, whomever it goes to.
TEST_F(Rates, AFullTableRefusesAndOnePeerCannotFillItForOthers) {
    for (const Direction direction : {kIn, kOut}) {
        Rule rule = limited(Rate::Scope::source, 1, 1);
        rule.direction = direction;
        use({rule});
        const auto syn = [&](unsigned network, unsigned i) {
            PacketSpec packet = spec(direction, 6, 22, 22);
            packet.from = v4(10, network, i >> 8, i & 255);
            packet.flags = kSyn;
            return build(packet);
        };
        const auto from = [&](std::uint64_t peer, const Bytes& packet) {
            out_sender = peer;
            return why(direction, packet, direction == kIn ? peer : kOther);
        };
        unsigned passed = 0;
        for (unsigned i = 0; i < 9000; ++i) passed += from(kPeer, syn(9, i)) == "pass" ? 1 : 0;
        EXPECT_EQ(passed, 1024U);
        EXPECT_EQ(from(kPeer, syn(9, 9000)), "policy_rates_full");
        for (unsigned peer = 0; peer < 500; ++peer) EXPECT_EQ(from(1000 + peer, syn(8, peer)), "pass");
        if (direction == kOut) {
            EXPECT_EQ(from(0, syn(7, 0)), "pass");
        }
        now += seconds(61);  // every bucket is full again: its place is free
        EXPECT_EQ(from(kPeer, syn(9, 9000)), "pass");
    }
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

}  // namespace
}  // namespace vern::policy
