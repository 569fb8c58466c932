// From the underlay to the TUN device.
#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

struct WorkerIn : TwoDevices {
    WorkerIn() { connect(); }
    Endpoint moved() const {
        Endpoint other;
        other.address = v4(203, 0, 113, 5);
        other.port = 1111;
        return other;
    }
    Datagram data(std::size_t payload = 100, unsigned seed = 0, std::uint8_t tos = 0) {
        a.send_to(b, payload, seed, tos);
        return only(a);
    }
    // What only a peer that misbehaves sends: any plaintext, sealed with a's keys.
    Bytes sealed(const Bytes& plain, std::optional<std::uint64_t> with_counter = {}) {
        Session& session = *TwoDevices::session(a, b);
        std::uint64_t counter = 0;
        EXPECT_TRUE(session.reserve(1, counter));
        if (with_counter) counter = *with_counter;
        MessageDataHeader header;
        header.header.type = 4U;
        header.receiver_index = session.remote_index;
        header.counter = counter;
        Bytes out(kDataHeaderBytes + plain.size() + kTagBytes);
        std::memcpy(out.data(), &header, sizeof header);
        if (!plain.empty()) std::memcpy(&out[kDataHeaderBytes], plain.data(), plain.size());
        const aead::SealJob job{session.sending.span().data(), counter, &out[kDataHeaderBytes],
                                &out[kDataHeaderBytes], static_cast<std::uint32_t>(plain.size())};
        aead::best().seal({&job, 1});
        return out;
    }
    const Endpoint& known() { return b.peer(a).endpoint; }
};

TEST_F(WorkerIn, DeliversWhatWasSentWithoutPadding) {
    for (const std::size_t payload : {0U, 1U, 3U, 4U, 5U, 100U, 1372U}) {
        b.receive(data(payload, 7).bytes, a.endpoint);
        const auto out = b.take_written();
        ASSERT_EQ(out.size(), 1U);
        EXPECT_EQ(out[0].packet, udp_packet(a.address, b.address, payload, 7));
    }
}

TEST_F(WorkerIn, TheEndpointMovesWithEveryAuthenticPacket) {
    b.receive(data().bytes, moved());
    EXPECT_EQ(known(), moved());
    b.receive(data().bytes, a.endpoint);
    EXPECT_EQ(known(), a.endpoint);
    b.receive(sealed({}), moved());  // a keepalive
    EXPECT_EQ(known(), moved());
    Endpoint with_source = moved();
    with_source.source = b.endpoint.address;
    with_source.interface_index = 2;
    b.receive(data().bytes, with_source);
    EXPECT_EQ(known(), with_source);
    b.send_to(a);
    EXPECT_EQ(only(b).to, with_source);
}

TEST_F(WorkerIn, TheEndpointDoesNotMoveOnABadTag) {
    const Datagram right = data();
    for (std::size_t at = 8; at < right.bytes.size(); at += 5) {
        Bytes bytes = right.bytes;
        bytes[at] ^= std::byte{1};
        b.receive(bytes, moved());
        ASSERT_EQ(known(), a.endpoint) << at;
    }
    EXPECT_TRUE(b.take_written().empty());
    EXPECT_GT(b.count(Counter::bad_tag), 20U);
    b.receive(right.bytes, a.endpoint);  // a forgery does not use up the counter
    EXPECT_EQ(b.take_written().size(), 1U);
}

TEST_F(WorkerIn, TheEndpointDoesNotMoveOnAReplay) {
    const Datagram right = data();
    b.receive(right.bytes, a.endpoint);
    b.receive(right.bytes, moved());
    EXPECT_EQ(known(), a.endpoint);
    EXPECT_EQ(b.count(Counter::replayed), 1U);
    EXPECT_EQ(b.take_written().size(), 1U);
}

