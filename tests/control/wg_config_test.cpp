#include "control/wg_config.h"

#include <gtest/gtest.h>

#include <random>

#include "control/text.h"
#include "fake_target.h"

namespace vern {
namespace {

using test::key_bytes;

std::string key(unsigned n) { return to_base64(key_bytes(n)); }
const std::string kInterface = "[Interface]\nPrivateKey = " + key(0x40) + "\n";
const std::string kPeer = "[Peer]\nPublicKey = " + key(1) + "\n";

WgConfig parsed(const std::string& text) {
    auto config = parse_wg_config(text, "wgx.conf");
    EXPECT_TRUE(config) << config.error().message;
    return config ? std::move(*config) : WgConfig{};
}

std::string error_of(const std::string& text) {
    const auto config = parse_wg_config(text, "wgx.conf");
    return config ? "accepted" : config.error().message;
}

std::vector<std::string> texts(const auto& values) {
    std::vector<std::string> list;
    for (const auto& value : values) list.push_back(to_text(value));
    return list;
}

std::vector<std::string> prefixes_of(const WgConfigPeer& peer) {
    std::vector<std::string> list;
    for (const AllowedIpChange& allowed : peer.change.allowed_ips) list.push_back(to_text(allowed.prefix));
    return list;
}

using Texts = std::vector<std::string>;

TEST(WgConfig, EverythingAtOnce) {
    const WgConfig config = parsed(
        "# a comment\n"
        "[Interface] # named\n"
        "PrivateKey = " +
        key(0x40) +
        " # mine\n"
        "Address = 10.0.0.1/24, fd00::1/64\n"
        "Address = 10.0.1.1\n"
        "DNS = 1.1.1.1, example.org\n"
        "DNS = 2606:4700:4700::1111, corp.example\n"
        "MTU = 1380\nTable = off\nListenPort = 51820\nFwMark = 0xCA6C\nSaveConfig = true\n"
        "PreUp = echo a, b\nPostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o "
        "eth0 -j MASQUERADE\n"
        "PostUp = echo second=2\nPreDown = x\nPostDown = y\nPostDown = z\n"
        "\n[Peer]\n"
        "PublicKey = " +
        key(1) + "\nPresharedKey = " + key(2) +
        "\n"
        "AllowedIPs = 10.0.0.2/32, fd00::2/128\nAllowedIPs = 192.168.5.7/24\n"
        "Endpoint = vpn.example.org:51820\nPersistentKeepalive = 25\n"
        "[Peer]\nPublicKey = " +
        key(3) + "\nEndpoint = [2001:db8::1]:443\nPersistentKeepalive = off\nAllowedIPs =\n");
    EXPECT_EQ(to_base64(config.private_key->span()).substr(0, 4), key(0x40).substr(0, 4));
    EXPECT_EQ(texts(config.addresses), (Texts{"10.0.0.1/24", "fd00::1/64", "10.0.1.1/32"}));
    EXPECT_EQ(texts(config.dns), (Texts{"1.1.1.1", "2606:4700:4700::1111"}));
    EXPECT_EQ(config.dns_search, (Texts{"example.org", "corp.example"}));
    EXPECT_EQ(config.mtu, 1380U);
    EXPECT_EQ(config.table, "off");
    EXPECT_EQ(config.listen_port, 51820);
    EXPECT_EQ(config.fwmark, 0xca6cU);
    EXPECT_TRUE(config.save_config);
    EXPECT_EQ(config.pre_up, Texts{"echo a, b"});
    ASSERT_EQ(config.post_up.size(), 2U);
    EXPECT_EQ(config.post_up[1], "echo second=2");
    EXPECT_EQ(config.pre_down, Texts{"x"});
    EXPECT_EQ(config.post_down, (Texts{"y", "z"}));
    ASSERT_EQ(config.peers.size(), 2U);
    const WgConfigPeer& first = config.peers[0];
    EXPECT_EQ(to_base64(first.change.public_key.bytes), key(1));
    EXPECT_EQ(to_base64(first.change.preshared_key->span()), key(2));
    EXPECT_EQ(prefixes_of(first), (Texts{"10.0.0.2/32", "fd00::2/128", "192.168.5.0/24"}));
    EXPECT_EQ(first.endpoint_text, "vpn.example.org:51820");
    EXPECT_FALSE(first.change.endpoint);
    EXPECT_EQ(first.change.persistent_keepalive_s, 25);
    EXPECT_EQ(first.line, 20U);
    EXPECT_EQ(first.endpoint_line, 25U);
    EXPECT_EQ(to_text(*config.peers[1].change.endpoint), "[2001:db8::1]:443");
    EXPECT_EQ(config.peers[1].change.persistent_keepalive_s, 0);
    EXPECT_TRUE(config.peers[1].change.allowed_ips.empty());
    EXPECT_TRUE(config.warnings.empty());
}

TEST(WgConfig, KeysInAnyCaseAndSpacesAnywhere) {
    const WgConfig config =
        parsed("  [INTERFACE]  \r\n\tprivatekey=" + key(0x40) +
               "\r\nADDRESS   =  10.0.0.1/24 ,10.0.0.2/24\r\nlistenPORT=1\r\n"
               "table=AUTO\r\nsaveconfig=TRUE\r\nfwmark=OFF\r\n\r\n[peer]\r\npublickey =" +
               key(1) + "\r\nallowedips= 10.0.0.0/8 , 11.0.0.0/8\r\npersistentkeepalive=OFF");
    EXPECT_TRUE(config.private_key);
    EXPECT_EQ(config.addresses.size(), 2U);
    EXPECT_EQ(config.listen_port, 1);
    EXPECT_EQ(config.table, "auto");
    EXPECT_TRUE(config.save_config);
    EXPECT_EQ(config.fwmark, 0U);
    EXPECT_EQ(prefixes_of(config.peers.at(0)), (Texts{"10.0.0.0/8", "11.0.0.0/8"}));
}

TEST(WgConfig, ListsOfWgQuickMayUseSpaces) {
    const WgConfig config = parsed(kInterface + "Address = 10.0.0.1/24 10.0.0.2/24,\nDNS = 1.1.1.1 lan\n");
    EXPECT_EQ(config.addresses.size(), 2U);
    EXPECT_EQ(config.dns.size(), 1U);
    EXPECT_EQ(config.dns_search, Texts{"lan"});
}

TEST(WgConfig, ByteOrderMarkAndMissingLastLineEnd) {
    EXPECT_TRUE(parsed("\xef\xbb\xbf[Interface]\nListenPort = 1").listen_port);
}

TEST(WgConfig, MarksAndTables) {
    EXPECT_EQ(parsed(kInterface + "FwMark = 51820\n").fwmark, 51820U);
    EXPECT_EQ(parsed(kInterface + "FwMark = 0xFFFFFFFF\n").fwmark, 0xffffffffU);
    EXPECT_EQ(parsed(kInterface + "FwMark = 0\n").fwmark, 0U);
    EXPECT_FALSE(parsed(kInterface).fwmark);
    EXPECT_EQ(parsed(kInterface + "Table = 1234\n").table, "1234");
    EXPECT_EQ(parsed(kInterface + "Table = my_table.2\n").table, "my_table.2");
    EXPECT_EQ(parsed(kInterface + "Table = OFF\n").table, "off");
}

TEST(WgConfig, OneErrorALine) {
    const std::vector<std::pair<std::string, std::string>> cases{
        {kInterface + "ListenPort = 65536\n", "wgx.conf:3: ListenPort: '65536' is not a port (0 to 65535)"},
        {kInterface + "ListenPort = http\n", "wgx.conf:3: ListenPort: 'http' is not a port (0 to 65535)"},
        {kInterface + "ListenPort =\n", "wgx.conf:3: ListenPort: has no value"},
        {kInterface + "FwMark = 0x\n",
         "wgx.conf:3: FwMark: '0x' is not a mark (off, a number, or 0x and up to 8 hexadecimal digits)"},
        {kInterface + "FwMark = 0x100000000\n",
         "wgx.conf:3: FwMark: '0x100000000' is not a mark (off, a number, or 0x and up to 8 hexadecimal "
         "digits)"},
        {kInterface + "FwMark = 0x-1\n",
         "wgx.conf:3: FwMark: '0x-1' is not a mark (off, a number, or 0x and up to 8 hexadecimal digits)"},
        {kInterface + "Address = 10.0.0.1/33\n",
         "wgx.conf:3: Address: '10.0.0.1/33' is not an IP address with or without /length"},
        {kInterface + "DNS = 1.1.1\n", "wgx.conf:3: DNS: '1.1.1' is not an IP address"},
        {kInterface + "DNS = 1::2::3\n", "wgx.conf:3: DNS: '1::2::3' is not an IP address"},
        {kInterface + "DNS = foo;bar\n",
         "wgx.conf:3: DNS: 'foo;bar' is neither an IP address nor a search domain"},
        {kInterface + "MTU = 67\n",
         "wgx.conf:3: MTU: '67' is not an MTU (68 to 65535; 1280 at least for IPv6)"},
        {kInterface + "MTU = auto\n",
         "wgx.conf:3: MTU: 'auto' is not an MTU (68 to 65535; 1280 at least for IPv6)"},
        {kInterface + "Table = a b\n",
         "wgx.conf:3: Table: 'a b' is not a routing table (auto, off, a number from 1 to 4294967295, or a "
         "name)"},
        {kInterface + "Table = 0\n",
         "wgx.conf:3: Table: '0' is not a routing table (auto, off, a number from 1 to 4294967295, or a "
         "name)"},
        {kInterface + "Table = -1\n",
         "wgx.conf:3: Table: '-1' is not a routing table (auto, off, a number from 1 to 4294967295, or a "
         "name)"},
        {kInterface + "SaveConfig = yes\n", "wgx.conf:3: SaveConfig: 'yes' is neither true nor false"},
        {kInterface + "PrivateKey = " + key(5) + "\n",
         "wgx.conf:3: PrivateKey: given twice, first on line 2"},
        {kInterface + "[Interface]\n", "wgx.conf:3: second [Interface], first on line 1"},
        {kInterface + "[Server]\nFoo = 1\n",
         "wgx.conf:3: unknown section '[Server]' ([Interface] or [Peer])"},
        {kInterface + "AllowedIPs = 10.0.0.0/8\n", "wgx.conf:3: AllowedIPs: belongs in a [Peer] section"},
        {kInterface + "nonsense\n", "wgx.conf:3: neither a [Section] nor 'Key = value'"},
        {kInterface + "= 5\n", "wgx.conf:3: not of the form 'Key = value' with a known key"},
        {kInterface + "Adress = 10.0.0.1\n", "wgx.conf:3: unknown key 'Adress' (Address?)"},
        {kInterface + "ListenPrt = 1\n", "wgx.conf:3: unknown key 'ListenPrt' (ListenPort?)"},
        {kInterface + "Colour = blue\n", "wgx.conf:3: unknown key 'Colour'"},
        {"ListenPort = 1\n" + kInterface,
         "wgx.conf:1: ListenPort: before any section: [Interface] must come first"},
        {kPeer, "wgx.conf:1: no [Interface] section"},
        {"", "wgx.conf:1: no [Interface] section"},
        {kInterface + "[Peer]\nAllowedIPs = 10.0.0.0/8\n", "wgx.conf:3: [Peer] without PublicKey"},
        {kInterface + "[Peer]\nPublicKey = abc\n",
         "wgx.conf:4: PublicKey: not a key (44 characters of base64 ending in '=')"},
        {kInterface + "[Peer]\nPublicKey =\n", "wgx.conf:4: PublicKey: has no value"},
        {kInterface + kPeer + kPeer, "wgx.conf:6: PublicKey: duplicate peer, first on line 3"},
        {kInterface + kPeer + "Address = 10.0.0.1\n",
         "wgx.conf:5: Address: belongs in the [Interface] section"},
        {kInterface + kPeer + "Endpoint = 192.0.2.1\n",
         "wgx.conf:5: Endpoint: '192.0.2.1': has no port (host:port or [IPv6 address]:port)"},
        {kInterface + kPeer + "Endpoint = fd00::1:51820\n",
         "wgx.conf:5: Endpoint: 'fd00::1:51820': an IPv6 address needs square brackets: [fd00::1]:51820"},
        {kInterface + kPeer + "Endpoint = [fd00::zz]:51820\n",
         "wgx.conf:5: Endpoint: '[fd00::zz]:51820': 'fd00::zz' is not an IP address"},
        {kInterface + kPeer + "Endpoint = a:1\nEndpoint = b:1\n",
         "wgx.conf:6: Endpoint: given twice, first on line 5"},
        {kInterface + kPeer + "PersistentKeepalive = 65536\n",
         "wgx.conf:5: PersistentKeepalive: '65536' is not a number of seconds (off, or 0 to 65535)"},
        {kInterface + kPeer + "AllowedIPs = 10.0.0.0/8,\n",
         "wgx.conf:5: AllowedIPs: '' is not an IP address with or without /length"},
        {kInterface + kPeer + "AllowedIPs = 10.0.0.0/8 11.0.0.0/8\n",
         "wgx.conf:5: AllowedIPs: '10.0.0.0/8 11.0.0.0/8' is not an IP address with or without /length "
         "(commas go between several)"},
        {kInterface + std::string("MTU\0 = 1\n", 9), "wgx.conf:3: has a zero byte: not a text file"},
    };
    for (const auto& [text, message] : cases) EXPECT_EQ(error_of(text), message) << text;
}

TEST(WgConfig, AllErrorsAreToldUpToTen) {
    EXPECT_EQ(error_of("[Interface]\nMTU = x\nFoo = 1\n[Peer]\n"),
              "wgx.conf:2: MTU: 'x' is not an MTU (68 to 65535; 1280 at least for IPv6)\n"
              "wgx.conf:3: unknown key 'Foo'\n"
              "wgx.conf:4: [Peer] without PublicKey");
    std::string many = kInterface;
    for (int i = 0; i < 15; ++i) many += "Foo = 1\n";
    const std::string told = error_of(many);
    EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 10);
    EXPECT_TRUE(told.ends_with("\nwgx.conf: and 5 more")) << told;
}

TEST(WgConfig, ErrorsNeverShowKeys) {
    const std::string secret = "qqqqSECRETqqqqSECRETqqqqSECRETqqqqSECRETqq=";  // 43 characters
    for (const std::string& line :
         {"PrivateKey = " + secret, "PrivateKey " + secret, secret, "PrivatKey = " + secret,
          secret + " = PrivateKey", "ListenPort = " + secret, "MTU = " + secret, "Address = " + secret,
          "DNS = " + secret + "/", "Table = " + secret, "FwMark = " + secret, "[" + secret + "]",
          "[Peer]\nPresharedKey = " + secret, "[Peer]\nEndpoint = " + secret,
          "[Peer]\nAllowedIPs = " + secret, "[Peer]\nPublicKey = " + secret,
          "[Peer]\nPersistentKeepalive = " + secret}) {
        const std::string told = error_of("[Interface]\n" + line + "\n");
        EXPECT_NE(told, "accepted") << line;
        EXPECT_EQ(told.find("SECRET"), std::string::npos) << told;
    }
}

TEST(WgConfig, WarnsOfAPrefixThatTwoPeersName) {
    const WgConfig config =
        parsed(kInterface + kPeer + "AllowedIPs = 10.0.0.0/8\n[Peer]\nPublicKey = " + key(2) +
               "\nAllowedIPs = 10.9.9.9/8\n");
    EXPECT_EQ(
        config.warnings,
        Texts{"wgx.conf:6: AllowedIPs: 10.0.0.0/8 is also of the peer on line 3; only this peer gets it"});
}

TEST(WgConfig, PrivateKeyIsNeededToComeUp) {
    EXPECT_TRUE(require_private_key(parsed(kInterface), "wgx.conf"));
    const auto none = require_private_key(parsed("[Interface]\n"), "wgx.conf");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().message, "wgx.conf: [Interface] has no PrivateKey (`vern genkey` makes one)");
    EXPECT_TRUE(require_private_key(
        parsed("[Interface]\nPostUp = wg set %i private-key <(pass WireGuard/%i)\n"), "wgx.conf"));
}

