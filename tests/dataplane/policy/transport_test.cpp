// What is behind the IP header, and what is refused because nobody could tell.
#include "dataplane/policy/transport.h"

#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

struct Parsed {
    std::optional<Counter> refused;
    Transport transport;
};
Parsed parse(Bytes bytes) {
    bytes.shrink_to_fit();
    const auto packet = InnerPacket::parse(bytes);
    EXPECT_TRUE(packet);
    Parsed out;
    out.refused = parse_transport(*packet, out.transport);
    return out;
}
std::string refusal(const Bytes& bytes) {
    const Parsed out = parse(bytes);
    return out.refused ? std::string(kCounterInfo[static_cast<std::size_t>(*out.refused)].name) : "";
}

// An IPv6 packet: the chain of (kind, bytes of the header with its first byte to be set), then the end.
Bytes chain(const std::vector<std::pair<unsigned, Bytes>>& headers, unsigned last, std::size_t end_bytes = 20,
            unsigned port = 3306) {
    Bytes packet(40);
    packet[0] = std::byte{0x60};
    packet[8] = packet[24] = std::byte{0xfd};
    packet[23] = std::byte{1};
    packet[39] = std::byte{2};
    packet[6] = std::byte(headers.empty() ? last : headers[0].first);
    for (std::size_t i = 0; i < headers.size(); ++i) {
        Bytes header = headers[i].second;
        header[0] = std::byte(i + 1 < headers.size() ? headers[i + 1].first : last);
        packet.insert(packet.end(), header.begin(), header.end());
    }
    Bytes end(end_bytes);
    if (end_bytes >= 4) {
        store_be16(end.data(), 40000);
        store_be16(end.data() + 2, static_cast<std::uint16_t>(port));
    }
    if (end_bytes >= 20) {
        end[12] = std::byte{0x50};
        end[13] = std::byte{kSyn};
    }
    packet.insert(packet.end(), end.begin(), end.end());
    store_be16(&packet[4], static_cast<std::uint16_t>(packet.size() - 40));
    return packet;
}
Bytes options(unsigned units = 0) {
    Bytes header(8 * (units + 1));
    header[1] = std::byte(units);
    return header;
}
Bytes fragment(unsigned offset, bool more, std::uint32_t id = 99) {
    Bytes header(8);
    store_be16(&header[2], static_cast<std::uint16_t>(offset | (more ? 1 : 0)));
    store_be32(&header[4], id);
    return header;
}
Bytes routing(unsigned type, unsigned left) {
    Bytes header = options(2);
    header[2] = std::byte(type);
    header[3] = std::byte(left);
    return header;
}
Bytes authentication(unsigned words) {
    Bytes header(4 * (words + 2));
    header[1] = std::byte(words);
    return header;
}
constexpr unsigned kHop = 0, kRoute = 43, kFrag = 44, kAh = 51, kEsp = 50, kDest = 60, kMobile = 135,
                   kHipHeader = 139, kShim = 140;

TEST(PolicyTransport, ReadsPortsAndFlags) {
    PacketSpec spec;
    spec.source_port = 1234;
    spec.destination_port = 22;
    spec.flags = kSyn;
    spec.ip_options = Bytes(8, std::byte{1});
    const Parsed tcp = parse(build(spec));
    EXPECT_FALSE(tcp.refused);
    EXPECT_EQ(tcp.transport.protocol, 6);
    EXPECT_EQ(tcp.transport.source_port, 1234);
    EXPECT_EQ(tcp.transport.destination_port, 22);
    EXPECT_EQ(tcp.transport.tcp_flags, kSyn);
    EXPECT_EQ(tcp.transport.offset, 28U);
    EXPECT_EQ(tcp.transport.fragment, Fragment::none);
}

TEST(PolicyTransport, EachExtensionHeaderIsWalkedAndNeverTheEnd) {
    const std::vector<std::pair<unsigned, Bytes>> walked = {
        {kHop, options()},        {kDest, options(3)},      {kRoute, routing(2, 1)},
        {kRoute, routing(4, 0)},  {kAh, authentication(4)}, {kMobile, options(1)},
        {kHipHeader, options(4)}, {kShim, options()},       {kFrag, fragment(0, false)}};
    for (const auto& header : walked) {
        const Parsed out = parse(chain({header}, 6));
        EXPECT_FALSE(out.refused) << header.first;
        EXPECT_EQ(out.transport.protocol, 6) << header.first;
        EXPECT_EQ(out.transport.destination_port, 3306) << header.first;
        EXPECT_EQ(out.transport.offset, 40 + header.second.size());
    }
    EXPECT_EQ(parse(chain({{kFrag, fragment(0, false)}}, 6)).transport.fragment, Fragment::atomic);
    const Parsed all = parse(chain({{kHop, options(1)},
                                    {kDest, options()},
                                    {kRoute, routing(2, 1)},
                                    {kFrag, fragment(0, false)},
                                    {kAh, authentication(1)},
                                    {kHipHeader, options()},
                                    {kDest, options(2)}},
                                   17));
    EXPECT_FALSE(all.refused);
    EXPECT_EQ(all.transport.protocol, 17);
    EXPECT_EQ(all.transport.destination_port, 3306);
}