TEST_F(WorkerIn, AReplayWithinOneTrainAndOneTurn) {
    const Datagram right = data();
    Bytes train = right.bytes;
    train.insert(train.end(), right.bytes.begin(), right.bytes.end());
    b.receive(train, a.endpoint, right.bytes.size());
    EXPECT_EQ(b.take_written().size(), 1U);
    EXPECT_EQ(b.count(Counter::replayed), 1U);
    const Datagram other = data();
    Bytes one = other.bytes, two = other.bytes;
    b.turn([&](Worker& w) {
        w.from_underlay({one, one.size(), a.endpoint, 0}, b.outlet);
        w.from_underlay({two, two.size(), moved(), 0}, b.outlet);
    });
    EXPECT_EQ(b.take_written().size(), 1U);
    EXPECT_EQ(b.count(Counter::replayed), 2U);
    EXPECT_EQ(known(), a.endpoint);
}

TEST_F(WorkerIn, TheWindowIs8128Wide) {
    std::vector<Datagram> sent;
    for (int i = 0; i < 8130; ++i) sent.push_back(data(10));
    b.receive(sent.back().bytes, a.endpoint);
    b.receive(sent[1].bytes, moved());
    EXPECT_EQ(b.count(Counter::replayed), 1U);
    EXPECT_EQ(known(), a.endpoint);
    b.receive(sent[2].bytes, a.endpoint);
    EXPECT_EQ(b.count(Counter::replayed), 1U);
    EXPECT_EQ(b.take_written().size(), 2U);
}

TEST_F(WorkerIn, CountersAre64BitsAndEndAtTheLimit) {
    for (const std::uint64_t counter : {std::uint64_t{1} << 32, (std::uint64_t{1} << 32) + 1,
                                        (std::uint64_t{1} << 63) + 1, kRejectAfterMessages - 1}) {
        b.receive(sealed(udp_packet(a.address, b.address, 10), counter), a.endpoint);
        EXPECT_EQ(b.take_written().size(), 1U) << counter;
    }
    for (const std::uint64_t counter : {kRejectAfterMessages, kRejectAfterMessages + 1, UINT64_MAX}) {
        b.receive(sealed(udp_packet(a.address, b.address, 10), counter), moved());
        EXPECT_TRUE(b.take_written().empty()) << counter;
    }
    EXPECT_EQ(known(), a.endpoint);
    EXPECT_EQ(b.count(Counter::session_expired), 3U);
}

TEST_F(WorkerIn, BadDatagramsAreCountedByReason) {
    b.receive({}, a.endpoint);
    EXPECT_EQ(b.count(Counter::underlay_empty), 1U);
    Endpoint nowhere = a.endpoint;
    nowhere.port = 0;
    b.receive(data().bytes, nowhere);
    EXPECT_EQ(b.count(Counter::underlay_port), 1U);
    EXPECT_EQ(b.peer(a).endpoint.port, a.endpoint.port);
    b.receive(Bytes(3), a.endpoint);
    EXPECT_EQ(b.count(Counter::underlay_short), 1U);
    Bytes bytes = data().bytes;
    bytes.resize(31);
    b.receive(bytes, a.endpoint);
    EXPECT_EQ(b.count(Counter::underlay_short), 2U);
    for (const unsigned type : {0U, 5U, 255U}) {
        bytes = Bytes(148);
        bytes[0] = std::byte(type);
        b.receive(bytes, a.endpoint);
    }
    EXPECT_EQ(b.count(Counter::underlay_type), 3U);
    for (const std::size_t reserved : {1U, 2U, 3U}) {
        bytes = data().bytes;
        bytes[reserved] = std::byte{1};
        b.receive(bytes, a.endpoint);
    }
    EXPECT_EQ(b.count(Counter::underlay_type), 6U);
    std::uint64_t wrong = 0;
    for (const auto& [type, right] : {std::pair{1U, 148U}, std::pair{2U, 92U}, std::pair{3U, 64U}}) {
        for (const std::size_t size : {std::size_t{4}, std::size_t{right - 1}, std::size_t{right + 1},
                                       std::size_t{1500}, std::size_t{65000}}) {
            bytes = Bytes(size);
            bytes[0] = std::byte(type);
            b.receive(bytes, a.endpoint);
            EXPECT_EQ(b.count(Counter::underlay_length), ++wrong);
        }
    }
    bytes = data().bytes;
    bytes[5] ^= std::byte{1};
    b.receive(bytes, a.endpoint);
    EXPECT_EQ(b.count(Counter::unknown_index), 1U);
    b.service();
    EXPECT_TRUE(b.take_sent().empty());
    EXPECT_TRUE(b.take_written().empty());
    b.receive(data().bytes, a.endpoint);  // nothing stopped
    EXPECT_EQ(b.take_written().size(), 1U);
}

