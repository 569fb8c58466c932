// Answers to what is rejected: what they say, and to whom none is sent.
#include "dataplane/policy/reject.h"

#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

struct Rejects : GateTest {
    Bytes answer(Bytes bytes) {
        const auto packet = InnerPacket::parse(bytes);
        Transport transport;
        EXPECT_FALSE(parse_transport(*packet, transport));
        std::array<std::byte, kRejectBytesMax> out;
        const std::size_t length = write_reject(*packet, transport, out);
        return Bytes(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(length));
    }
    static void check(const Bytes& bytes, std::uint8_t protocol) {
        Bytes copy = bytes;
        const auto packet = InnerPacket::parse(copy);
        ASSERT_TRUE(packet);
        ASSERT_EQ(packet->length, bytes.size());
        EXPECT_EQ(packet->protocol(), protocol);
        if (!packet->v6) {
            EXPECT_EQ(slow_ip_sum(bytes), 0xffff);
        }
        const auto sum = protocol == 1 ? slow_sum(std::span(bytes).subspan(20))
                                       : slow_transport_sum(bytes, packet->header_bytes, protocol);
        EXPECT_EQ(sum, 0xffff);
    }
};

TEST_F(Rejects, TcpWithAnAckIsResetWhereItStands) {
    for (const bool with_v6 : {false, true}) {
        PacketSpec packet = spec(kIn, 6, 40000, 22, with_v6);
        packet.flags = kAck | kPsh;
        packet.acknowledgment = 0xfedcba98;
        const Bytes reset = answer(build(packet));
        check(reset, 6);
        const std::size_t at = with_v6 ? 40 : 20;
        ASSERT_EQ(reset.size(), at + 20);
        EXPECT_EQ(load_be16(&reset[at]), 22);
        EXPECT_EQ(load_be16(&reset[at + 2]), 40000);
        EXPECT_EQ(load_be32(&reset[at + 4]), 0xfedcba98);
        EXPECT_EQ(reset[at + 13], std::byte{kRst});
        const std::size_t bytes = with_v6 ? 16 : 4;
        EXPECT_EQ(std::memcmp(&reset[with_v6 ? 8 : 12], packet.to.bytes.data(), bytes), 0);
        EXPECT_EQ(std::memcmp(&reset[(with_v6 ? 8 : 12) + bytes], packet.from.bytes.data(), bytes), 0);
    }
}

TEST_F(Rejects, TcpWithoutAnAckIsResetBehindWhatItSent) {
    PacketSpec packet = spec(kIn, 6, 40000, 22);
    packet.flags = kSyn;
    packet.sequence = 0xfffffffe;
    packet.tcp_options = Bytes(4, std::byte{1});
    packet.payload = 7;
    const Bytes reset = answer(build(packet));
    check(reset, 6);
    EXPECT_EQ(load_be32(&reset[24]), 0U);
    EXPECT_EQ(load_be32(&reset[28]), 6U);  // the SYN and seven bytes, over the end of the numbers
    EXPECT_EQ(reset[33], std::byte{kRst | kAck});
}

TEST_F(Rejects, EverythingElseGetsProhibited) {
    for (const bool with_v6 : {false, true}) {
        for (const std::size_t payload : {0U, 100U, 3000U}) {
            PacketSpec packet = spec(kIn, 17, 40000, 53, with_v6);
            packet.payload = payload;
            const Bytes original = build(packet);
            const Bytes error = answer(original);
            check(error, with_v6 ? 58 : 1);
            const std::size_t at = with_v6 ? 40 : 20;
            EXPECT_EQ(error[at], std::byte(with_v6 ? 1 : 3));
            EXPECT_EQ(error[at + 1], std::byte(with_v6 ? 1 : 13));
            EXPECT_EQ(error.size(), std::min<std::size_t>(at + 8 + original.size(), with_v6 ? 1280 : 576));
            EXPECT_TRUE(std::equal(error.begin() + static_cast<std::ptrdiff_t>(at + 8), error.end(),
                                   original.begin()));
        }
    }
    EXPECT_FALSE(answer(echo(kIn, true)).empty());
}

TEST_F(Rejects, SomeAreNeverAnswered) {
    EXPECT_TRUE(answer(tcp(kIn, kRst)).empty());
    EXPECT_TRUE(answer(tcp(kIn, kRst | kAck)).empty());
    EXPECT_TRUE(answer(error(kIn, udp(kOut), 3, 3)).empty());
    EXPECT_TRUE(answer(error(kIn, udp(kOut), 5, 3)).empty());
    EXPECT_TRUE(answer(error(kIn, udp(kOut, 1, 2, true), 1, 3)).empty());
    PacketSpec packet = spec(kIn, 17, 1, 2);
    packet.fragment = 0x0004;
    packet.payload = 16;
    EXPECT_TRUE(answer(build(packet)).empty());
    packet = spec(kIn, 6, 1, 2);
    packet.fragment = 0x2000;
    packet.payload = 20;
    EXPECT_TRUE(answer(build(packet)).empty());
    for (const auto& to : {v4(224, 0, 0, 1), v4(255, 255, 255, 255), v4(240, 1, 1, 1), v4(0, 0, 0, 0)}) {
        packet = spec(kIn, 17, 1, 2);
        packet.to = to;
        EXPECT_TRUE(answer(build(packet)).empty());
        std::swap(packet.to, packet.from);
        EXPECT_TRUE(answer(build(packet)).empty());
    }
    packet = spec(kIn, 17, 1, 2, true);
    packet.to = vern::test::v6({0xff02, 0, 0, 0, 0, 0, 0, 1});
    EXPECT_TRUE(answer(build(packet)).empty());
    packet = spec(kIn, 17, 1, 2, true);
    packet.from = vern::test::v6({0, 0, 0, 0, 0, 0, 0, 0});
    EXPECT_TRUE(answer(build(packet)).empty());
}

}  // namespace
}  // namespace vern::policy
