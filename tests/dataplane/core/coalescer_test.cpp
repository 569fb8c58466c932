#include "dataplane/core/coalescer.h"

#include <gtest/gtest.h>

#include <map>

#include "dataplane/core/segmenter.h"
#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

struct CoalescerTest : ::testing::Test {
    CollectingOutlet outlet;
    Coalescer coalescer{true, true};
    std::vector<std::unique_ptr<Bytes>> memory;

    void add(Bytes packet) {
        memory.push_back(std::make_unique<Bytes>(std::move(packet)));
        const auto parsed = InnerPacket::parse(*memory.back());
        ASSERT_TRUE(parsed);
        coalescer.add(*parsed, outlet);
    }
    std::vector<Written> flush() {
        coalescer.flush(outlet);
        return std::exchange(outlet.written, {});
    }
    // `n` full segments of one flow, as they would come off the wire.
    static PacketSpec tcp_segment(unsigned i, std::size_t payload = 1000) {
        PacketSpec spec;
        spec.payload = payload;
        spec.sequence = 5000 + i * 1000;
        spec.id = static_cast<std::uint16_t>(100 + i);
        spec.seed = i;
        return spec;
    }
    static PacketSpec udp_segment(unsigned i, std::size_t payload = 1000) {
        PacketSpec spec = tcp_segment(i, payload);
        spec.protocol = 17;
        return spec;
    }
    static PacketSpec six(PacketSpec spec) {
        spec.v6 = true;
        spec.from = v6({0xfd00, 0, 0, 0, 0, 0, 0, 1});
        spec.to = v6({0xfd00, 0, 0, 0, 0, 0, 0, 2});
        return spec;
    }
    // Two packets of which the second was changed: into how many writes do they go?
    std::size_t writes(const PacketSpec& first, const PacketSpec& second) {
        add(build(first));
        add(build(second));
        return flush().size();
    }
    template <typename Change>
    std::size_t writes_when(Change change, const PacketSpec& first = tcp_segment(0),
                            PacketSpec second = tcp_segment(1)) {
        change(second);
        return writes(first, second);
    }
};

TEST_F(CoalescerTest, JoinsFullSegmentsOfAFlow) {
    for (const PacketSpec& base :
         {tcp_segment(0), six(tcp_segment(0)), udp_segment(0), six(udp_segment(0))}) {
        for (unsigned i = 0; i < 5; ++i) {
            PacketSpec spec = base;
            spec.sequence += i * 1000;
            spec.id = static_cast<std::uint16_t>(spec.id + i);
            add(build(spec));
        }
        const auto out = flush();
        ASSERT_EQ(out.size(), 1U);
        EXPECT_EQ(out[0].packet.size(), header_bytes(base) + 5000);
        EXPECT_EQ(out[0].header.gso_size, 1000);
        EXPECT_EQ(out[0].header.flags, VnetHeader::kNeedsChecksum);
        EXPECT_EQ(out[0].header.header_bytes, header_bytes(base));
        EXPECT_EQ(out[0].header.checksum_start, transport_at(base));
        EXPECT_EQ(out[0].header.gso_type, base.protocol == 17 ? 5 : base.v6 ? 4 : 1);
    }
}

TEST_F(CoalescerTest, AloneGoesAsItCame) {
    for (const PacketSpec& spec :
         {tcp_segment(0), six(tcp_segment(0)), udp_segment(0), six(udp_segment(0))}) {
        const Bytes packet = build(spec);
        add(packet);
        const auto out = flush();
        ASSERT_EQ(out.size(), 1U);
        EXPECT_EQ(out[0].packet, packet);
        EXPECT_EQ(out[0].header.gso_type, 0);
        EXPECT_EQ(out[0].header.flags, 0);
    }
}

