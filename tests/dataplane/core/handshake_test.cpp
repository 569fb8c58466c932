// Handshakes between two hosts in memory, and what an attacker may do to them.
#include <set>

#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

struct Handshake : TwoDevices {
    Endpoint elsewhere() const {
        Endpoint other;
        other.address = v4(203, 0, 113, 77);
        other.port = 4444;
        return other;
    }
    // a's initiation, on its way.
    Datagram initiation() {
        a.send_to(b);
        a.service();
        Datagram datagram = only(a);
        EXPECT_EQ(datagram.type(), 1U);
        EXPECT_EQ(datagram.bytes.size(), 148U);
        return datagram;
    }
    Datagram answer(const Datagram& datagram) {
        b.receive(datagram.bytes, a.endpoint);
        b.service();
        return only(b);
    }
    // Fills b's queue so that it is under load when it next looks.
    void load(Host& host) {
        for (int i = 0; i < 128; ++i) host.receive(Bytes(junk()), elsewhere());
    }
    static Bytes junk() {
        Bytes bytes(148);
        bytes[0] = std::byte{1};
        return bytes;
    }
};

TEST_F(Handshake, ThreeMessagesMakeTwoSessions) {
    const Datagram first = initiation();
    EXPECT_EQ(first.tos, kHandshakeDscp);
    const Datagram second = answer(first);
    EXPECT_EQ(second.type(), 2U);
    EXPECT_EQ(second.bytes.size(), 92U);
    EXPECT_EQ(second.receiver(), first.sender());
    EXPECT_EQ(second.tos, kHandshakeDscp);
    EXPECT_EQ(session(b, a), nullptr);  // the responder waits for the first message
    EXPECT_NE(b.peer(a).next, nullptr);
    EXPECT_FALSE(b.device.status().peers[0].latest_handshake);
    a.receive(second.bytes, b.endpoint);
    a.service();
    const Datagram third = only(a);
    EXPECT_TRUE(third.is_data());
    EXPECT_FALSE(third.is_keepalive());  // the staged packet, no need of a keepalive
    EXPECT_EQ(third.receiver(), second.sender());
    EXPECT_EQ(third.counter(), 0U);
    EXPECT_TRUE(a.device.status().peers[0].latest_handshake);
    b.receive(third.bytes, a.endpoint);
    b.service();
    EXPECT_NE(session(b, a), nullptr);
    EXPECT_EQ(b.peer(a).next, nullptr);
    EXPECT_TRUE(b.device.status().peers[0].latest_handshake);
    EXPECT_EQ(b.take_written().size(), 1U);
}

TEST_F(Handshake, WithNothingStagedAKeepaliveConfirms) {
    PeerChange change = b.as_peer();
    change.persistent_keepalive_s = 25;
    a.change(std::move(change));
    a.now += milliseconds(1);
    net.settle();
    ASSERT_EQ(net.log.size(), 3U);
    EXPECT_TRUE(net.log[2].is_keepalive());
    EXPECT_NE(session(b, a), nullptr);
    EXPECT_TRUE(b.take_written().empty());
}

// A packet that was given up for lack of room does not confirm anything: then the keepalive must.
TEST_F(Handshake, AKeepaliveConfirmsWhenTheStagedPacketWasLost) {
    Host full(1, 1);
    full.add(b);
    for (std::uint8_t n = 0; n < 4; ++n) {  // each a quarter of the room
        PeerChange many;
        many.public_key = noise::public_key_of(private_key(static_cast<std::uint8_t>(96 + n)));
        many.endpoint = elsewhere();
        many.allowed_ips.push_back({{v4(10, static_cast<std::uint8_t>(9 + n), 0, 0), 16}});
        full.change(std::move(many));
        PacketSpec spec;
        spec.to = v4(10, static_cast<std::uint8_t>(9 + n), 0, 1);
        spec.payload = 65000;
        for (int i = 0; i < 18; ++i) full.tun(build(spec));
    }
    const auto lost = full.count(Counter::staged_overflow);
    ASSERT_GT(lost, 0U);
    full.send_to(b);
    ASSERT_EQ(full.count(Counter::staged_overflow), lost + 1);
    Network network{{&full, &b}};
    network.settle([&](const Datagram& d) { return d.to == elsewhere(); });
    EXPECT_NE(session(b, full), nullptr);
}

