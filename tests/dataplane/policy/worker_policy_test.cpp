// The gate where it stands: between two devices, on the packets' real way.
#include "../core/two_devices.h"
#include "policies.h"

namespace vern {
namespace {

using namespace vern::test;
using policy::Action;
using policy::Direction;
using policy::Rule;
using policy::RuleSet;
using policy::test::allow_in;
using policy::test::allow_out;
using policy::test::compile;
using policy::test::rule_set;
using policy::test::udp_port;

struct WorkerPolicy : TwoDevices {
    WorkerPolicy() { connect(); }
    void use(vern::test::Host& host, std::vector<Rule> rules) { use(host, rule_set(std::move(rules))); }
    void use(vern::test::Host& host, RuleSet set) {
        set.generation = ++generation;
        ASSERT_TRUE(host.device.set_policy(compile(std::move(set))));
        host.device.dispose(host.device.take_retired());
    }
    PacketSpec from_a(std::uint8_t protocol = 17, std::uint16_t port = 5000) const {
        PacketSpec spec;
        spec.from = a.address;
        spec.to = b.address;
        spec.protocol = protocol;
        spec.destination_port = port;
        return spec;
    }
    PacketSpec from_b(std::uint8_t protocol = 17, std::uint16_t source_port = 5000) const {
        PacketSpec spec;
        spec.from = b.address;
        spec.to = a.address;
        spec.protocol = protocol;
        spec.source_port = source_port;
        spec.destination_port = 4000;
        return spec;
    }
    // From a's stack to b's: how many packets arrived.
    std::size_t send(vern::test::Host& from, vern::test::Host& to, const PacketSpec& spec) {
        from.tun(build(spec));
        net.settle();
        return to.take_written().size();
    }
    // What b is told of a peer.
    void limit(const vern::test::Host& peer, Instant until) { limit(b, peer, until); }
    static void limit(vern::test::Host& host, const vern::test::Host& peer, Instant until) {
        const IdentityLimit one{peer.public_key, until};
        host.device.set_identity_limits({&one, 1});
    }
    std::uint32_t generation = 0;
};

TEST_F(WorkerPolicy, WithoutAPolicyEverythingPasses) {
    EXPECT_EQ(send(a, b, from_a()), 1U);
    EXPECT_EQ(send(b, a, from_b()), 1U);
    EXPECT_EQ(a.device.policy_generation(), 0U);
    EXPECT_TRUE(a.device.policy_counts().empty());
}

TEST_F(WorkerPolicy, APolicyWithoutRulesDeniesEverythingBothWays) {
    use(b, std::vector<Rule>{});
    EXPECT_EQ(send(a, b, from_a()), 0U);
    EXPECT_EQ(b.count(Counter::policy_no_rule), 1U);
    EXPECT_EQ(send(b, a, from_b()), 0U);
    EXPECT_EQ(b.count(Counter::policy_no_rule), 2U);
    EXPECT_TRUE(b.take_sent().empty());
    ASSERT_TRUE(b.device.set_policy(nullptr));
    EXPECT_EQ(send(a, b, from_a()), 1U);
    EXPECT_EQ(send(b, a, from_b()), 1U);
}

TEST_F(WorkerPolicy, InAndOutAreJudgedAsWhatTheyAre) {
    use(b, {allow_in({udp_port(5000)})});
    EXPECT_EQ(send(a, b, from_a()), 1U);
    EXPECT_EQ(send(b, a, from_b()), 1U);  // a reply
    EXPECT_EQ(send(a, b, from_a(17, 5001)), 0U);
    EXPECT_EQ(send(b, a, from_b(17, 5001)), 0U);
    use(a, {allow_out({udp_port(5000)})});
    EXPECT_EQ(send(a, b, from_a()), 1U);
    EXPECT_EQ(send(b, a, from_b()), 1U);
    EXPECT_EQ(send(a, b, from_a(17, 5001)), 0U);
    EXPECT_EQ(a.worker().gate().refused(Direction::out), 1U);
    EXPECT_EQ(a.worker().gate().refused(Direction::in), 0U);
}

TEST_F(WorkerPolicy, APolicyMayNameThePeer) {
    RuleSet set = rule_set({allow_in()});
    set.peer_sets = {{b.public_key}};
    set.rules[0].peers = 0;
    use(b, set);
    EXPECT_EQ(send(a, b, from_a()), 0U);
    set.peer_sets = {{a.public_key}};
    use(b, set);
    EXPECT_EQ(send(a, b, from_a()), 1U);
    set.peer_sets = {{}};
    use(b, set);
    EXPECT_EQ(send(a, b, from_a()), 0U);
    EXPECT_EQ(b.count(Counter::policy_flow_cut), 1U);
}

// Whoever was to say so by new rules does not come to it.
TEST_F(WorkerPolicy, NothingPassesOfAPeerWhoseIdentityIsOver) {
    use(b, {allow_in({udp_port(5000)})});
    EXPECT_EQ(send(a, b, from_a()), 1U);
    limit(a, b.now + std::chrono::seconds(1));
    EXPECT_EQ(send(a, b, from_a()), 1U);
    net.advance(std::chrono::seconds(1));
    EXPECT_EQ(send(a, b, from_a()), 0U);
    EXPECT_EQ(send(b, a, from_b()), 0U);
    EXPECT_EQ(b.count(Counter::policy_identity_over), 2U);
    limit(a, Instant::max());
    EXPECT_EQ(send(b, a, from_b()), 1U);  // what it had begun goes on
    EXPECT_EQ(send(a, b, from_a()), 1U);
    EXPECT_EQ(b.count(Counter::policy_flow_cut), 0U);
    limit(b, Instant{});  // no peer of its own
    EXPECT_EQ(send(a, b, from_a()), 1U);
}

// Nebula #1779: the flow table was asked before the source was checked.
TEST_F(WorkerPolicy, TheSourceIsCheckedBeforeTheFlows) {
    const IpAddress other = v4(10, 0, 0, 77);
    use(b, {allow_out()});
    Host c{3};
    b.add(c);
    PeerChange more;
    more.public_key = c.public_key;
    more.allowed_ips.push_back({{other, 32}});
    b.change(std::move(more));
    PacketSpec to_c = from_b();
    to_c.to = other;
    b.tun(build(to_c));  // waits for a session with c; the flow is there
    ASSERT_EQ(b.device.flow_count(), 1U);
    PacketSpec forged = from_a();
    forged.from = other;  // a speaks as if it were c, in c's flow
    std::swap(forged.source_port, forged.destination_port);
    forged.source_port = 4000;
    forged.destination_port = 5000;
    EXPECT_EQ(send(a, b, forged), 0U);
    EXPECT_EQ(b.count(Counter::inner_source), 1U);
    EXPECT_EQ(b.worker().gate().refused(Direction::in), 0U);
    EXPECT_EQ(b.device.flow_count(), 1U);
}

TEST_F(WorkerPolicy, ARemovedPeersFlowsAreNotThoseOfItsSuccessor) {
    use(b, {allow_out()});
    EXPECT_EQ(send(b, a, from_b()), 1U);
    EXPECT_EQ(send(a, b, from_a()), 1U);  // the reply
    PeerChange remove;
    remove.public_key = a.public_key;
    remove.remove = true;
    b.change(std::move(remove));
    b.add(a);  // the same key, another peer
    a.change([&] {
        PeerChange again;
        again.public_key = b.public_key;
        again.remove = true;
        return again;
    }());
    a.add(b);
    EXPECT_EQ(send(a, b, from_a()), 0U);
    EXPECT_EQ(b.count(Counter::policy_no_rule), 1U);
    EXPECT_EQ(b.device.flow_count(), 0U);
}

TEST_F(WorkerPolicy, APrefixThatMovesTakesNoFlowsAlong) {
    use(b, {allow_out()});
    EXPECT_EQ(send(b, a, from_b()), 1U);
    Host c{3};
    b.add(c);
    PeerChange moves;
    moves.public_key = c.public_key;
    moves.allowed_ips.push_back({{a.address, 32}});
    b.change(std::move(moves));
    b.tun(build(from_b()));  // now to c: a flow anew
    policy::Flow flow;
    std::size_t cursor = 0;
    ASSERT_EQ(b.device.copy_flows(cursor, {&flow, 1}, b.now), 1U);
    EXPECT_EQ(b.device.public_key_of(flow.peer), c.public_key);
    EXPECT_EQ(b.device.flow_count(), 1U);
}

TEST_F(WorkerPolicy, AChangeOfPolicyCountsFromTheNextTurn) {
    use(b, {allow_in()});
    EXPECT_EQ(send(a, b, from_a()), 1U);
    const Datagram late = [&] {
        a.tun(build(from_a()));
        return only(a);
    }();
    use(b, std::vector<Rule>{});
    b.receive(late.bytes, a.endpoint);
    EXPECT_TRUE(b.take_written().empty());
    EXPECT_EQ(b.count(Counter::policy_flow_cut), 1U);
}

TEST_F(WorkerPolicy, AStagedPacketIsJudgedAgainWhenThePolicyHasChanged) {
    Host c{3}, d{4};
    c.add(d);
    d.add(c);
    vern::test::Network other({&c, &d});
    use(c, {allow_out()});
    c.send_to(d);
    EXPECT_EQ(c.device.flow_count(), 1U);
    use(c, std::vector<Rule>{});
    other.settle();
    EXPECT_TRUE(d.take_written().empty());
    EXPECT_EQ(c.count(Counter::policy_flow_cut), 1U);
    use(c, {allow_out()});
    c.now += seconds(200);
    d.now += seconds(200);
    c.send_to(d);  // and passes when it may still: without another token or another packet counted
    other.settle();
    EXPECT_EQ(d.take_written().size(), 1U);
    EXPECT_EQ(c.device.policy_counts()[0].packets, 1U);
}

TEST_F(WorkerPolicy, AStagedPacketDoesNotOutliveItsPeersIdentity) {
    Host c{3}, d{4};
    c.add(d);
    d.add(c);
    vern::test::Network other({&c, &d});
    use(c, {allow_out()});
    c.send_to(d);
    limit(c, d, c.now);  // it was taken back meanwhile
    other.settle();
    EXPECT_TRUE(d.take_written().empty());
    EXPECT_EQ(c.count(Counter::policy_identity_over), 1U);
}

TEST_F(WorkerPolicy, KeepalivesAndHandshakesAreNoPolicysBusiness) {
    use(a, std::vector<Rule>{});
    use(b, std::vector<Rule>{});
    PeerChange keepalive;
    keepalive.public_key = b.public_key;
    keepalive.persistent_keepalive_s = 5;
    a.change(std::move(keepalive));
    const auto before = session(a, b);
    net.run(seconds(200));
    EXPECT_NE(session(a, b), before);
    EXPECT_NE(session(b, a), nullptr);
    EXPECT_TRUE(b.take_written().empty());
    EXPECT_EQ(b.worker().gate().refused(Direction::in), 0U);
}

TEST_F(WorkerPolicy, ASuperpacketIsJudgedOnce) {
    use(a, {allow_out()});
    PacketSpec spec = from_a(6);
    spec.flags = tcp::kSyn;
    EXPECT_EQ(send(a, b, spec), 1U);
    spec = from_b(6);
    spec.flags = tcp::kSyn | tcp::kAck;
    EXPECT_EQ(send(b, a, spec), 1U);
    spec = from_a(6);
    spec.payload = 5000;
    Bytes whole = build(spec);
    leave_partial_checksum(whole, spec);
    a.tun(whole, superpacket_header(spec, 1000));
    net.settle();
    EXPECT_EQ(b.take_written().size(), 5U);
    EXPECT_EQ(a.device.policy_counts()[0].packets, 7U);
    spec.destination_port = 5001;
    whole = build(spec);
    leave_partial_checksum(whole, spec);
    a.tun(whole, superpacket_header(spec, 1000));
    net.settle();
    EXPECT_TRUE(b.take_written().empty());
    EXPECT_EQ(a.worker().gate().refused(Direction::out), 1U);
}

// Nebula #1798: the answers to packets from outside went to the host's own stack and the other way round.
TEST_F(WorkerPolicy, ARejectedPacketIsAnsweredToWhoSentIt) {
    Rule reject_in = policy::test::rule(Action::reject, Direction::in),
         reject_out = policy::test::rule(Action::reject, Direction::out);
    use(b, {reject_in});
    PacketSpec syn = from_a(6);
    syn.flags = tcp::kSyn;
    a.tun(build(syn));
    b.receive(only(a).bytes, a.endpoint);
    EXPECT_TRUE(b.take_written().empty()) << "not to the host's own stack";
    const auto sent = b.take_sent();
    ASSERT_EQ(sent.size(), 1U);
    a.receive(sent[0].bytes, b.endpoint);
    const auto answered = a.take_written();
    ASSERT_EQ(answered.size(), 1U);
    EXPECT_EQ(answered[0].packet[33], std::byte{tcp::kRst | tcp::kAck});
    EXPECT_EQ(std::memcmp(&answered[0].packet[16], a.address.bytes.data(), 4), 0);
    EXPECT_EQ(b.count(Counter::policy_rejected), 1U);

    use(a, {reject_out});
    a.tun(build(from_a()));
    EXPECT_TRUE(a.take_sent().empty()) << "not into the tunnel";
    const auto written = a.take_written();
    ASSERT_EQ(written.size(), 1U);
    EXPECT_EQ(written[0].packet[20], std::byte{3});
    EXPECT_EQ(written[0].packet[21], std::byte{13});
    EXPECT_EQ(std::memcmp(&written[0].packet[16], a.address.bytes.data(), 4), 0);
    EXPECT_EQ(std::memcmp(&written[0].packet[12], b.address.bytes.data(), 4), 0);
}

// Of a length that needs no padding, and is not short.
TEST_F(WorkerPolicy, EachRejectedPacketOfATurnIsAnsweredWithItself) {
    use(b, {policy::test::rule(Action::reject, Direction::in)});
    PacketSpec packet = from_a();
    packet.payload = 248;
    Bytes train;
    for (packet.destination_port = 5000; packet.destination_port < 5004; ++packet.destination_port) {
        a.tun(build(packet));
        const Bytes bytes = only(a).bytes;
        train.insert(train.end(), bytes.begin(), bytes.end());
    }
    b.receive(train, a.endpoint, train.size() / 4);
    std::uint16_t port = 5000;
    for (const auto& answer : b.take_sent()) {
        a.receive(answer.bytes, b.endpoint);
        const auto answered = a.take_written();
        ASSERT_EQ(answered.size(), 1U);
        ASSERT_EQ(answered[0].packet.size(), 304U);
        EXPECT_EQ(load_be16(&answered[0].packet[28 + 20 + 2]), port++);
    }
    EXPECT_EQ(port, 5004);
}

TEST_F(WorkerPolicy, AnswersAreLimited) {
    use(a, {policy::test::rule(Action::reject, Direction::out)});
    for (int i = 0; i < 200; ++i) a.tun(build(from_a()));
    EXPECT_EQ(a.take_written().size(), 32U);
    EXPECT_EQ(a.count(Counter::policy_reject_limited), 168U);
    Bytes packet = build(from_a());
    a.turn([&](Worker& worker) {
        a.now += seconds(10);
        for (int i = 0; i < 30; ++i) worker.from_tun({{}, packet}, a.outlet);
    });
    EXPECT_EQ(a.count(Counter::policy_denied), 230U);
    a.turn([&](Worker& worker) {
        for (int i = 0; i < 30; ++i) worker.from_tun({{}, packet}, a.outlet);
    });
    EXPECT_EQ(a.take_written().size(), 16U);  // that fit into a turn
}

// Else keys that come and go would fill the table with what nobody can end.
TEST_F(WorkerPolicy, FlowsOfAPeerThatIsGoneGoToo) {
    use(b, {allow_in()});
    EXPECT_EQ(send(a, b, from_a(17, 5000)), 1U);
    EXPECT_EQ(send(b, a, from_b(17, 5000)), 1U);
    vern::test::Host c(3);
    b.add(c);
    ASSERT_EQ(b.device.flow_count(), 1U);
    const auto remove = [&](const vern::test::Host& host) {
        PeerChange gone;
        gone.public_key = host.public_key;
        gone.remove = true;
        b.change(std::move(gone));
    };
    remove(c);
    for (int i = 0; i < 20; ++i) {
        b.now += seconds(1);
        b.service();
    }
    EXPECT_EQ(b.device.flow_count(), 1U) << "it was another";
    remove(a);
    for (int i = 0; i < 20; ++i) {
        b.now += seconds(1);
        b.service();
    }
    EXPECT_EQ(b.device.flow_count(), 0U);
}

TEST_F(WorkerPolicy, TheDeviceSweepsAndExplains) {
    use(b, {allow_in({udp_port(5000)})});
    EXPECT_EQ(send(a, b, from_a()), 1U);
    policy::FlowKey key;
    key.remote = a.address.bytes;
    key.local = b.address.bytes;
    key.protocol = 17;
    key.remote_port = 4000;
    key.local_port = 5000;
    const auto explanation = b.device.explain(Direction::in, a.public_key, key, 5000, b.now);
    ASSERT_TRUE(explanation);
    EXPECT_TRUE(explanation->allowed);
    EXPECT_TRUE(explanation->live);
    EXPECT_FALSE(b.device.explain(Direction::in, b.public_key, key, 5000, b.now));
    net.run(seconds(60));
    EXPECT_EQ(b.device.flow_count(), 0U);
    // What was logged is there for who asks.
    EXPECT_EQ(send(a, b, from_a(17, 1)), 0U);
    policy::LogRecord record;
    ASSERT_TRUE(b.device.next_policy_log(0, record));
    EXPECT_EQ(record.port, 1);
    EXPECT_EQ(record.reason, Counter::policy_no_rule);
    EXPECT_FALSE(b.device.next_policy_log(0, record));
}

TEST_F(WorkerPolicy, FlowsArePickedUpAfterTheStart) {
    b.device.pick_up_flows(b.now);
    use(b, {allow_in()});
    EXPECT_EQ(send(a, b, from_a(6)), 1U);
    net.advance(seconds(60));
    EXPECT_EQ(send(a, b, from_a(6, 5001)), 0U);
    EXPECT_EQ(b.count(Counter::policy_picked_up), 1U);
}

// A checksum that is to be filled in is written anywhere its fields say, behind the back of who judged.
TEST_F(WorkerPolicy, AChecksumIsWrittenNowhereElse) {
    use(a, {allow_out({udp_port(5000)})});
    const auto passes = [&](std::uint16_t start, std::uint16_t offset) {
        Bytes packet = build(from_a());
        VnetHeader header;
        header.flags = VnetHeader::kNeedsChecksum;
        header.checksum_start = start;
        header.checksum_offset = offset;
        const std::uint64_t before = a.count(Counter::tun_gso);
        a.tun(std::move(packet), header);
        net.settle();
        const bool passed = b.take_written().size() == 1;
        EXPECT_EQ(a.count(Counter::tun_gso), before + (passed ? 0 : 1));
        return passed;
    };
    for (std::uint16_t offset = 0; offset < 9; ++offset) EXPECT_EQ(passes(20, offset), offset == 6) << offset;
    EXPECT_FALSE(passes(24, 0)) << "within the header";
    EXPECT_TRUE(passes(28, 4)) << "of what it carries";
    EXPECT_TRUE(passes(40, 16));
    ASSERT_TRUE(a.device.set_policy(nullptr));
    EXPECT_TRUE(passes(20, 2)) << "without a policy nobody has judged anything";
}

TEST_F(WorkerPolicy, ASuperpacketIsCutAsWhatItWasJudged) {
    a.device.pick_up_flows(a.now);
    use(a, {allow_out()});
    PacketSpec spec = from_a(6);
    spec.payload = 3000;
    Bytes packet = build(spec);
    leave_partial_checksum(packet, spec);
    a.tun(packet, superpacket_header(spec, 1000));
    EXPECT_EQ(a.take_sent().size(), 3U);
    use(a, {allow_out({udp_port(5000)})});
    spec = from_a();
    spec.payload = 3000;
    packet = build(spec);
    leave_partial_checksum(packet, spec);
    a.tun(packet, superpacket_header(spec, 1000));
    EXPECT_EQ(a.take_sent().size(), 3U);
    VnetHeader header = superpacket_header(from_a(6), 1000);  // UDP that says that it is TCP
    a.tun(packet, header);
    EXPECT_TRUE(a.take_sent().empty());
}

// Through a hub: what goes to a peer is on the account of the peer that began it.
TEST_F(WorkerPolicy, NobodyUsesUpWhatIsAnothersByWritingToHim) {
    vern::test::Host c(3);
    a.add(c);
    RuleSet set = rule_set({allow_in(), allow_out()});
    set.flows_per_peer = 4;
    use(a, set);
    const auto passed = [&](Direction direction, const IpAddress& from, const IpAddress& to,
                            std::uint16_t port) {
        PacketSpec spec;
        spec.protocol = 17;
        spec.from = from;
        spec.to = to;
        spec.destination_port = port;
        const auto before = a.worker().gate().refused(direction);
        if (direction == Direction::out)
            a.tun(build(spec));
        else
            b.tun(build(spec));
        net.settle();
        a.take_written();
        a.take_sent();
        return a.worker().gate().refused(direction) == before;
    };
    for (std::uint16_t port = 1; port <= 4; ++port)
        EXPECT_TRUE(passed(Direction::out, c.address, b.address, port));
    EXPECT_FALSE(passed(Direction::out, c.address, b.address, 5)) << "c has all that it may have";
    EXPECT_EQ(a.count(Counter::policy_peer_flows_full), 1U);
    for (std::uint16_t port = 1; port <= 4; ++port) {
        const auto ten = static_cast<std::uint16_t>(10 + port);
        EXPECT_TRUE(passed(Direction::out, a.address, b.address, ten)) << "this host's own";
    }
    EXPECT_FALSE(passed(Direction::out, a.address, b.address, 15));
    EXPECT_TRUE(passed(Direction::in, b.address, a.address, 22)) << "b has begun nothing yet";
}

TEST_F(WorkerPolicy, ARetiredPolicyIsHandedOut) {
    ASSERT_TRUE(b.device.set_policy(compile(rule_set({}, 1))));
    b.device.dispose(b.device.take_retired());
    EXPECT_TRUE(b.device.take_retired().empty());
    ASSERT_TRUE(b.device.set_policy(compile(rule_set({}, 2))));
    auto retired = b.device.take_retired();
    EXPECT_FALSE(retired.empty());
    b.device.dispose(std::move(retired));
    EXPECT_EQ(b.device.policy_generation(), 2U);
}

}  // namespace
}  // namespace vern
