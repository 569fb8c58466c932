#include "control/uapi.h"

#include <gtest/gtest.h>

#include <random>

#include "control/text.h"
#include "fake_target.h"

namespace vern {
namespace {

using test::FakeTarget;
using test::key_bytes;

const std::string kHex1(64, 'a');
const std::string kHex2(64, 'b');

std::string error_of(std::string_view body) {
    const auto change = parse_uapi_set(body);
    return change ? "accepted" : change.error().message;
}

TEST(UapiSet, Empty) {
    const auto change = parse_uapi_set("");
    ASSERT_TRUE(change);
    EXPECT_FALSE(change->private_key || change->listen_port || change->fwmark || change->replace_peers);
    EXPECT_TRUE(change->peers.empty());
}

TEST(UapiSet, EveryKey) {
    const auto change = parse_uapi_set(
        "private_key=" + kHex1 +
        "\nlisten_port=51820\nfwmark=4294967295\nreplace_peers=true\n"
        "public_key=" +
        kHex1 + "\nupdate_only=true\npreshared_key=" + kHex2 +
        "\nendpoint=[2001:db8::1]:51820\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n"
        "allowed_ip=10.1.2.3/8\nallowed_ip=-10.0.0.0/8\nallowed_ip=::/0\nprotocol_version=1\n"
        "public_key=" +
        kHex2 + "\nremove=true\n");
    ASSERT_TRUE(change) << change.error().message;
    PrivateKey clamped;
    ASSERT_TRUE(from_hex(kHex1, clamped.writable()));
    clamp(clamped);
    EXPECT_TRUE(change->private_key == clamped);
    EXPECT_EQ(change->listen_port, 51820);
    EXPECT_EQ(change->fwmark, 0xffffffffU);
    EXPECT_TRUE(change->replace_peers);
    ASSERT_EQ(change->peers.size(), 2U);
    const PeerChange& first = change->peers[0];
    EXPECT_EQ(to_hex(first.public_key.bytes), kHex1);
    EXPECT_TRUE(first.update_only && first.replace_allowed_ips && !first.remove);
    EXPECT_EQ(to_hex(first.preshared_key->span()), kHex2);
    EXPECT_EQ(to_text(*first.endpoint), "[2001:db8::1]:51820");
    EXPECT_EQ(first.persistent_keepalive_s, 25);
    ASSERT_EQ(first.allowed_ips.size(), 3U);
    EXPECT_EQ(to_text(first.allowed_ips[0].prefix), "10.0.0.0/8");
    EXPECT_FALSE(first.allowed_ips[0].remove);
    EXPECT_TRUE(first.allowed_ips[1].remove);
    EXPECT_EQ(to_text(first.allowed_ips[2].prefix), "::/0");
    EXPECT_TRUE(change->peers[1].remove);
}

TEST(UapiSet, ZeroKeysMeanNone) {
    const std::string zero(64, '0');
    const auto change =
        parse_uapi_set("private_key=" + zero + "\npublic_key=" + kHex1 + "\npreshared_key=" + zero);
    ASSERT_TRUE(change);
    EXPECT_TRUE(change->private_key->is_zero());
    EXPECT_TRUE(change->peers[0].preshared_key->is_zero());
}

TEST(UapiSet, RefusesEachWrongLine) {
    const std::string peer = "public_key=" + kHex1 + "\n";
    const std::vector<std::pair<std::string, std::string>> cases{
        {"listen_port", "line 1: not of the form key=value"},
        {"=1", "line 1: not of the form key=value"},
        {"\nlisten_port=1", "line 1: not of the form key=value"},
        {"listen_port=65536", "line 1: listen_port: not a number from 0 to 65535"},
        {"listen_port=", "line 1: listen_port: not a number from 0 to 65535"},
        {"listen_port=+1", "line 1: listen_port: not a number from 0 to 65535"},
        {"listen_port= 1", "line 1: listen_port: not a number from 0 to 65535"},
        {"fwmark=0x10", "line 1: fwmark: not a number from 0 to 4294967295"},
        {"fwmark=4294967296", "line 1: fwmark: not a number from 0 to 4294967295"},
        {"replace_peers=false", "line 1: replace_peers: can only be 'true'"},
        {"replace_peers=1", "line 1: replace_peers: can only be 'true'"},
        {"private_key=" + kHex1 + "a", "line 1: private_key: not a key (64 hexadecimal digits)"},
        {"private_key=" + kHex1.substr(1), "line 1: private_key: not a key (64 hexadecimal digits)"},
        {"private_key=" + kHex1.substr(1) + "g", "line 1: private_key: not a key (64 hexadecimal digits)"},
        {"Private_key=" + kHex1, "line 1: Private_key: no such key before the first public_key"},
        {"allowed_ip=10.0.0.0/8", "line 1: allowed_ip: no such key before the first public_key"},
        {"public_key=abc", "line 1: public_key: not a key (64 hexadecimal digits)"},
        {peer + "listen_port=1", "line 2: listen_port: no such key of a peer"},
        {peer + "remove=false", "line 2: remove: can only be 'true'"},
        {peer + "update_only=yes", "line 2: update_only: can only be 'true'"},
        {peer + "replace_allowed_ips=", "line 2: replace_allowed_ips: can only be 'true'"},
        {peer + "preshared_key=xyz", "line 2: preshared_key: not a key (64 hexadecimal digits)"},
        {peer + "endpoint=example.org:1", "line 2: endpoint: 'example.org' is not an IP address"},
        {peer + "endpoint=192.0.2.1:0", "line 2: endpoint: '0' is not a port (1 to 65535)"},
        {peer + "persistent_keepalive_interval=off",
         "line 2: persistent_keepalive_interval: not a number from 0 to 65535"},
        {peer + "persistent_keepalive_interval=65536",
         "line 2: persistent_keepalive_interval: not a number from 0 to 65535"},
        {peer + "allowed_ip=10.0.0.1", "line 2: allowed_ip: '10.0.0.1' is not a prefix (address/length)"},
        {peer + "allowed_ip=10.0.0.1/33",
         "line 2: allowed_ip: '10.0.0.1/33' is not a prefix (address/length)"},
        {peer + "allowed_ip=--10.0.0.0/8",
         "line 2: allowed_ip: '-10.0.0.0/8' is not a prefix (address/length)"},
        {peer + "protocol_version=2", "line 2: protocol_version: only version 1 is spoken here"},
        {peer + "last_handshake_time_sec=1", "line 2: last_handshake_time_sec: no such key of a peer"},
        {"listen_port=1\r\n", "line 1: listen_port: not a number from 0 to 65535"},
        {std::string(5000, 'x'), "line 1: too long"},
        {std::string(40, 'x') + "=1",
         "line 1: " + std::string(32, 'x') + "...: no such key before the first public_key"},
    };
    for (const auto& [body, message] : cases) EXPECT_EQ(error_of(body), message) << body;
}

TEST(UapiSet, ErrorsNeverShowSecrets) {
    const std::string secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeX";
    for (const std::string& body :
         {"private_key=" + secret, "public_key=" + kHex1 + "\npreshared_key=" + secret, secret,
          secret + "\n"}) {
        EXPECT_EQ(error_of(body).find("0123"), std::string::npos) << error_of(body);
    }
}

TEST(UapiGet, LooksAsTheProtocolSays) {
    DeviceStatus status;
    status.private_key.emplace(key_bytes(8));
    clamp(*status.private_key);
    status.listen_port = 12912;
    status.fwmark = 7;
    PeerStatus& peer = status.peers.emplace_back();
    peer.public_key.bytes = key_bytes(2);
    peer.preshared_key.assign(key_bytes(3));
    peer.endpoint = *parse_endpoint("[abcd:23::33]:51820");
    peer.latest_handshake = WallTime(std::chrono::seconds(1700000000) + std::chrono::nanoseconds(42));
    peer.receive_bytes = 2224;
    peer.transmit_bytes = 0xffffffffffffffffU;
    peer.persistent_keepalive_s = 111;
    peer.allowed_ips = {*parse_prefix("192.168.4.4/32"), *parse_prefix("::/0")};
    status.peers.emplace_back().public_key.bytes = key_bytes(4);
    EXPECT_EQ(std::string_view(format_uapi_get(status)),
              "private_key=080000000000000000000000000000005a000000000000000000000000000040\n"
              "listen_port=12912\nfwmark=7\n"
              "public_key=020000000000000000000000000000005a000000000000000000000000000000\n"
              "preshared_key=030000000000000000000000000000005a000000000000000000000000000000\n"
              "protocol_version=1\nendpoint=[abcd:23::33]:51820\n"
              "last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=42\n"
              "tx_bytes=18446744073709551615\nrx_bytes=2224\npersistent_keepalive_interval=111\n"
              "allowed_ip=192.168.4.4/32\nallowed_ip=::/0\n"
              "public_key=040000000000000000000000000000005a000000000000000000000000000000\n"
              "protocol_version=1\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"
              "tx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n");
}

TEST(UapiGet, ParserPassesOverWhatItDoesNotKnow) {
    const auto status = parse_uapi_get("private_key=" + std::string(64, '0') + "\njc=3\npublic_key=" + kHex1 +
                                       "\nfoo=bar\nrx_bytes=5\n");
    ASSERT_TRUE(status);
    EXPECT_FALSE(status->private_key);
    EXPECT_EQ(status->peers.at(0).receive_bytes, 5U);
    EXPECT_FALSE(parse_uapi_get("public_key=" + kHex1 + "\nrx_bytes=-5\n"));
    EXPECT_FALSE(parse_uapi_get("nonsense\n"));
}

TEST(UapiGet, HandshakeTimesOutOfRangeAreHeld) {
    const auto status = parse_uapi_get(
        "public_key=" + kHex1 +
        "\nlast_handshake_time_sec=18446744073709551615\nlast_handshake_time_nsec=18446744073709551615\n");
    ASSERT_TRUE(status);
    EXPECT_TRUE(status->peers.at(0).latest_handshake);
}

// --- random, both ways ---

class Random {
  public:
    explicit Random(unsigned seed) : engine_(seed) {}
    unsigned below(unsigned n) { return static_cast<unsigned>(engine_() % n); }
    bool coin() { return below(2) == 0; }
    std::uint64_t wide() { return engine_(); }
    Prefix prefix() {
        const bool v4 = coin();
        std::array<std::byte, 16> bytes;
        for (std::byte& b : bytes) b = static_cast<std::byte>(below(256));
        const auto address = v4 ? IpAddress::v4(std::span(bytes).first<4>())
                                : IpAddress::v6(std::span<const std::byte, 16>(bytes));
        return *parse_prefix(to_text(address) + "/" + std::to_string(below(v4 ? 33 : 129)));
    }
    Endpoint endpoint() {
        Endpoint endpoint;
        endpoint.address = prefix().address;
        endpoint.port = static_cast<std::uint16_t>(1 + below(65535));
        return endpoint;
    }

