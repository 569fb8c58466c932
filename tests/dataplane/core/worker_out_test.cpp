// From the TUN device to the underlay.
#include <set>

#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

struct WorkerOut : TwoDevices {};

// A UDP packet has 28 bytes of headers; a message 32 bytes of its own.
TEST_F(WorkerOut, PaddedTo16AndNeverOverTheMtu) {
    connect();
    const auto message = [&](std::size_t packet) {
        a.send_to(b, packet - 28);
        return only(a).bytes.size() - kDataOverheadBytes;
    };
    for (std::size_t size = 28; size <= 1408; ++size) ASSERT_EQ(message(size), (size + 15) / 16 * 16) << size;
    for (std::size_t size = 1409; size <= 1420; ++size) ASSERT_EQ(message(size), 1420U) << size;
    EXPECT_EQ(message(1421), 1436U);  // it shrank meanwhile: as an MTU-sized part and a part of one byte
    EXPECT_EQ(message(2840), 2840U);
    a.device.set_mtu(1280);
    EXPECT_EQ(message(1279), 1280U);
    EXPECT_EQ(message(1280), 1280U);
    a.device.set_mtu(100);
    EXPECT_EQ(message(97), 100U);
    a.device.set_mtu(0);
    EXPECT_EQ(message(97), 112U);
}

TEST_F(WorkerOut, PaddingIsZero) {
    connect();
    a.send_to(b, 1);
    Datagram sent = only(a);
    Session& session = *TwoDevices::session(b, a);
    aead::OpenJob job{session.receiving.span().data(), sent.counter(), &sent.bytes[16],
                      static_cast<std::uint32_t>(sent.bytes.size() - 32), false};
    aead::best().open({&job, 1});
    ASSERT_TRUE(job.authentic);
    ASSERT_EQ(job.length, 32U);
    EXPECT_EQ(sent.bytes[16 + 29], std::byte{0});
    EXPECT_EQ(sent.bytes[16 + 31], std::byte{0});
}

TEST_F(WorkerOut, CountersRiseByOneAndNeverRepeat) {
    connect();
    std::uint64_t last = session(a, b)->next_counter - 1;
    Bytes packet = udp_packet(a.address, b.address, 10);
    for (int i = 0; i < 50; ++i) {
        a.turn([&](Worker& w) {
            for (int k = 0; k < 7; ++k) w.from_tun({{}, packet}, a.outlet);
        });
        for (const Datagram& datagram : a.take_sent()) EXPECT_EQ(datagram.counter(), ++last);
    }
}

TEST_F(WorkerOut, EqualPacketsOfATurnLeaveInOneTrain) {
    connect();
    std::vector<Bytes> packets;
    for (unsigned i = 0; i < 10; ++i)
        packets.push_back(udp_packet(a.address, b.address, i == 9 ? 50 : 100, i));
    packets.push_back(udp_packet(a.address, b.address, 50));   // behind a short one nothing joins
    packets.push_back(udp_packet(a.address, b.address, 100));  // nor a longer one
    a.turn([&](Worker& w) {
        for (Bytes& packet : packets) w.from_tun({{}, packet}, a.outlet);
    });
    ASSERT_EQ(a.outlet.trains.size(), 3U);
    EXPECT_EQ(a.outlet.trains[0].bytes.size(), 9 * 160U + 112);
    EXPECT_EQ(a.outlet.trains[0].segment_bytes, 160U);
    net.settle();
    const auto out = b.take_written();
    ASSERT_EQ(out.size(), packets.size());
    for (std::size_t i = 0; i < packets.size(); ++i) EXPECT_EQ(out[i].packet, packets[i]);
}

TEST_F(WorkerOut, TrainsKeepTheLimitsOfASend) {
    connect();
    std::vector<Bytes> packets(200, udp_packet(a.address, b.address, 20));
    a.turn([&](Worker& w) {
        for (Bytes& packet : packets) w.from_tun({{}, packet}, a.outlet);
    });
    EXPECT_EQ(a.outlet.trains.size(), 4U);  // the outlet checks 64 segments and 65507 bytes
    a.take_sent();
    PacketSpec spec;
    spec.from = a.address;
    spec.to = b.address;
    spec.payload = 65000;
    for (const unsigned gso : {100U, 1000U, 1368U, 9000U, 32000U}) {
        Bytes whole = build(spec);
        leave_partial_checksum(whole, spec);
        a.tun(whole, superpacket_header(spec, static_cast<std::uint16_t>(gso)));
        EXPECT_EQ(a.take_sent().size(), (65000U + gso - 1) / gso);
    }
}