TEST_F(WorkerIn, OversizedAndMixedDatagramsInATrain) {
    // Good, too large for anything but authentic, unknown, good: each on its own merits.
    const Datagram one = data(500), two = data(500), three = data(9000), four = data(100);
    Bytes train = one.bytes;
    Bytes bad = two.bytes;
    bad[20] ^= std::byte{1};
    train.insert(train.end(), bad.begin(), bad.end());
    train.insert(train.end(), one.bytes.begin(), one.bytes.end());
    train.insert(train.end(), two.bytes.begin(), two.bytes.end());
    train.insert(train.end(), four.bytes.begin(), four.bytes.end());
    b.receive(train, a.endpoint, one.bytes.size());
    EXPECT_EQ(b.take_written().size(), 3U);
    EXPECT_EQ(b.count(Counter::bad_tag), 1U);
    EXPECT_EQ(b.count(Counter::replayed), 1U);
    b.receive(three.bytes, a.endpoint);
    EXPECT_EQ(b.take_written().size(), 1U);
    Bytes huge(65535, std::byte{4});
    b.receive(huge, a.endpoint);
    EXPECT_EQ(b.count(Counter::underlay_type), 1U);
    huge[1] = huge[2] = huge[3] = std::byte{0};
    std::memcpy(&huge[4], &one.bytes[4], 4);
    b.receive(huge, moved());
    b.receive(huge, moved(), 1000);  // cut anywhere
    EXPECT_EQ(known(), a.endpoint);
    b.receive(data().bytes, a.endpoint);
    EXPECT_EQ(b.take_written().size(), 1U);
}

TEST_F(WorkerIn, ManyTrainsAndSessionsInOneTurn) {
    Host c{3};
    c.add(b);
    b.add(c);
    Network more{{&a, &b, &c}};
    c.send_to(b);
    more.settle();
    b.take_written();
    std::vector<Bytes> trains;
    for (unsigned i = 0; i < 700; ++i) {
        Host& from = i % 3 ? a : c;
        from.send_to(b, 50, i);
        trains.push_back(from.take_sent().front().bytes);
    }
    b.turn([&](Worker& w) {
        for (unsigned i = 0; i < 700; ++i)
            w.from_underlay({trains[i], trains[i].size(), i % 3 ? a.endpoint : c.endpoint, 0}, b.outlet);
    });
    const auto out = b.take_written();
    ASSERT_EQ(out.size(), 700U);
    for (unsigned i = 0; i < 700; ++i)
        ASSERT_EQ(out[i].packet, udp_packet((i % 3 ? a : c).address, b.address, 50, i)) << i;
    EXPECT_EQ(b.peer(a).endpoint, a.endpoint);
    EXPECT_EQ(b.peer(c).endpoint, c.endpoint);
}

TEST_F(WorkerIn, MalformedInnerPacketsAreDroppedAndTheSenderIsHeardAllTheSame) {
    Bytes lying = udp_packet(a.address, b.address, 20);
    store_be16(&lying[2], 500);
    for (const Bytes& plain :
         {Bytes(1), Bytes(19, std::byte{0x45}), Bytes(64), Bytes(64, std::byte{0xff}), lying})
        b.receive(sealed(plain), moved());
    EXPECT_EQ(b.count(Counter::inner_malformed), 5U);
    EXPECT_TRUE(b.take_written().empty());
    EXPECT_EQ(known(), moved());
}