TEST_F(Handshake, SessionIndicesAreRandom) {
    std::vector<std::uint32_t> indices;
    for (int i = 0; i < 200; ++i) {
        a.send_to(b);
        net.settle();
        indices.push_back(session(a, b)->local_index);
        indices.push_back(session(b, a)->local_index);
        a.device.set_running(false, a.now);
        a.device.set_running(true, a.now);
        net.advance(seconds(1));
        b.take_written();
    }
    std::set<std::uint32_t> distinct(indices.begin(), indices.end());
    EXPECT_EQ(distinct.size(), indices.size());
    std::size_t near = 0, high = 0;
    for (std::size_t i = 2; i < indices.size(); ++i) {
        near += indices[i] - indices[i - 2] < 65536;
        high += indices[i] >> 31;
    }
    EXPECT_LE(near, 2U);
    EXPECT_NEAR(static_cast<double>(high), 200.0, 60.0);
}

TEST_F(Handshake, AReplayedInitiationIsRefused) {
    const Datagram first = initiation();
    EXPECT_EQ(answer(first).type(), 2U);
    b.now += seconds(1);
    b.receive(first.bytes, elsewhere());
    b.service();
    EXPECT_TRUE(b.take_sent().empty());
    EXPECT_EQ(b.count(Counter::handshake_replayed), 1U);
    EXPECT_EQ(b.peer(a).endpoint.address, a.endpoint.address);
}

TEST_F(Handshake, AnOlderInitiationIsRefusedToo) {
    const Datagram first = initiation();
    a.now += seconds(6);
    a.wall += seconds(6);
    a.service();
    const Datagram retry = only(a);
    EXPECT_EQ(answer(retry).type(), 2U);
    b.now += seconds(1);
    b.receive(first.bytes, a.endpoint);
    b.service();
    EXPECT_EQ(b.count(Counter::handshake_replayed), 1U);
}

TEST_F(Handshake, AFloodOfInitiationsFromOnePeerIsRefused) {
    std::vector<Datagram> initiations;
    for (int i = 0; i < 4; ++i) {
        initiations.push_back(initiation());
        a.device.set_running(false, a.now);
        a.device.set_running(true, a.now);
        a.wall += seconds(1);
    }
    EXPECT_EQ(answer(initiations[0]).type(), 2U);
    b.now += milliseconds(20) - nanoseconds(1);
    b.receive(initiations[1].bytes, a.endpoint);
    b.service();
    EXPECT_TRUE(b.take_sent().empty());
    EXPECT_EQ(b.count(Counter::handshake_flood), 1U);
    b.now += nanoseconds(1);
    EXPECT_EQ(answer(initiations[2]).type(), 2U);
    EXPECT_EQ(b.count(Counter::handshake_flood), 1U);
}

TEST_F(Handshake, EveryFlippedBitIsRefused) {
    const Datagram first = initiation();
    for (std::size_t at = 0; at < 148; ++at) {
        Bytes bytes = first.bytes;
        bytes[at] ^= std::byte{0x40};
        b.receive(bytes, elsewhere());
        b.service();
        if (at >= 132) break;  // mac2 is not looked at without load
        ASSERT_TRUE(b.take_sent().empty()) << at;
        ASSERT_FALSE(b.peer(a).next) << at;
    }
    EXPECT_EQ(b.count(Counter::handshake_bad_mac1), 128U);
    EXPECT_EQ(b.count(Counter::underlay_type), 4U);
}

TEST_F(Handshake, AnUnknownPeerGetsNothing) {
    Host stranger{9};
    stranger.add(b);
    stranger.send_to(b);
    stranger.service();
    b.receive(only(stranger).bytes, stranger.endpoint);
    b.service();
    EXPECT_TRUE(b.take_sent().empty());
    EXPECT_EQ(b.count(Counter::handshake_unknown_peer), 1U);
}

