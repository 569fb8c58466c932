#include "dataplane/core/segmenter.h"

#include <gtest/gtest.h>

#include "packets.h"

namespace vern {
namespace {

using namespace test;

struct Case {
    std::string_view name;
    PacketSpec spec;
};

std::vector<Case> kinds() {
    PacketSpec tcp4, tcp6, udp4, udp6, options, extension;
    tcp6.v6 = udp6.v6 = extension.v6 = true;
    for (PacketSpec* spec : {&tcp6, &udp6, &extension}) {
        spec->from = v6({0xfd00, 1, 2, 3, 4, 5, 6, 7});
        spec->to = v6({0xfd00, 1, 2, 3, 4, 5, 6, 8});
    }
    udp4.protocol = udp6.protocol = 17;
    options.tcp_options = Bytes(12, std::byte{1});
    options.ip_options = Bytes(8, std::byte{1});
    extension.extension = Bytes(16, std::byte{0});
    extension.extension[1] = std::byte{1};
    return {{"tcp4", tcp4}, {"tcp6", tcp6},       {"udp4", udp4},
            {"udp6", udp6}, {"options", options}, {"extension", extension}};
}

std::vector<Bytes> cut(Bytes packet, const VnetHeader& header) {
    const auto parsed = InnerPacket::parse(packet);
    const auto plan = parsed ? Segmenter::plan(*parsed, header) : std::nullopt;
    std::vector<Bytes> out;
    if (!plan) return out;
    for (std::size_t i = 0; i < plan->count(); ++i) {
        Bytes& segment = out.emplace_back(plan->size(i) + 16, std::byte{0xee});
        plan->write(i, segment.data());
        for (std::size_t k = 0; k < 16; ++k) EXPECT_EQ(segment[plan->size(i) + k], std::byte{0xee});
        segment.resize(plan->size(i));
    }
    return out;
}

// What each segment must be: built from scratch, by other code.
std::vector<Bytes> expected(const PacketSpec& spec, std::size_t gso, const Bytes& whole) {
    std::vector<Bytes> out;
    const std::size_t count = (spec.payload + gso - 1) / gso;
    for (std::size_t i = 0; i < count; ++i) {
        PacketSpec part = spec;
        part.payload = std::min(gso, spec.payload - i * gso);
        part.id = static_cast<std::uint16_t>(spec.id + i);
        part.sequence = spec.sequence + static_cast<std::uint32_t>(i * gso);
        if (i > 0) part.flags &= static_cast<std::uint8_t>(~tcp::kCwr);
        if (i + 1 < count) part.flags &= static_cast<std::uint8_t>(~(tcp::kFin | tcp::kPsh));
        Bytes packet = build(part);
        // The payload is a slice of the whole; the checksum follows.
        const std::size_t at = transport_at(spec), head = header_bytes(spec);
        std::memcpy(&packet[head], &whole[head + i * gso], part.payload);
        const std::size_t field = at + (spec.protocol == 17 ? 6 : 16);
        store_be16(&packet[field], 0);
        const auto sum = static_cast<std::uint16_t>(~slow_transport_sum(packet, at, spec.protocol));
        store_be16(&packet[field], sum == 0 ? std::uint16_t{0xffff} : sum);
        out.push_back(packet);
    }
    return out;
}

TEST(Segmenter, EveryKindAndSizeAgreesWithPacketsBuiltFromScratch) {
    for (auto [name, spec] : kinds()) {
        for (const std::size_t payload : {2U, 99U, 1000U, 1448U, 1449U, 14480U, 64000U, 65000U}) {
            for (const std::size_t gso : {1U, 7U, 536U, 1000U, 1447U, 1448U, 9000U, 65000U}) {
                if (payload / gso > 300) continue;
                spec.payload = payload;
                Bytes packet = build(spec);
                leave_partial_checksum(packet, spec);
                const auto segments = cut(packet, superpacket_header(spec, static_cast<std::uint16_t>(gso)));
                const auto wanted = expected(spec, gso, packet);
                ASSERT_EQ(segments.size(), wanted.size()) << name << " " << payload << " " << gso;
                for (std::size_t i = 0; i < segments.size(); ++i) {
                    ASSERT_EQ(segments[i], wanted[i])
                        << name << " " << payload << "/" << gso << " segment " << i;
                    ASSERT_EQ(slow_transport_sum(segments[i], transport_at(spec), spec.protocol), 0xffff);
                    ASSERT_TRUE(spec.v6 || slow_ip_sum(segments[i]) == 0xffff);
                }
            }
        }
    }
}

TEST(Segmenter, CwrOnTheFirstFinAndPshOnTheLast) {
    PacketSpec spec;
    spec.flags = tcp::kAck | tcp::kPsh | tcp::kFin | tcp::kCwr | 0x40;  // and ECE
    spec.payload = 300;
    Bytes packet = build(spec);
    const auto segments = cut(packet, superpacket_header(spec, 100));
    ASSERT_EQ(segments.size(), 3U);
    EXPECT_EQ(std::to_integer<unsigned>(segments[0][33]), tcp::kAck | tcp::kCwr | 0x40U);
    EXPECT_EQ(std::to_integer<unsigned>(segments[1][33]), tcp::kAck | 0x40U);
    EXPECT_EQ(std::to_integer<unsigned>(segments[2][33]), tcp::kAck | tcp::kPsh | tcp::kFin | 0x40U);
}

TEST(Segmenter, SequenceAndIdWrapAround) {
    PacketSpec spec;
    spec.sequence = 0xffffffc0;
    spec.id = 0xffff;
    spec.payload = 300;
    const auto segments = cut(build(spec), superpacket_header(spec, 100));
    ASSERT_EQ(segments.size(), 3U);
    EXPECT_EQ(load_be32(&segments[1][24]), 0xffffffc0U + 100U);
    EXPECT_EQ(load_be16(&segments[1][4]), 0);
    EXPECT_EQ(load_be16(&segments[2][4]), 1);
}

TEST(Segmenter, TheEcnBitOfTheTypeIsMasked) {
    PacketSpec spec;
    spec.payload = 300;
    VnetHeader header = superpacket_header(spec, 100);
    header.gso_type |= VnetHeader::kGsoEcn;
    EXPECT_EQ(cut(build(spec), header).size(), 3U);
}

TEST(Segmenter, TheHeaderLengthOfTheVirtioHeaderIsNotBelieved) {
    for (const std::uint16_t lie : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{65535}}) {
        PacketSpec spec;
        spec.payload = 300;
        VnetHeader header = superpacket_header(spec, 100);
        header.header_bytes = lie;
        EXPECT_EQ(cut(build(spec), header), expected(spec, 100, build(spec)));
    }
}

TEST(Segmenter, APlainPacketGoesAsItIs) {
    for (auto [name, spec] : kinds()) {
        const Bytes packet = build(spec);
        Bytes padded = packet;
        padded.resize(padded.size() + 9);
        const auto out = cut(padded, {});
        ASSERT_EQ(out.size(), 1U);
        EXPECT_EQ(out[0], packet) << name;
    }
}

TEST(Segmenter, CompletesAPlainChecksum) {
    for (auto [name, spec] : kinds()) {
        for (std::size_t payload = 0; payload < 70; ++payload) {
            spec.payload = payload;
            const Bytes right = build(spec);
            Bytes packet = right;
            leave_partial_checksum(packet, spec);
            VnetHeader header = superpacket_header(spec, 0);
            header.gso_type = VnetHeader::kGsoNone;
            const auto out = cut(packet, header);
            ASSERT_EQ(out.size(), 1U);
            ASSERT_EQ(slow_transport_sum(out[0], transport_at(spec), spec.protocol), 0xffff)
                << name << " " << payload;
            ASSERT_EQ(out[0].size(), right.size());
        }
    }
}

TEST(Segmenter, AUdpChecksumOfZeroIsWrittenAsFfff) {
    PacketSpec spec;
    spec.protocol = 17;
    spec.payload = 2;
    Bytes packet = build(spec);
    // Choose the payload so that everything adds up to 0xffff and the checksum comes out as zero.
    store_be16(&packet[28], 0);
    store_be16(&packet[26], 0);
    store_be16(&packet[28], static_cast<std::uint16_t>(~slow_transport_sum(packet, 20, 17)));
    ASSERT_EQ(slow_transport_sum(packet, 20, 17), 0xffff);
    leave_partial_checksum(packet, spec);
    VnetHeader header = superpacket_header(spec, 0);
    header.gso_type = VnetHeader::kGsoNone;
    auto out = cut(packet, header);
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(load_be16(&out[0][26]), 0xffff);
    header.gso_type = VnetHeader::kGsoUdp;
    header.gso_size = 100;
    out = cut(packet, header);
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(load_be16(&out[0][26]), 0xffff);
}

TEST(Segmenter, RefusesFieldsThatMakeNoSense) {
    PacketSpec spec;
    spec.payload = 300;
    const Bytes packet = build(spec);
    const VnetHeader good = superpacket_header(spec, 100);
    ASSERT_EQ(cut(packet, good).size(), 3U);
    const auto refused = [&](auto change, const Bytes& bytes) {
        VnetHeader header = good;
        change(header);
        return cut(bytes, header).empty();
    };
    EXPECT_TRUE(refused([](VnetHeader& h) { h.gso_size = 0; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.flags = 0; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.gso_type = VnetHeader::kGsoTcp6; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.gso_type = VnetHeader::kGsoUdp; },
                        packet));                                         // the checksum lies elsewhere
    EXPECT_TRUE(refused([](VnetHeader& h) { h.gso_type = 3; }, packet));  // UFO
    EXPECT_TRUE(refused([](VnetHeader& h) { h.gso_type = 0x7f; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.checksum_start = 0; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.checksum_start = 19; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.checksum_start = 24; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.checksum_start = 65535; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.checksum_offset = 65535; }, packet));
    EXPECT_TRUE(refused([](VnetHeader& h) { h.checksum_offset = 6; }, packet));
    Bytes bad = packet;
    bad[32] = std::byte{0x40};  // TCP header of 16 bytes
    EXPECT_TRUE(refused([](VnetHeader&) {}, bad));
    bad = packet;
    store_be16(&bad[6], 0x2000);  // a fragment
    EXPECT_TRUE(refused([](VnetHeader&) {}, bad));
    spec.payload = 0;
    EXPECT_TRUE(refused([](VnetHeader&) {}, build(spec)));
    bad = build(spec);
    bad[32] = std::byte{0xf0};  // TCP header past the end
    EXPECT_TRUE(refused([](VnetHeader&) {}, bad));
}

TEST(Segmenter, RefusesAPlainChecksumPastTheEnd) {
    PacketSpec spec;
    spec.payload = 4;
    const Bytes packet = build(spec);
    VnetHeader header = superpacket_header(spec, 0);
    header.gso_type = VnetHeader::kGsoNone;
    header.checksum_offset = static_cast<std::uint16_t>(packet.size() - 20 - 2);
    EXPECT_EQ(cut(packet, header).size(), 1U);
    ++header.checksum_offset;
    EXPECT_EQ(cut(packet, header).size(), 0U);
}

TEST(Segmenter, ArbitraryHeadersNeverGoOutOfBounds) {
    std::mt19937_64 random(4);
    for (int i = 0; i < 30'000; ++i) {
        auto all = kinds();
        PacketSpec spec = all[random() % all.size()].spec;
        spec.payload = random() % 200;
        Bytes packet = build(spec);
        for (int k = 0; k < 3; ++k)
            packet[random() % std::min<std::size_t>(packet.size(), 70)] = static_cast<std::byte>(random());
        VnetHeader header = superpacket_header(spec, static_cast<std::uint16_t>(random() % 300));
        if (random() % 2) header.checksum_start = static_cast<std::uint16_t>(random() % 100);
        if (random() % 2) header.checksum_offset = static_cast<std::uint16_t>(random() % 40);
        if (random() % 2) header.gso_type = static_cast<std::uint8_t>(random() % 8);
        packet.shrink_to_fit();
        std::size_t total = 0;
        for (const Bytes& segment : cut(packet, header)) total += segment.size();
        ASSERT_LT(total, 40'000U);
    }
}

}  // namespace
}  // namespace vern