TEST_F(WorkerOut, BadPacketsAreCountedByReason) {
    connect();
    for (const Bytes& bytes : {Bytes(), Bytes(19, std::byte{0x45}), Bytes(64, std::byte{0xf0})}) a.tun(bytes);
    EXPECT_EQ(a.count(Counter::tun_malformed), 3U);
    VnetHeader header;
    header.gso_type = VnetHeader::kGsoTcp4;
    a.tun(udp_packet(a.address, b.address, 10), header);
    EXPECT_EQ(a.count(Counter::tun_gso), 1U);
    a.tun(udp_packet(a.address, v4(99, 0, 0, 1), 10));
    EXPECT_EQ(a.count(Counter::tun_no_route), 1U);
    a.tun(udp_packet(a.address, b.address, 65500 - 28));
    EXPECT_EQ(a.count(Counter::tun_too_large), 1U);
    a.outlet.full = true;
    a.send_to(b);
    EXPECT_EQ(a.count(Counter::no_send_buffer), 1U);
    EXPECT_TRUE(a.take_sent().empty());
    a.outlet.full = false;
    a.send_to(b);
    EXPECT_EQ(a.take_sent().size(), 1U);
}

TEST_F(WorkerOut, EcnIsCopiedOutwardsAndNothingElseOfTheTos) {
    connect();
    for (unsigned tos = 0; tos < 256; ++tos) {
        a.send_to(b, 10, 0, static_cast<std::uint8_t>(tos));
        EXPECT_EQ(only(a).tos, tos & 3);
    }
    // Packets with different bits do not share a train.
    Bytes one = udp_packet(a.address, b.address, 10, 0, 1), two = udp_packet(a.address, b.address, 10, 0, 2);
    a.turn([&](Worker& w) {
        w.from_tun({{}, one}, a.outlet);
        w.from_tun({{}, two}, a.outlet);
    });
    EXPECT_EQ(a.outlet.trains.size(), 2U);
}

TEST_F(WorkerOut, ASessionEndsAtTheMessageLimitAndNoNonceIsUsedTwice) {
    connect();
    net.advance(seconds(6));
    session(a, b)->next_counter = kRejectAfterMessages - 2;
    std::vector<Bytes> packets(5, udp_packet(a.address, b.address, 20));
    a.turn([&](Worker& w) {
        for (Bytes& packet : packets) w.from_tun({{}, packet}, a.outlet);
    });
    EXPECT_TRUE(a.outlet.trains.empty());  // five do not fit: the train is given up whole
    EXPECT_EQ(a.count(Counter::session_exhausted), 5U);
    a.send_to(b, 30, 9);
    EXPECT_TRUE(a.outlet.trains.empty());
    a.service();
    EXPECT_EQ(a.sink.sent.size(), 1U);  // a handshake
    net.settle();
    ASSERT_EQ(b.take_written().size(), 1U);
    EXPECT_LT(session(a, b)->next_counter, 10U);
}

TEST_F(WorkerOut, TheLastCountersBelowTheLimitAreUsable) {
    connect();
    net.advance(seconds(6));
    session(a, b)->next_counter = kRejectAfterMessages - 1;
    a.send_to(b);
    const Datagram last = only(a);
    EXPECT_EQ(last.counter(), kRejectAfterMessages - 1);
    b.receive(last.bytes, a.endpoint);
    EXPECT_EQ(b.take_written().size(), 1U);
}

TEST_F(WorkerOut, PacketsWaitForTheSessionInOrder) {
    for (unsigned i = 0; i < 130; ++i) a.send_to(b, 40, i);
    EXPECT_EQ(a.count(Counter::staged_overflow), 2U);
    net.settle();
    const auto out = b.take_written();
    ASSERT_EQ(out.size(), 128U);
    for (unsigned i = 0; i < 128; ++i) EXPECT_EQ(out[i].packet, udp_packet(a.address, b.address, 40, i + 2));
    EXPECT_EQ(count_type(net.log, 1), 1U);
}