TEST(WgConfig, ChangeReplacesWhatWasThere) {
    const DeviceChange change = device_change_of(
        parsed(kInterface + "ListenPort = 5\n" + kPeer + "Endpoint = name:1\nAllowedIPs = ::/0\n"));
    EXPECT_TRUE(change.replace_peers && change.private_key);
    EXPECT_EQ(change.listen_port, 5);
    ASSERT_EQ(change.peers.size(), 1U);
    EXPECT_TRUE(change.peers[0].replace_allowed_ips);
    EXPECT_FALSE(change.peers[0].endpoint);
}

// --- random, both ways ---

WgConfig random_settings(std::mt19937& engine) {
    const auto coin = [&] { return engine() % 2 == 0; };
    WgConfig kept;
    for (auto i = engine() % 3; i > 0; --i) {
        kept.addresses.push_back(*parse_interface_address("10.0." + std::to_string(engine() % 256) + ".1/" +
                                                          std::to_string(engine() % 33)));
    }
    if (coin()) kept.dns.push_back(*parse_address("fd00::53"));
    if (coin()) kept.dns_search = {"example.org", "~corp"};
    if (coin()) kept.mtu = static_cast<std::uint32_t>(1280 + engine() % 8000);
    kept.table = std::array{"auto", "off", "1234", "name"}[engine() % 4];
    if (coin()) kept.pre_up = {"echo 'a = b' %i", "second"};
    if (coin()) kept.post_up = {"iptables -A INPUT -i %i"};
    if (coin()) kept.pre_down = {"x"};
    if (coin()) kept.post_down = {"y", "y"};
    kept.save_config = coin();
    return kept;
}