// Nebula #1789: a length of 255 units, computed in a byte, came out as 0 and the port was read from the wrong
// place.
TEST(PolicyTransport, AnExtensionLengthCannotOverflow) {
    for (const unsigned units : {1U, 31U, 32U, 63U, 254U, 255U}) {
        for (const unsigned kind : {kHop, kDest, kMobile, kHipHeader, kShim, kAh}) {
            Bytes lying = chain({{kind, options()}}, 6);
            lying[41] = std::byte(units);
            const std::size_t claimed = kind == kAh ? (units + 2) * 4 : (units + 1) * 8;
            const std::string expected =
                claimed > lying.size() - 40 ? "policy_extension" : "policy_transport_short";
            EXPECT_EQ(refusal(lying), expected) << kind << " " << units;
        }
    }
    // And one that is as long as it says is walked.
    const Parsed honest = parse(chain({{kDest, options(255)}}, 6));
    EXPECT_FALSE(honest.refused);
    EXPECT_EQ(honest.transport.offset, 40U + 2048);
}

// Nebula #1840: whatever is not known was read as if it had ports.
TEST(PolicyTransport, AnUnknownNextHeaderIsThatProtocolAndNeverTcpOrUdp) {
    for (unsigned protocol = 0; protocol < 256; ++protocol) {
        if (protocol == kHop || protocol == kRoute || protocol == kFrag || protocol == kAh ||
            protocol == kDest || protocol == kMobile || protocol == kHipHeader || protocol == kShim)
            continue;
        const Parsed out = parse(chain({{kDest, options()}}, protocol));
        ASSERT_FALSE(out.refused) << protocol;
        EXPECT_EQ(out.transport.protocol, protocol);
        const bool ports = protocol == 6 || protocol == 17;
        EXPECT_EQ(out.transport.destination_port, ports ? 3306 : 0) << protocol;
        EXPECT_EQ(out.transport.icmp, protocol == 58) << protocol;
    }
}

TEST(PolicyTransport, EspIsTheEndInIpv6AndAhIsNoHeaderInIpv4) {
    EXPECT_EQ(parse(chain({}, kEsp)).transport.protocol, kEsp);
    PacketSpec spec;
    spec.protocol = 51;
    const Parsed out = parse(build(spec));
    EXPECT_FALSE(out.refused);
    EXPECT_EQ(out.transport.protocol, 51);
    EXPECT_EQ(out.transport.destination_port, 0);
}

TEST(PolicyTransport, HeadersOutOfPlaceOrTooMany) {
    EXPECT_EQ(refusal(chain({{kDest, options()}, {kHop, options()}}, 6)), "policy_extension");
    EXPECT_EQ(refusal(chain({{kHop, options()}, {kHop, options()}}, 6)), "policy_extension");
    EXPECT_EQ(refusal(chain({{kFrag, fragment(0, false)}, {kFrag, fragment(0, false)}}, 6)),
              "policy_extension");
    const std::vector<std::pair<unsigned, Bytes>> eight(8, {kDest, options()}), nine(9, {kDest, options()});
    EXPECT_EQ(refusal(chain(eight, 6)), "");
    EXPECT_EQ(refusal(chain(nine, 6)), "policy_extension");
    EXPECT_EQ(refusal(chain({}, kDest, 4)), "policy_extension");
    EXPECT_EQ(refusal(chain({}, kDest, 0)), "policy_extension");
}

TEST(PolicyTransport, WhatNamesItsOwnRouteIsRefused) {
    EXPECT_EQ(refusal(chain({{kRoute, routing(0, 0)}}, 6)), "policy_source_route");
    EXPECT_EQ(refusal(chain({{kRoute, routing(0, 1)}}, 6)), "policy_source_route");
    EXPECT_EQ(refusal(chain({{kRoute, routing(4, 1)}}, 6)), "policy_source_route");
    EXPECT_EQ(refusal(chain({{kRoute, routing(2, 1)}}, 6)), "");
    for (const unsigned kind : {131U, 137U}) {
        PacketSpec spec;
        spec.ip_options = {std::byte{1}, std::byte(kind), std::byte{7}, std::byte{4},
                           std::byte{1}, std::byte{2},    std::byte{3}, std::byte{4}};
        EXPECT_EQ(refusal(build(spec)), "policy_source_route");
        spec.ip_options[0] = std::byte{0};  // the end of the options is before it
        EXPECT_EQ(refusal(build(spec)), "");
    }
    PacketSpec spec;  // lengths that lead nowhere
    for (const unsigned bytes : {0U, 1U, 255U}) {
        spec.ip_options = {std::byte{7}, std::byte(bytes), std::byte{0}, std::byte{0}};
        EXPECT_EQ(refusal(build(spec)), "");
    }
}