TEST_F(WorkerOut, AResponderSendsNothingBeforeItHasHeard) {
    a.send_to(b);
    a.service();
    b.receive(only(a).bytes, a.endpoint);
    b.service();
    a.receive(only(b).bytes, b.endpoint);
    a.service();
    const Datagram first = only(a);
    b.send_to(a, 60, 3);
    EXPECT_TRUE(b.outlet.trains.empty());
    b.receive(first.bytes, a.endpoint);
    EXPECT_EQ(b.outlet.trains.size(), 1U);  // at once, in the same turn
}

TEST_F(WorkerOut, StagedPacketsOfARemovedPeerAreGivenUp) {
    a.send_to(b);
    PeerChange gone;
    gone.public_key = b.public_key;
    gone.remove = true;
    a.change(std::move(gone));
    a.turn([](Worker&) {});
    EXPECT_EQ(a.count(Counter::staged_given_up), 1U);
}

TEST_F(WorkerOut, StagedPacketsDoNotGoToAPeerThatLostThePrefix) {
    a.send_to(b, 100, 1);
    PeerChange other;
    other.public_key = noise::public_key_of(private_key(30));
    other.allowed_ips.push_back({{b.address, 32}});
    a.change(std::move(other));
    net.settle();
    EXPECT_TRUE(b.take_written().empty());
    EXPECT_EQ(a.count(Counter::staged_given_up), 1U);
    // Nothing else was there to tell b that it may send.
    net.settle();
    ASSERT_FALSE(net.log.empty());
    EXPECT_TRUE(net.log.back().is_keepalive());
    EXPECT_NE(session(b, a), nullptr);
}

TEST_F(WorkerOut, EachWorkerStagesAndReleasesItsOwn) {
    Host many(5, 4);
    many.add(b);
    b.add(many);
    for (unsigned i = 0; i < 4; ++i) many.tun(udp_packet(many.address, b.address, 40, i), {}, i);
    Network network{{&many, &b}};
    network.settle();
    EXPECT_EQ(b.take_written().size(), 4U);
    EXPECT_EQ(many.peer(b).staged_by.load(), 0U);
    EXPECT_EQ(count_type(network.log, 1), 1U);
}