TEST_F(CoalescerTest, OffMeansOff) {
    coalescer.allow(false, true);
    EXPECT_EQ(writes(tcp_segment(0), tcp_segment(1)), 2U);
    EXPECT_EQ(writes(udp_segment(0), udp_segment(1)), 1U);
    coalescer.allow(true, false);
    EXPECT_EQ(writes(tcp_segment(0), tcp_segment(1)), 1U);
    EXPECT_EQ(writes(udp_segment(0), udp_segment(1)), 2U);
}

TEST_F(CoalescerTest, SameAddressesAndPorts) {
    EXPECT_EQ(writes_when([](PacketSpec&) {}), 1U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.from = v4(10, 0, 0, 9); }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.to = v4(10, 0, 0, 9); }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { ++s.source_port; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { ++s.destination_port; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.protocol = 17; }), 2U);
}

TEST_F(CoalescerTest, SameTosTtlAndDf) {
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.tos = 1; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.ttl = 63; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.fragment = 0; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.tos = 1; }, six(tcp_segment(0)), six(tcp_segment(1))), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.ttl = 63; }, six(tcp_segment(0)), six(tcp_segment(1))), 2U);
}

TEST_F(CoalescerTest, SameFlowLabel) {
    add(build(six(tcp_segment(0))));
    Bytes other = build(six(tcp_segment(1)));
    other[3] ^= std::byte{1};
    add(other);
    EXPECT_EQ(flush().size(), 2U);
}

TEST_F(CoalescerTest, WithoutDfTheIdsFollow) {
    PacketSpec first = tcp_segment(0), second = tcp_segment(1);
    first.fragment = second.fragment = 0;
    EXPECT_EQ(writes(first, second), 1U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.id = 100; }, first, second), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.id = 102; }, first, second), 2U);
    first.id = 0xffff;
    second.id = 0;
    EXPECT_EQ(writes(first, second), 1U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.id = 55; }), 1U);  // with DF ids do not matter
}

TEST_F(CoalescerTest, FragmentsOptionsAndExtensionHeadersStayAlone) {
    for (const unsigned fragment : {0x2000U, 0x0001U, 0x2001U}) {
        PacketSpec first = udp_segment(0), second = udp_segment(1);
        first.fragment = second.fragment = static_cast<std::uint16_t>(fragment);
        EXPECT_EQ(writes(first, second), 2U);
    }
    PacketSpec first = tcp_segment(0), second = tcp_segment(1);
    first.ip_options = second.ip_options = Bytes(4, std::byte{1});
    EXPECT_EQ(writes(first, second), 2U);
    first = six(tcp_segment(0));
    second = six(tcp_segment(1));
    first.extension = second.extension = Bytes(8);
    EXPECT_EQ(writes(first, second), 2U);
}

TEST_F(CoalescerTest, SameAcknowledgmentWindowAndOptions) {
    EXPECT_EQ(writes_when([](PacketSpec& s) { ++s.acknowledgment; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { ++s.window; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.tcp_options = Bytes(12, std::byte{1}); }), 2U);
    PacketSpec first = tcp_segment(0), second = tcp_segment(1);
    first.tcp_options = second.tcp_options = Bytes(12, std::byte{1});
    EXPECT_EQ(writes(first, second), 1U);
    second.tcp_options[11] = std::byte{0};
    EXPECT_EQ(writes(first, second), 2U);
}

TEST_F(CoalescerTest, TheSequenceFollows) {
    EXPECT_EQ(writes_when([](PacketSpec& s) { ++s.sequence; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { --s.sequence; }), 2U);
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.sequence -= 1000; }), 2U);  // a retransmission
    PacketSpec first = tcp_segment(0), second = tcp_segment(1);
    first.sequence = 0xfffffc18;
    second.sequence = 0;
    EXPECT_EQ(writes(first, second), 1U);
}