// Somebody who knows only public keys: right mac1, right form, and no private key.
TEST_F(Handshake, AnImpostorIsRefused) {
    MessageInitiation message;
    noise::Initiator state;
    const PrivateKey ephemeral = private_key(50);
    SharedSecret invented;
    invented.writable()[0] = std::byte{1};
    noise::StaticIdentity identity{private_key(51), a.public_key};  // says it is a
    ASSERT_TRUE(noise::create_initiation(message, state, identity, b.public_key, invented, ephemeral,
                                         noise::timestamp_at(a.wall), 1));
    CookieJar().add_macs(std::as_writable_bytes(std::span(&message, 1)), MacKeys::of(b.public_key), a.now);
    const auto raw = std::as_bytes(std::span(&message, 1));
    b.receive(Bytes(raw.begin(), raw.end()), elsewhere());
    b.service();
    EXPECT_TRUE(b.take_sent().empty());
    EXPECT_EQ(b.count(Counter::handshake_bad_timestamp), 1U);
    EXPECT_EQ(b.peer(a).endpoint, a.endpoint);
    // A static key that does not decrypt: the bytes changed after sealing, with the mac made anew.
    message.encrypted_static[3] ^= std::byte{1};
    CookieJar().add_macs(std::as_writable_bytes(std::span(&message, 1)), MacKeys::of(b.public_key), a.now);
    b.receive(Bytes(raw.begin(), raw.end()), elsewhere());
    b.service();
    EXPECT_EQ(b.count(Counter::handshake_bad_static), 1U);
}

TEST_F(Handshake, AForgedResponseDoesNotEndTheHandshake) {
    const Datagram first = initiation();
    const Datagram right = answer(first);
    for (std::size_t at : {12U, 44U, 59U}) {  // ephemeral, tag
        Datagram forged = right;
        forged.bytes[at] ^= std::byte{1};
        CookieJar().add_macs(forged.bytes, MacKeys::of(a.public_key), a.now);
        a.receive(forged.bytes, elsewhere());
        a.service();
        ASSERT_TRUE(a.take_sent().empty());
    }
    EXPECT_EQ(a.count(Counter::handshake_bad_response), 3U);
    EXPECT_EQ(a.peer(b).endpoint, b.endpoint);
    a.receive(right.bytes, b.endpoint);
    a.service();
    EXPECT_NE(session(a, b), nullptr);
}

TEST_F(Handshake, AResponseIsTakenOnceOnly) {
    const Datagram right = answer(initiation());
    a.receive(right.bytes, b.endpoint);
    a.service();
    const Session* made = session(a, b);
    a.receive(right.bytes, elsewhere());
    a.service();
    EXPECT_EQ(session(a, b), made);
    EXPECT_EQ(a.count(Counter::handshake_bad_response), 1U);
    EXPECT_EQ(a.peer(b).endpoint.address, b.endpoint.address);
}

TEST_F(Handshake, AResponseIsTakenAsLongAsTheHandshakeLives) {
    const Datagram right = answer(initiation());
    a.now += seconds(5) - nanoseconds(1);
    a.receive(right.bytes, b.endpoint);
    a.service();
    EXPECT_NE(session(a, b), nullptr);
}

TEST_F(Handshake, AResponseToAnEarlierInitiationIsRefused) {
    const Datagram right = answer(initiation());
    a.now += seconds(6);
    a.wall += seconds(6);
    a.service();
    EXPECT_EQ(only(a).type(), 1U);
    a.receive(right.bytes, b.endpoint);
    a.service();
    EXPECT_EQ(session(a, b), nullptr);
    EXPECT_EQ(a.count(Counter::handshake_bad_response), 1U);
}