TEST(PolicyTransport, TruncatedHeadersAreRefused) {
    for (std::size_t bytes = 0; bytes < 20; ++bytes)
        EXPECT_EQ(refusal(chain({}, 6, bytes)), "policy_transport_short") << bytes;
    for (std::size_t bytes = 0; bytes < 8; ++bytes) {
        EXPECT_EQ(refusal(chain({}, 17, bytes)), "policy_transport_short") << bytes;
        EXPECT_EQ(refusal(chain({}, 58, bytes)), "policy_transport_short") << bytes;
    }
    Bytes offset = chain({}, 6);
    offset[40 + 12] = std::byte{0x40};
    EXPECT_EQ(refusal(offset), "policy_transport_short");
    offset[40 + 12] = std::byte{0x60};
    EXPECT_EQ(refusal(offset), "policy_transport_short");
}

TEST(PolicyTransport, Fragments) {
    PacketSpec spec;
    spec.protocol = 17;
    spec.payload = 16;
    spec.fragment = 0x2000;
    Parsed out = parse(build(spec));
    EXPECT_EQ(out.transport.fragment, Fragment::first);
    EXPECT_EQ(out.transport.destination_port, 5000);
    EXPECT_EQ(out.transport.fragment_end, 24U);
    spec.fragment = 0x2003;
    out = parse(build(spec));
    EXPECT_EQ(out.transport.fragment, Fragment::later);
    EXPECT_EQ(out.transport.destination_port, 0);  // the bytes there are payload
    EXPECT_EQ(out.transport.fragment_begin, 24U);
    spec.payload = 15;  // not a multiple of eight, and more to come
    EXPECT_EQ(refusal(build(spec)), "policy_fragment_malformed");
    spec.fragment = 0x1fff;  // its end lies behind 65535
    spec.payload = 40;
    EXPECT_EQ(refusal(build(spec)), "policy_fragment_malformed");
    spec.fragment = 0x2000;  // a first one without the whole header
    spec.protocol = 6;
    Bytes tiny = build(spec);
    tiny.resize(20 + 16);
    store_be16(&tiny[2], 36);
    EXPECT_EQ(refusal(tiny), "policy_transport_short");

    out = parse(chain({{kFrag, fragment(0, true)}}, 17, 24));
    EXPECT_EQ(out.transport.fragment, Fragment::first);
    EXPECT_EQ(out.transport.destination_port, 3306);
    out = parse(chain({{kDest, options()}, {kFrag, fragment(24, false)}}, 17, 24));
    EXPECT_EQ(out.transport.fragment, Fragment::later);
    EXPECT_EQ(out.transport.protocol, 0);
    EXPECT_EQ(out.transport.fragment_id, 99U);
    EXPECT_EQ(refusal(chain({{kFrag, fragment(0, true)}}, 17, 25)), "policy_fragment_malformed");
}

TEST(PolicyTransport, ReadsNothingOutsideOfWhateverComes) {
    std::mt19937_64 random(3);
    for (int i = 0; i < 200000; ++i) {
        Bytes bytes = random_bytes(random, 20 + random() % 80);
        bytes[0] = random() % 2 ? std::byte(0x45 + random() % 4) : std::byte{0x60};
        if (bytes[0] == std::byte{0x60}) {
            if (bytes.size() < 40) continue;
            store_be16(&bytes[4], static_cast<std::uint16_t>(bytes.size() - 40));
            static constexpr unsigned kKinds[] = {0, 43, 44, 51, 60, 135, 139, 140, 6, 17, 58};
            bytes[6] = std::byte(kKinds[random() % 11]);
            for (std::size_t at = 40; at + 1 < bytes.size(); at += 8) {
                bytes[at] = std::byte(kKinds[random() % 11]);
                bytes[at + 1] &= std::byte{1};
            }
        } else {
            store_be16(&bytes[2], static_cast<std::uint16_t>(bytes.size()));
        }
        const auto packet = InnerPacket::parse(bytes);
        if (!packet) continue;
        Transport out, quoted;
        InnerPacket inside;
        if (parse_transport(*packet, out)) continue;
        ASSERT_LE(out.offset, packet->length);
        if (out.icmp && out.fragment != Fragment::later && parse_quoted(*packet, out, inside, quoted)) {
            ASSERT_LE(quoted.offset + 8, inside.length);
        }
    }
}

}  // namespace
}  // namespace vern::policy