TEST_F(WorkerIn, ASourceOfAnotherPeersLongerPrefixIsRefused) {
    PeerChange wide;
    wide.public_key = a.public_key;
    wide.allowed_ips.push_back({{v4(10, 0, 0, 0), 8}});
    b.change(std::move(wide));
    PeerChange other;
    other.public_key = noise::public_key_of(private_key(30));
    other.allowed_ips.push_back({{v4(10, 0, 5, 5), 32}});
    b.change(std::move(other));
    b.receive(sealed(udp_packet(v4(10, 0, 5, 5), b.address, 10)), a.endpoint);
    EXPECT_TRUE(b.take_written().empty());
    EXPECT_EQ(b.count(Counter::inner_source), 1U);
    b.receive(sealed(udp_packet(v4(10, 0, 5, 6), b.address, 10)), a.endpoint);
    EXPECT_EQ(b.take_written().size(), 1U);
    b.receive(sealed(udp_packet(v4(11, 0, 0, 1), b.address, 10)), a.endpoint);
    EXPECT_EQ(b.count(Counter::inner_source), 2U);
    // The worker remembers sources for a turn: not over a turn, and not for another peer.
    Bytes one = sealed(udp_packet(v4(10, 0, 5, 6), b.address, 10)),
          two = sealed(udp_packet(v4(10, 0, 5, 5), b.address, 10));
    b.turn([&](Worker& w) {
        w.from_underlay({one, one.size(), a.endpoint, 0}, b.outlet);
        w.from_underlay({two, two.size(), a.endpoint, 0}, b.outlet);
    });
    EXPECT_EQ(b.take_written().size(), 1U);
    EXPECT_EQ(b.count(Counter::inner_source), 3U);
}

TEST_F(WorkerIn, EcnOfTheOuterHeaderRfc6040) {
    // inner, outer -> inner; 4: dropped.
    constexpr unsigned kTable[4][4] = {{0, 0, 0, 4}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};
    for (unsigned inner = 0; inner < 4; ++inner) {
        for (unsigned outer = 0; outer < 4; ++outer) {
            const auto tos = static_cast<std::uint8_t>(0xb8 | inner);
            b.receive(sealed(udp_packet(a.address, b.address, 10, 0, tos)), a.endpoint, 0,
                      static_cast<std::uint8_t>(outer));
            const auto out = b.take_written();
            ASSERT_EQ(out.size(), kTable[inner][outer] == 4 ? 0U : 1U) << inner << outer;
            if (out.empty()) continue;
            EXPECT_EQ(out[0].packet, udp_packet(a.address, b.address, 10, 0,
                                                static_cast<std::uint8_t>(0xb8 | kTable[inner][outer])))
                << inner << outer;
        }
    }
    EXPECT_EQ(b.count(Counter::inner_ecn), 1U);
}

TEST_F(WorkerIn, BytesAreCountedAsOnTheWire) {
    const auto before = b.device.status().peers[0].receive_bytes;
    const Datagram right = data(100);
    b.receive(right.bytes, a.endpoint);
    EXPECT_EQ(b.device.status().peers[0].receive_bytes, before + right.bytes.size());
    Bytes bad = right.bytes;
    bad[20] ^= std::byte{1};
    b.receive(bad, a.endpoint);
    EXPECT_EQ(b.device.status().peers[0].receive_bytes, before + right.bytes.size());
}

TEST_F(WorkerIn, ASuperpacketCrossesTheTunnelWhole) {
    b.worker().allow_coalescing(true, true);
    for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
        PacketSpec spec;
        spec.from = a.address;
        spec.to = b.address;
        spec.protocol = protocol;
        spec.payload = 40 * 1300 + 77;
        Bytes whole = build(spec);
        leave_partial_checksum(whole, spec);
        a.tun(whole, superpacket_header(spec, 1300));
        std::vector<SentTrain> trains = std::exchange(a.outlet.trains, {});
        ASSERT_EQ(trains.size(), 1U);
        b.receive(trains[0].bytes, a.endpoint, trains[0].segment_bytes);
        const auto out = b.take_written();
        ASSERT_EQ(out.size(), 1U);
        EXPECT_EQ(out[0].packet, whole);
    }
}

}  // namespace
}  // namespace vern