  private:
    std::mt19937_64 engine_;
};

DeviceChange random_change(Random& random) {
    DeviceChange change;
    if (random.coin()) {
        change.private_key.emplace(key_bytes(random.below(1000)));
        clamp(*change.private_key);
    }
    if (random.coin()) change.listen_port = static_cast<std::uint16_t>(random.below(65536));
    if (random.coin()) change.fwmark = static_cast<std::uint32_t>(random.wide());
    change.replace_peers = random.coin();
    for (unsigned i = random.below(6); i > 0; --i) {
        PeerChange& peer = change.peers.emplace_back();
        peer.public_key.bytes = key_bytes(random.below(1000));
        peer.remove = random.below(8) == 0;
        peer.update_only = random.coin();
        peer.replace_allowed_ips = random.coin();
        if (random.coin()) peer.preshared_key.emplace(key_bytes(random.below(1000)));
        if (random.coin()) peer.endpoint = random.endpoint();
        if (random.coin()) peer.persistent_keepalive_s = static_cast<std::uint16_t>(random.below(65536));
        for (unsigned j = random.below(5); j > 0; --j)
            peer.allowed_ips.push_back({random.prefix(), random.coin()});
    }
    return change;
}

TEST(Uapi, SetSurvivesPrintingAndParsing) {
    for (unsigned seed = 0; seed < 500; ++seed) {
        Random random(seed);
        const SecretText text = format_uapi_set(random_change(random));
        const auto parsed = parse_uapi_set(text);
        ASSERT_TRUE(parsed) << "seed " << seed << ": " << parsed.error().message;
        ASSERT_EQ(format_uapi_set(*parsed), text) << "seed " << seed;
    }
}

TEST(Uapi, GetSurvivesPrintingAndParsing) {
    for (unsigned seed = 0; seed < 500; ++seed) {
        Random random(seed);
        FakeTarget target;
        ASSERT_TRUE(target.apply(random_change(random)));
        for (PeerStatus& peer : target.device.peers) {
            peer.receive_bytes = random.wide();
            peer.transmit_bytes = random.wide();
            if (random.coin()) peer.latest_handshake = WallTime(std::chrono::nanoseconds(random.wide() >> 2));
        }
        const SecretText text = format_uapi_get(target.status());
        const auto parsed = parse_uapi_get(text);
        ASSERT_TRUE(parsed) << "seed " << seed << ": " << parsed.error().message;
        ASSERT_EQ(format_uapi_get(*parsed), text) << "seed " << seed;
        ASSERT_EQ(parsed->public_key, target.device.public_key);
    }
}

// A cut anywhere, or one bad character anywhere, gives an error or a change of the same form; it never gives
// half a line.
TEST(Uapi, DamagedTextIsRefusedOrWhole) {
    Random random(1);
    const SecretText text = format_uapi_set(random_change(random));
    for (std::size_t i = 0; i <= text.size(); ++i) {
        const auto cut = parse_uapi_set(std::string_view(text).substr(0, i));
        if (cut) {
            EXPECT_TRUE(parse_uapi_set(format_uapi_set(*cut)));
        }
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        SecretText damaged = text;
        damaged[i] = '\x01';
        EXPECT_FALSE(parse_uapi_set(damaged)) << i;
    }
}

}  // namespace
}  // namespace vern