TEST_F(CoalescerTest, OnlyAckAndPsh) {
    for (const unsigned flag :
         {tcp::kFin + 0U, tcp::kSyn + 0U, tcp::kRst + 0U, tcp::kUrg + 0U, 0x40U, tcp::kCwr + 0U}) {
        EXPECT_EQ(writes_when([&](PacketSpec& s) { s.flags = static_cast<std::uint8_t>(tcp::kAck | flag); }),
                  2U)
            << flag;
        PacketSpec first = tcp_segment(0);
        first.flags = static_cast<std::uint8_t>(tcp::kAck | flag);
        EXPECT_EQ(writes(first, tcp_segment(1)), 2U) << flag;
    }
    EXPECT_EQ(writes_when([](PacketSpec& s) { s.flags = 0; }), 2U);
}

TEST_F(CoalescerTest, NothingJoinsBehindPshAndItIsKept) {
    PacketSpec pushed = tcp_segment(1);
    pushed.flags |= tcp::kPsh;
    add(build(tcp_segment(0)));
    add(build(pushed));
    EXPECT_EQ(outlet.written.size(), 1U);  // at once: somebody waits for it
    add(build(tcp_segment(2)));
    const auto out = flush();
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(std::to_integer<unsigned>(out[0].packet[33]), tcp::kAck | tcp::kPsh);
    EXPECT_EQ(out[0].packet.size(), 2040U);
    PacketSpec first = tcp_segment(0);
    first.flags |= tcp::kPsh;
    EXPECT_EQ(writes(first, tcp_segment(1)), 2U);
}

TEST_F(CoalescerTest, UdpWithoutChecksumStaysAlone) {
    Bytes first = build(udp_segment(0)), second = build(udp_segment(1));
    store_be16(&second[26], 0);
    add(first);
    add(second);
    EXPECT_EQ(flush().size(), 2U);
    store_be16(&first[26], 0);
    add(first);
    add(second);
    EXPECT_EQ(flush().size(), 2U);
}

TEST_F(CoalescerTest, AWrongUdpLengthStaysAlone) {
    Bytes second = build(udp_segment(1));
    store_be16(&second[24], 500);
    add(build(udp_segment(0)));
    add(second);
    const auto out = flush();
    ASSERT_EQ(out.size(), 2U);
}

TEST_F(CoalescerTest, FullSegmentsOnlyButForTheLast) {
    add(build(tcp_segment(0)));
    add(build(tcp_segment(1, 999)));
    EXPECT_EQ(outlet.written.size(), 1U);  // a short one ends it
    PacketSpec third = tcp_segment(2);
    third.sequence -= 1;
    add(build(third));
    EXPECT_EQ(flush().size(), 2U);
    EXPECT_EQ(writes(tcp_segment(0), tcp_segment(1, 1001)), 2U);  // a longer one cannot join
    EXPECT_EQ(writes(tcp_segment(0), tcp_segment(1, 0)), 2U);     // nor one without payload
}

TEST_F(CoalescerTest, BadChecksumsAreNeverJoined) {
    for (const bool udp : {false, true}) {
        for (const unsigned broken : {0U, 1U, 2U}) {
            for (const bool ip : {false, true}) {
                std::vector<Bytes> packets;
                for (unsigned i = 0; i < 3; ++i)
                    packets.push_back(build(udp ? udp_segment(i) : tcp_segment(i)));
                packets[broken][ip ? 10 : 500] ^= std::byte{0x10};
                const Bytes bad = packets[broken];
                for (const Bytes& packet : packets) add(packet);
                bool as_it_came = false;
                for (const Written& out : flush()) {
                    if (out.header.flags == 0) as_it_came |= out.packet == bad;
                }
                EXPECT_TRUE(as_it_came) << udp << broken << ip;  // the stack will see that it is wrong
            }
        }
    }
}

TEST_F(CoalescerTest, ABadChecksumInIpv6IsNotJoined) {
    Bytes bad = build(six(udp_segment(1)));
    bad[900] ^= std::byte{1};
    add(build(six(udp_segment(0))));
    add(bad);
    EXPECT_EQ(flush().size(), 2U);
}