TEST_F(WorkerOut, AFullRequestQueueForgetsNobody) {
    Host many(5, 2);
    many.add(b);
    while (many.device.queues(0).attention.push(999'999)) {
    }
    Peer& peer = many.peer(b);
    EXPECT_FALSE(many.device.request(0, peer, Attention::initiate));
    EXPECT_EQ(peer.attention.load(), 0U);
    EXPECT_TRUE(many.device.request(1, peer, Attention::initiate));
}

TEST_F(WorkerOut, RoamedEndpointsAreUsedFromTheNextTurnOn) {
    connect();
    b.endpoint.port = 7777;
    b.send_to(a);
    net.settle();
    a.take_written();
    a.send_to(b, 100, 3);
    net.settle();
    EXPECT_EQ(b.take_written().size(), 1U);
    EXPECT_EQ(a.peer(b).endpoint.port, 7777);
}

// A port is followed at once and always, an address a few times: each may be a neighbour to be looked for.
TEST_F(WorkerOut, AddressesAreFollowedOnceASecond) {
    connect();
    const IpAddress home = b.endpoint.address;
    unsigned followed = 0;
    for (std::uint8_t i = 0; i < 20; ++i) {
        b.endpoint.address = v4(198, 51, 100, i);
        b.endpoint.port = static_cast<std::uint16_t>(6000 + i);
        b.send_to(a);
        net.settle();
        followed += a.peer(b).endpoint.address == b.endpoint.address;
    }
    EXPECT_EQ(followed, 5U);
    EXPECT_EQ(a.count(Counter::endpoint_held), 15U);
    EXPECT_EQ(a.take_written().size(), 20U) << "what it says is heard all the same";
    net.advance(seconds(1));
    b.endpoint.address = home;
    b.send_to(a);
    net.settle();
    EXPECT_EQ(a.peer(b).endpoint.address, home);
    for (std::uint16_t port = 7000; port < 7020; ++port) {
        b.endpoint.port = port;
        b.send_to(a);
        net.settle();
        EXPECT_EQ(a.peer(b).endpoint.port, port);
    }
}

// Where routing sends our datagrams into the tunnel: each is sealed once and not again.
TEST_F(WorkerOut, OurOwnDatagramsAreNotSealedAgain) {
    connect();
    Endpoint inside = b.endpoint;
    inside.address = b.address;
    PeerChange change = b.as_peer();
    change.endpoint = inside;
    a.change(std::move(change));
    a.send_to(b, 500);
    const auto back_into_the_tunnel = [&](const Datagram& sent) {
        PacketSpec spec;
        spec.protocol = 17;
        spec.from = a.address;
        spec.to = sent.to.address;
        spec.destination_port = sent.to.port;
        spec.payload = sent.bytes.size();
        Bytes packet = build(spec);
        std::ranges::copy(sent.bytes, packet.begin() + 28);
        a.tun(std::move(packet));
    };
    const Datagram sent = only(a);
    back_into_the_tunnel(sent);
    EXPECT_TRUE(a.take_sent().empty());
    EXPECT_EQ(a.count(Counter::tun_loop), 1U);
    // Somebody else's WireGuard, behind this host, to the same place: another index.
    Datagram others = sent;
    others.bytes[4] ^= std::byte{1};
    back_into_the_tunnel(others);
    EXPECT_EQ(a.take_sent().size(), 1U);
    others = sent;
    others.to.port ^= 1;
    back_into_the_tunnel(others);
    EXPECT_EQ(a.take_sent().size(), 1U);
    EXPECT_EQ(a.count(Counter::tun_loop), 1U);
    // Handshakes, too.
    net.advance(seconds(125));
    a.send_to(b);
    a.service();
    for (const Datagram& one : a.take_sent()) {
        if (one.type() == 1) back_into_the_tunnel(one);
    }
    EXPECT_EQ(a.count(Counter::tun_loop), 2U);
}

// Every counter that the core can raise is raised by a test: by name, so that a new one is noticed here.
TEST(Counters, AllAreKnownToTheTests) {
    const std::set<std::string_view> not_the_cores{"underlay_truncated", "send_failed", "tun_write_failed"};
    const std::set<std::string_view> needs_a_million_sessions{"handshake_no_memory"};
    const std::set<std::string_view> raised{"underlay_empty",
                                            "underlay_short",
                                            "underlay_length",
                                            "underlay_type",
                                            "unknown_index",
                                            "session_expired",
                                            "replayed",
                                            "bad_tag",
                                            "inner_malformed",
                                            "inner_source",
                                            "inner_ecn",
                                            "tun_malformed",
                                            "tun_gso",
                                            "tun_no_route",
                                            "tun_no_endpoint",
                                            "tun_too_large",
                                            "staged_overflow",
                                            "staged_given_up",
                                            "no_send_buffer",
                                            "session_exhausted",
                                            "handshake_queue_full",
                                            "handshake_bad_mac1",
                                            "handshake_cookie_sent",
                                            "handshake_rate_limited",
                                            "handshake_bad_static",
                                            "handshake_unknown_peer",
                                            "handshake_bad_timestamp",
                                            "handshake_replayed",
                                            "handshake_flood",
                                            "handshake_bad_response",
                                            "handshake_bad_cookie",
                                            "handshake_barred",
                                            "handshake_no_identity",
                                            "underlay_port",
                                            "endpoint_held",
                                            "tun_loop"};
    // Those of the policy are raised by the tests beside it.
    const auto of_policy = [](const CounterInfo& info) { return info.name.starts_with("policy_"); };
    const auto policy_counters = static_cast<std::size_t>(std::ranges::count_if(kCounterInfo, of_policy));
    for (const CounterInfo& info : kCounterInfo)
        EXPECT_EQ(of_policy(info) ? 0U : 1U, not_the_cores.count(info.name) +
                                                 needs_a_million_sessions.count(info.name) +
                                                 raised.count(info.name))
            << info.name;
    EXPECT_EQ(kCounterCount,
              not_the_cores.size() + needs_a_million_sessions.size() + raised.size() + policy_counters);
}

}  // namespace
}  // namespace vern
