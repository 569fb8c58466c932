#include "dataplane/base/inner_packet.h"

#include <gtest/gtest.h>

#include "packets.h"

namespace vern {
namespace {

using test::build;
using test::Bytes;
using test::PacketSpec;
using test::v6;

PacketSpec v6_spec() {
    PacketSpec spec;
    spec.v6 = true;
    spec.from = v6({0xfd00, 0, 0, 0, 0, 0, 0, 1});
    spec.to = v6({0xfd00, 0, 0, 0, 0, 0, 0, 2});
    return spec;
}

TEST(InnerPacket, ReadsIpv4) {
    PacketSpec spec;
    spec.tos = 0xb9;
    spec.ip_options = Bytes(8);
    Bytes bytes = build(spec);
    bytes.resize(bytes.size() + 11);  // padding
    const auto packet = InnerPacket::parse(bytes);
    ASSERT_TRUE(packet);
    EXPECT_FALSE(packet->v6);
    EXPECT_EQ(packet->header_bytes, 28);
    EXPECT_EQ(packet->length, bytes.size() - 11);
    EXPECT_EQ(packet->tos(), 0xb9);
    EXPECT_EQ(packet->ecn(), 1);
    EXPECT_EQ(packet->protocol(), 6);
    EXPECT_EQ(0, std::memcmp(packet->source(), spec.from.bytes.data(), 4));
    EXPECT_EQ(0, std::memcmp(packet->destination(), spec.to.bytes.data(), 4));
    EXPECT_TRUE(packet->ip4_checksum_valid());
}

TEST(InnerPacket, ReadsIpv6) {
    PacketSpec spec = v6_spec();
    spec.tos = 0xb9;
    Bytes bytes = build(spec);
    const auto packet = InnerPacket::parse(bytes);
    ASSERT_TRUE(packet);
    EXPECT_TRUE(packet->v6);
    EXPECT_EQ(packet->header_bytes, 40);
    EXPECT_EQ(packet->length, bytes.size());
    EXPECT_EQ(packet->tos(), 0xb9);
    EXPECT_EQ(packet->protocol(), 6);
    EXPECT_FALSE(packet->is_fragment());
    EXPECT_EQ(0, std::memcmp(packet->source(), spec.from.bytes.data(), 16));
    EXPECT_EQ(0, std::memcmp(packet->destination(), spec.to.bytes.data(), 16));
}

TEST(InnerPacket, RefusesEveryTruncation) {
    for (const PacketSpec& spec : {PacketSpec{}, v6_spec()}) {
        const Bytes whole = build(spec);
        for (std::size_t n = 0; n < whole.size(); ++n) {
            Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
            ASSERT_FALSE(InnerPacket::parse(cut)) << n;
        }
    }
}

TEST(InnerPacket, RefusesOtherVersions) {
    for (unsigned version = 0; version < 16; ++version) {
        Bytes bytes = build(PacketSpec{});
        bytes[0] = std::byte(version << 4 | 5);
        if (version == 4 || version == 6) continue;
        EXPECT_FALSE(InnerPacket::parse(bytes)) << version;
    }
}

TEST(InnerPacket, RefusesLies) {
    Bytes bytes = build(PacketSpec{});
    for (unsigned words = 0; words < 5; ++words) {
        bytes[0] = std::byte(0x40 | words);
        EXPECT_FALSE(InnerPacket::parse(bytes)) << words;
    }
    bytes = build(PacketSpec{});
    store_be16(&bytes[2], static_cast<std::uint16_t>(bytes.size() + 1));
    EXPECT_FALSE(InnerPacket::parse(bytes));
    store_be16(&bytes[2], 19);
    EXPECT_FALSE(InnerPacket::parse(bytes));
    store_be16(&bytes[2], 0);
    EXPECT_FALSE(InnerPacket::parse(bytes));
    store_be16(&bytes[2], 30);
    bytes[0] = std::byte{0x4f};  // 60 bytes of header in 30 of packet
    EXPECT_FALSE(InnerPacket::parse(bytes));
    bytes = build(v6_spec());
    store_be16(&bytes[4], static_cast<std::uint16_t>(bytes.size() - 39));
    EXPECT_FALSE(InnerPacket::parse(bytes));
}

TEST(InnerPacket, KnowsFragments) {
    for (const unsigned word : {0x2000U, 0x2001U, 0x0001U, 0x1fffU}) {
        PacketSpec spec;
        spec.fragment = static_cast<std::uint16_t>(word);
        Bytes bytes = build(spec);
        EXPECT_TRUE(InnerPacket::parse(bytes)->is_fragment()) << word;
    }
    for (const unsigned word : {0x0000U, 0x4000U}) {
        PacketSpec spec;
        spec.fragment = static_cast<std::uint16_t>(word);
        Bytes bytes = build(spec);
        EXPECT_FALSE(InnerPacket::parse(bytes)->is_fragment()) << word;
    }
}

TEST(InnerPacket, MarkingCongestionKeepsTheHeaderChecksumRight) {
    for (unsigned tos = 0; tos < 256; ++tos) {
        for (const unsigned id : {0U, 1U, 0x1234U, 0xfffeU, 0xffffU}) {
            PacketSpec spec;
            spec.tos = static_cast<std::uint8_t>(tos);
            spec.id = static_cast<std::uint16_t>(id);
            Bytes bytes = build(spec);
            auto packet = InnerPacket::parse(bytes);
            packet->set_ecn(3);
            EXPECT_EQ(packet->tos(), (tos | 3));
            ASSERT_EQ(test::slow_ip_sum(bytes), 0xffff) << tos << " " << id;
            packet->set_ecn(1);
            EXPECT_EQ(packet->tos(), (tos & 0xfc) | 1);
            ASSERT_EQ(test::slow_ip_sum(bytes), 0xffff) << tos << " " << id;
        }
        PacketSpec spec = v6_spec();
        spec.tos = static_cast<std::uint8_t>(tos);
        Bytes bytes = build(spec);
        const Bytes before = bytes;
        auto packet = InnerPacket::parse(bytes);
        packet->set_ecn(3);
        EXPECT_EQ(packet->tos(), (tos | 3));
        EXPECT_EQ(load_be32(bytes.data()) & 0xf00fffff, load_be32(before.data()) & 0xf00fffff);
    }
}

TEST(InnerPacket, PseudoHeader) {
    for (const PacketSpec& spec : {PacketSpec{}, v6_spec()}) {
        Bytes bytes = build(spec);
        const auto packet = InnerPacket::parse(bytes);
        const std::uint16_t folded = checksum_fold(packet->pseudo_header_sum(6, 65500));
        std::byte stored[2];
        std::memcpy(stored, &folded, 2);
        EXPECT_EQ(load_be16(stored), test::slow_sum({}, test::slow_pseudo(bytes, 6, 65500)));
    }
}

}  // namespace
}  // namespace vern