TEST_F(CoalescerTest, NeverOver64KiBNorOverThePieces) {
    for (const bool v6 : {false, true}) {
        for (unsigned i = 0; i < 100; ++i) {
            PacketSpec spec = v6 ? six(tcp_segment(i)) : tcp_segment(i);
            add(build(spec));
        }
        const auto out = flush();
        ASSERT_EQ(out.size(), 2U);
        EXPECT_LE(out[0].packet.size(), 65535U);
        EXPECT_GT(out[0].packet.size() + 1000, 65535U);
    }
    for (unsigned i = 0; i < 300; ++i) {
        PacketSpec spec = tcp_segment(i, 10);
        spec.sequence = 5000 + i * 10;
        add(build(spec));
    }
    const auto out = flush();
    ASSERT_EQ(out.size(), 3U);
    EXPECT_EQ(out[0].pieces, Outlet::kWritePiecesMax);
    EXPECT_EQ(out[2].pieces, 300 - 2 * Outlet::kWritePiecesMax);
}

TEST_F(CoalescerTest, ManyFlowsAtOnceEachInOrder) {
    for (unsigned i = 0; i < 4; ++i) {
        for (unsigned flow = 0; flow < 40; ++flow) {
            PacketSpec spec = tcp_segment(i);
            spec.source_port = static_cast<std::uint16_t>(1000 + flow);
            add(build(spec));
        }
    }
    std::map<unsigned, std::uint32_t> next;
    for (const Written& out : flush()) {
        const unsigned flow = load_be16(&out.packet[20]);
        const std::uint32_t sequence = load_be32(&out.packet[24]);
        EXPECT_TRUE(!next.contains(flow) || sequence == next[flow]);
        next[flow] = sequence + static_cast<std::uint32_t>(out.packet.size() - 40);
    }
    EXPECT_EQ(next.size(), 40U);
}

// The order within a flow also holds for what cannot join: an ACK without data, a FIN, a packet with options,
// a fragment.
TEST_F(CoalescerTest, WhatCannotJoinDoesNotOvertake) {
    std::vector<std::pair<std::string_view, PacketSpec>> cases;
    PacketSpec spec = tcp_segment(2, 0);
    cases.emplace_back("ack", spec);
    spec = tcp_segment(2);
    spec.flags |= tcp::kFin;
    cases.emplace_back("fin", spec);
    spec = tcp_segment(2);
    spec.ip_options = Bytes(4, std::byte{1});
    cases.emplace_back("options", spec);
    for (const auto& [name, last] : cases) {
        add(build(tcp_segment(0)));
        add(build(tcp_segment(1)));
        const Bytes packet = build(last);
        add(packet);
        const auto out = flush();
        ASSERT_EQ(out.size(), 2U) << name;
        EXPECT_EQ(out[1].packet, packet) << name;
    }
    add(build(udp_segment(0)));
    add(build(udp_segment(1)));
    spec = udp_segment(2);
    spec.fragment = 0x2000;
    const Bytes fragment = build(spec);
    add(fragment);
    auto out = flush();
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(out[1].packet, fragment);
    add(build(six(tcp_segment(0))));
    add(build(six(tcp_segment(1))));
    spec = six(tcp_segment(2));
    spec.extension = Bytes(8);
    const Bytes extended = build(spec);
    add(extended);
    out = flush();
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(out[1].packet, extended);
}