TEST_F(Handshake, UnderLoadACookieIsAskedForAndTheRetryWithItIsAccepted) {
    const Datagram first = initiation();
    load(b);
    b.receive(first.bytes, a.endpoint);
    b.service();
    const Datagram reply = only(b);
    ASSERT_EQ(reply.type(), 3U);
    EXPECT_EQ(reply.bytes.size(), 64U);
    EXPECT_EQ(reply.receiver(), first.sender());
    EXPECT_EQ(b.count(Counter::handshake_cookie_sent), 1U);
    EXPECT_EQ(b.count(Counter::handshake_bad_mac1), 128U);

    a.receive(reply.bytes, elsewhere());  // whoever sends it: it moves no endpoint
    a.service();
    EXPECT_EQ(a.peer(b).endpoint, b.endpoint);
    EXPECT_EQ(a.count(Counter::handshake_bad_cookie), 0U);
    EXPECT_TRUE(a.take_sent().empty());  // it waits for its time
    a.now += milliseconds(5333);
    a.wall += milliseconds(5333);
    b.now = a.now;
    a.service();
    const Datagram retry = only(a);
    EXPECT_NE(retry.bytes[140], std::byte{0});

    // Another source with the same bytes: the cookie is bound to address and port.
    Endpoint wrong = a.endpoint;
    ++wrong.port;
    load(b);
    b.receive(retry.bytes, wrong);
    b.service();
    EXPECT_EQ(only(b).type(), 3U);
    wrong = a.endpoint;
    wrong.address = v4(192, 0, 2, 200);
    b.receive(retry.bytes, wrong);
    b.service();
    EXPECT_EQ(only(b).type(), 3U);
    b.receive(retry.bytes, a.endpoint);
    b.service();
    EXPECT_EQ(only(b).type(), 2U);
    EXPECT_EQ(b.count(Counter::handshake_cookie_sent), 3U);
}

TEST_F(Handshake, UnderLoadResponsesNeedACookieToo) {
    const Datagram right = answer(initiation());
    load(a);
    a.receive(right.bytes, b.endpoint);
    a.service();
    EXPECT_EQ(only(a).type(), 3U);
    EXPECT_EQ(session(a, b), nullptr);
    // The load ends, the handshake lives on.
    a.now += milliseconds(1001);
    a.receive(right.bytes, b.endpoint);
    a.service();
    EXPECT_NE(session(a, b), nullptr);
}

TEST_F(Handshake, LoadBeginsAtAnEighthOfTheQueueAndEndsASecondAfter) {
    for (std::size_t i = 0; i < 126; ++i) b.receive(junk(), elsewhere());
    EXPECT_EQ(answer(initiation()).type(), 2U);  // 127 waited
    a.device.set_running(false, a.now);
    a.device.set_running(true, a.now);
    net.advance(seconds(1));
    for (std::size_t i = 0; i < 127; ++i) b.receive(junk(), elsewhere());
    const Datagram first = initiation();
    EXPECT_EQ(answer(first).type(), 3U);
    b.now += seconds(1);
    EXPECT_EQ(answer(first).type(), 3U);
    b.now += nanoseconds(1);
    EXPECT_EQ(answer(first).type(), 2U);
}

TEST_F(Handshake, LimitsUnderLoadArePerSource) {
    // Sixty peers; those at one address flood with valid cookies, one at another address is served all the
    // same.
    const Datagram first = initiation();
    load(b);
    b.receive(first.bytes, a.endpoint);
    b.service();
    a.receive(only(b).bytes, b.endpoint);
    a.service();
    a.now += milliseconds(5333);
    a.wall += milliseconds(5333);
    b.now = a.now;
    a.service();
    const Datagram retry = only(a);
    load(b);
    for (int i = 0; i < 20; ++i) b.receive(retry.bytes, a.endpoint);
    b.service();
    EXPECT_EQ(b.count(Counter::handshake_replayed), 4U);  // five were admitted, the first of which was new
    EXPECT_EQ(b.count(Counter::handshake_rate_limited), 15U);
    b.take_sent();

    Host c{3};
    c.now = b.now;
    c.add(b);
    b.add(c);
    c.send_to(b);
    c.service();
    b.receive(only(c).bytes, c.endpoint);
    b.service();
    c.receive(only(b).bytes, b.endpoint);
    c.service();
    c.now += milliseconds(5333);
    c.wall += milliseconds(5333);
    c.service();
    b.now += milliseconds(1);
    b.receive(only(c).bytes, c.endpoint);
    b.service();
    EXPECT_EQ(only(b).type(), 2U);
}