DeviceStatus random_device(std::mt19937& engine) {
    DeviceStatus device;
    if (engine() % 4 != 0) {
        device.private_key.emplace(key_bytes(static_cast<unsigned>(engine())));
        clamp(*device.private_key);
    }
    device.listen_port = static_cast<std::uint16_t>(engine());
    device.fwmark = engine() % 2 == 0 ? 0 : static_cast<std::uint32_t>(engine());
    const unsigned peers = static_cast<unsigned>(engine() % 5);
    for (unsigned i = 0; i < peers; ++i) {
        PeerStatus& peer = device.peers.emplace_back();
        peer.public_key.bytes = key_bytes(i);
        if (engine() % 2 == 0) peer.preshared_key.assign(key_bytes(static_cast<unsigned>(engine())));
        if (engine() % 2 == 0)
            peer.endpoint = *parse_endpoint(engine() % 2 == 0 ? "192.0.2.1:51820" : "[2001:db8::1]:1");
        peer.persistent_keepalive_s = engine() % 2 == 0 ? 0 : static_cast<std::uint16_t>(engine());
        for (auto j = engine() % 4; j > 0; --j) {
            peer.allowed_ips.push_back(*parse_prefix("fd00:" + std::to_string(i) + "::" + std::to_string(j) +
                                                     "/" + std::to_string(96 + j)));
        }
    }
    return device;
}

DeviceStatus status_of(DeviceChange change) {
    test::FakeTarget target;
    EXPECT_TRUE(target.apply(std::move(change)));
    return target.status();
}

TEST(WgConfig, SurvivesPrintingAndParsing) {
    for (unsigned seed = 0; seed < 500; ++seed) {
        std::mt19937 engine(seed);
        const WgConfig kept = random_settings(engine);
        const SecretText text = format_wg_config(kept, random_device(engine));
        const auto again = parse_wg_config(text, "wgx.conf");
        ASSERT_TRUE(again) << "seed " << seed << ": " << again.error().message;
        EXPECT_TRUE(again->warnings.empty()) << again->warnings.front();
        ASSERT_EQ(format_wg_config(*again, status_of(device_change_of(*again))), text) << "seed " << seed;
    }
}

}  // namespace
}  // namespace vern