TEST_F(CoalescerTest, SegmentedAndJoinedAgainIsTheSameSuperpacket) {
    std::mt19937_64 random(8);
    for (int round = 0; round < 400; ++round) {
        PacketSpec spec = random() % 2 ? tcp_segment(0) : udp_segment(0);
        if (random() % 2) spec = six(spec);
        if (spec.protocol == 6) {
            spec.tcp_options = Bytes(random() % 11 * 4, std::byte{1});
            if (random() % 2) spec.flags |= tcp::kPsh;
        }
        spec.tos = static_cast<std::uint8_t>(random());
        if (random() % 2) spec.fragment = 0;
        const std::size_t gso = 100 + random() % 1400;
        const std::size_t most = std::min<std::size_t>(65535 - 100, gso * Outlet::kWritePiecesMax);
        spec.payload = gso + 1 + random() % (most - gso);
        Bytes whole = build(spec);
        leave_partial_checksum(whole, spec);
        const VnetHeader header = superpacket_header(spec, static_cast<std::uint16_t>(gso));
        const auto parsed = InnerPacket::parse(whole);
        const auto plan = Segmenter::plan(*parsed, header);
        ASSERT_TRUE(plan);
        for (std::size_t i = 0; i < plan->count(); ++i) {
            Bytes segment(plan->size(i));
            plan->write(i, segment.data());
            add(std::move(segment));
        }
        const auto out = flush();
        ASSERT_EQ(out.size(), 1U) << round;
        EXPECT_EQ(0, std::memcmp(&out[0].header, &header, sizeof header)) << round;
        ASSERT_EQ(out[0].packet, whole) << round;
        memory.clear();
    }
}

// Random traffic of a few flows: what the stack would read from each flow is what went in, byte for byte and
// in order.
TEST_F(CoalescerTest, RandomTrafficReadsTheSame) {
    std::mt19937_64 random(9);
    for (int round = 0; round < 300; ++round) {
        std::map<unsigned, Bytes> sent, received;  // by port: TCP flows below 2000, UDP above
        std::map<unsigned, std::uint32_t> sequence;
        const auto n = 1 + random() % 200;
        for (unsigned i = 0; i < n; ++i) {
            const bool udp = random() % 2;
            const unsigned flow = (udp ? 2000 : 1000) + static_cast<unsigned>(random() % 20);
            PacketSpec spec = udp ? udp_segment(i) : tcp_segment(i);
            spec.source_port = static_cast<std::uint16_t>(flow);
            spec.payload = random() % 3 ? 300 : random() % 400;
            spec.sequence = sequence[flow];
            if (random() % 10 == 0) spec.sequence += 77;
            if (random() % 10 == 0) spec.flags |= tcp::kPsh;
            if (random() % 15 == 0) spec.flags |= tcp::kFin;
            if (random() % 20 == 0) spec.tos = 3;
            if (random() % 4 == 0) spec.fragment = 0;
            if (random() % 30 == 0) spec.ip_options = Bytes(4, std::byte{1});
            sequence[flow] = spec.sequence + static_cast<std::uint32_t>(spec.payload);
            Bytes packet = build(spec);
            const std::byte* const transport = packet.data() + transport_at(spec);
            Bytes record;
            if (!udp) record.assign(transport + 4, transport + 8);  // the sequence number
            record.insert(record.end(), packet.data() + header_bytes(spec), packet.data() + packet.size());
            sent[flow].insert(sent[flow].end(), record.begin(), record.end());
            add(std::move(packet));
        }
        for (const Written& out : flush()) {
            const std::size_t at = (std::to_integer<std::size_t>(out.packet[0]) & 15) * 4;
            const unsigned flow = load_be16(&out.packet[at]);
            const bool udp = flow >= 2000;
            const std::size_t head = at + (udp ? 8 : 20);
            std::size_t step = out.header.gso_size ? out.header.gso_size : out.packet.size() - head;
            std::uint32_t first = load_be32(&out.packet[at + 4]);
            for (std::size_t p = head; p < out.packet.size() || p == head;
                 p += std::max<std::size_t>(step, 1)) {
                std::byte seq[4];
                store_be32(seq, first + static_cast<std::uint32_t>(p - head));
                if (!udp) received[flow].insert(received[flow].end(), seq, seq + 4);
                received[flow].insert(received[flow].end(), out.packet.data() + p,
                                      out.packet.data() + std::min(p + step, out.packet.size()));
                if (step == 0) break;
            }
        }
        for (const auto& [flow, bytes] : sent)
            ASSERT_EQ(received[flow], bytes) << "round " << round << " flow " << flow;
        memory.clear();
    }
}

}  // namespace
}  // namespace vern