TEST_F(Handshake, CookieRepliesThatAnswerNothingAreCounted) {
    const Datagram first = initiation();
    load(b);
    b.receive(first.bytes, a.endpoint);
    b.service();
    const Datagram reply = only(b);
    Bytes forged = reply.bytes;
    forged[40] ^= std::byte{1};
    a.receive(forged, b.endpoint);
    a.service();
    EXPECT_EQ(a.count(Counter::handshake_bad_cookie), 1U);
    forged = reply.bytes;
    forged[4] ^= std::byte{1};
    a.receive(forged, b.endpoint);
    a.service();
    EXPECT_EQ(a.count(Counter::handshake_bad_cookie), 2U);
    a.receive(reply.bytes, b.endpoint);
    a.receive(reply.bytes, b.endpoint);  // each mac takes one
    a.service();
    EXPECT_EQ(a.count(Counter::handshake_bad_cookie), 3U);
}

TEST_F(Handshake, BothAtOnce) {
    a.send_to(b, 100, 1);
    b.send_to(a, 100, 2);
    a.service();
    b.service();
    const Datagram from_a = only(a), from_b = only(b);
    b.receive(from_a.bytes, a.endpoint);
    a.receive(from_b.bytes, b.endpoint);
    net.settle();
    EXPECT_EQ(a.take_written().size(), 1U);
    EXPECT_EQ(b.take_written().size(), 1U);
    for (unsigned i = 0; i < 5; ++i) {
        a.send_to(b, 100, i);
        b.send_to(a, 100, i);
        net.settle();
        EXPECT_EQ(a.take_written().size(), 1U);
        EXPECT_EQ(b.take_written().size(), 1U);
    }
    EXPECT_EQ(count_type(net.log, 1), 0U);  // and no further handshake
}

TEST_F(Handshake, APresharedKeyMustBeTheSame) {
    PeerChange change = b.as_peer();
    change.preshared_key.emplace();
    change.preshared_key->writable()[5] = std::byte{9};
    a.change(std::move(change));
    const Datagram right = answer(initiation());
    a.receive(right.bytes, b.endpoint);
    a.service();
    EXPECT_EQ(session(a, b), nullptr);
    EXPECT_EQ(a.count(Counter::handshake_bad_response), 1U);
    PeerChange same = a.as_peer();
    same.preshared_key.emplace();
    same.preshared_key->writable()[5] = std::byte{9};
    b.change(std::move(same));
    net.run(seconds(6));
    EXPECT_NE(session(a, b), nullptr);
    EXPECT_EQ(b.take_written().size(), 1U);
}

TEST_F(Handshake, WithoutAnIdentityMessagesAreCounted) {
    const Datagram first = initiation();
    DeviceChange none;
    none.private_key.emplace();
    b.apply(none);
    b.receive(first.bytes, a.endpoint);
    b.service();
    EXPECT_TRUE(b.take_sent().empty());
    EXPECT_EQ(b.count(Counter::handshake_no_identity), 1U);
}

TEST_F(Handshake, AFullQueueIsCounted) {
    for (std::size_t i = 0; i < kHandshakeQueueMax; ++i) b.receive(junk(), elsewhere());
    EXPECT_EQ(b.count(Counter::handshake_queue_full), 0U);
    b.receive(junk(), elsewhere());
    EXPECT_EQ(b.count(Counter::handshake_queue_full), 1U);
}

TEST_F(Handshake, TimestampsRiseThoughTheWallClockGoesBack) {
    for (int i = 0; i < 5; ++i) {
        const Datagram first = initiation();
        EXPECT_EQ(answer(first).type(), 2U) << i;
        a.device.set_running(false, a.now);
        a.device.set_running(true, a.now);
        a.wall -= seconds(3600);
        net.advance(seconds(1));
    }
    EXPECT_EQ(b.count(Counter::handshake_replayed), 0U);
}

TEST_F(Handshake, APeerKeyOfLowOrderNeverSpeaksAndKeepsNoPackets) {
    PeerChange zero;
    zero.public_key.bytes[0] = std::byte{1};  // a point of order 4's cousin: X25519 gives zero
    zero.endpoint = elsewhere();
    zero.allowed_ips.push_back({{v4(10, 5, 0, 0), 16}});
    a.change(std::move(zero));
    a.tun(udp_packet(a.address, v4(10, 5, 0, 1), 10));
    a.service();
    EXPECT_TRUE(a.take_sent().empty());
    EXPECT_EQ(a.count(Counter::handshake_bad_static), 1U);
    EXPECT_EQ(a.count(Counter::staged_given_up), 1U);
}

}  // namespace
}  // namespace vern
