// What the gate says of its verdicts: observe mode, counters, log, explanations.
#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

class Reports : public GateTest {};

TEST_F(Reports, ARuleThatObservesCountsAndLogsAndStopsNothing) {
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

TEST_F(Reports, APolicyThatObservesStopsNothingAndSaysWhatItWouldHave) {
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

TEST_F(Reports, RulesCountWhatTheyDo) {
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

TEST_F(Reports, ALogSaysWhoWhatAndWhy) {
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
TEST_F(Reports, AFloodOfDenialsIsNoFloodOfLogs) {
    use(nothing());
    for (int i = 0; i < 50000; ++i) in(udp(kIn, 1 + static_cast<unsigned>(i) % 60000));
    EXPECT_EQ(logged().size(), kLogRecordsPerSecond + kLogRecordsOfPeer);
    EXPECT_EQ(counters[Counter::policy_log_suppressed], 50000U - kLogRecordsPerSecond - kLogRecordsOfPeer);
    now += seconds(1);
    for (int i = 0; i < 1000; ++i) in(udp(kIn));
    EXPECT_EQ(logged().size(), kLogRecordsPerSecond + 1);
    EXPECT_EQ(counters[Counter::policy_no_rule], 51000U);
}

TEST_F(Reports, APeerThatFloodsTheLogKeepsNobodyElseOutOfIt) {
    use(nothing());
    for (int i = 0; i < 10; ++i, now += seconds(1)) {
        for (int j = 0; j < 1000; ++j) in(udp(kIn), kOther);
        logged();
        in(udp(kIn));
        const auto records = logged();
        ASSERT_EQ(records.size(), 1U) << "second " << i;
        EXPECT_EQ(records[0].peer, kPeer);
    }
}

// What it sends through this host to the other is on its own account.
TEST_F(Reports, NorDoesOneThatSendsToAnother) {
    use(nothing());
    for (int i = 0; i < 10; ++i, now += seconds(1)) {
        for (const std::uint64_t sender : {kOther, std::uint64_t{0}}) {
            out_sender = sender;
            for (int j = 0; j < 1000; ++j) out(udp(kOut));
            EXPECT_GT(logged().size(), 0U) << "second " << i;
        }
        in(udp(kIn));
        EXPECT_EQ(logged().size(), 1U) << "second " << i;
    }
}

// Or the reader that comes four times a second would not find all that was to be logged.
TEST_F(Reports, WhatIsToBeLoggedHasRoomUntilItIsRead) {
    use(nothing());
    for (unsigned i = 0; i < 4 * (kLogRecordsOfPeer + 1); ++i)
        for (std::uint64_t peer = 1; peer <= kLogShares; ++peer) in(udp(kIn), peer);
    EXPECT_EQ(logged().size(), kLogShares * kLogRecordsOfPeer + kLogRecordsPerSecond);
}

// Packets that were dropped only while somebody looked (Nebula #239).
TEST_F(Reports, LoggingChangesNoVerdict) {
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

TEST_F(Reports, ExplainSaysWhatTheGateWouldAndChangesNothing) {
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
        return Gate::explain(*policy, *tables, kIn, peer, kPeer, key, port, now);
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

}  // namespace
}  // namespace vern::policy
