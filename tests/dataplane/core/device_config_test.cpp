#include <map>
#include <set>

#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

struct DeviceConfig : TwoDevices {
    static PublicKey key(unsigned n) {
        PublicKey key;
        for (std::size_t i = 0; i < 32; ++i) key.bytes[i] = static_cast<std::byte>(n >> (i % 3 * 8));
        key.bytes[31] = std::byte{1};
        return key;
    }
    static PeerChange peer_change(unsigned n, std::initializer_list<Prefix> prefixes = {}) {
        PeerChange change;
        change.public_key = key(n);
        for (const Prefix& prefix : prefixes) change.allowed_ips.push_back({prefix});
        return change;
    }
    Peer* owner(const IpAddress& address) {
        return a.device.snapshot().allowed_ips.find(address.bytes.data(), address.family == Family::v6);
    }
    std::optional<PublicKey> owner_key(const IpAddress& address) {
        const Peer* peer = owner(address);
        return peer ? std::optional(peer->public_key) : std::nullopt;
    }
    static Endpoint c_endpoint() {
        Endpoint other;
        other.address = v4(203, 0, 113, 9);
        other.port = 9;
        return other;
    }
    bool works() {
        a.send_to(b);
        b.send_to(a);
        net.settle();
        return a.take_written().size() == 1 && b.take_written().size() == 1;
    }
};

TEST_F(DeviceConfig, StatusShowsWhatWasApplied) {
    DeviceChange change;
    change.listen_port = 1234;
    change.fwmark = 0xabc;
    PeerChange peer = peer_change(
        1, {{v4(10, 1, 0, 0), 16}, {v4(10, 0, 1, 0), 24}, {v6({0xfd00, 0, 0, 0, 0, 0, 0, 0}), 8}});
    peer.persistent_keepalive_s = 21;
    peer.preshared_key = private_key(9);
    peer.endpoint = b.endpoint;
    peer.endpoint->source = v4(1, 2, 3, 4);
    change.peers.push_back(std::move(peer));
    a.apply(change);
    const DeviceStatus status = a.device.status();
    EXPECT_EQ(*status.private_key, a.key);
    EXPECT_EQ(status.public_key, a.public_key);
    EXPECT_EQ(status.listen_port, 1234);
    EXPECT_EQ(status.fwmark, 0xabcU);
    ASSERT_EQ(status.peers.size(), 2U);
    EXPECT_EQ(status.peers[0].public_key, b.public_key);
    EXPECT_EQ(status.peers[1].public_key, key(1));
    EXPECT_EQ(status.peers[1].persistent_keepalive_s, 21);
    EXPECT_EQ(status.peers[1].preshared_key, private_key(9));
    EXPECT_EQ(status.peers[1].endpoint, b.endpoint);  // without a source
    ASSERT_EQ(status.peers[1].allowed_ips.size(), 3U);
    EXPECT_EQ(status.peers[1].allowed_ips[0].length, 24);
    a.device.set_listen_port(77);
    EXPECT_EQ(a.device.status().listen_port, 77);
}

TEST_F(DeviceConfig, PrefixesMoveBetweenPeersAtOnce) {
    a.change(peer_change(1, {{v4(10, 1, 0, 0), 16}}));
    a.change(peer_change(2, {{v4(10, 1, 2, 0), 24}}));
    EXPECT_EQ(owner_key(v4(10, 1, 9, 9)), key(1));
    EXPECT_EQ(owner_key(v4(10, 1, 2, 9)), key(2));
    a.change(peer_change(2, {{v4(10, 1, 0, 0), 16}}));
    EXPECT_EQ(owner_key(v4(10, 1, 9, 9)), key(2));
    EXPECT_TRUE(a.device.status().peers[1].allowed_ips.empty());
    // Removing the peer that lost it takes nothing from the one that has it.
    PeerChange gone = peer_change(1);
    gone.remove = true;
    a.change(std::move(gone));
    EXPECT_EQ(owner_key(v4(10, 1, 9, 9)), key(2));
}

TEST_F(DeviceConfig, RemovingAPrefixNeedsItsOwner) {
    a.change(peer_change(1, {{v4(10, 1, 0, 0), 16}}));
    PeerChange change = peer_change(2);
    change.allowed_ips.push_back({{v4(10, 1, 0, 0), 16}, true});
    a.change(std::move(change));
    EXPECT_EQ(owner_key(v4(10, 1, 9, 9)), key(1));
    change = peer_change(1);
    change.allowed_ips.push_back({{v4(10, 1, 0, 0), 16}, true});
    a.change(std::move(change));
    EXPECT_EQ(owner_key(v4(10, 1, 9, 9)), std::nullopt);
}

TEST_F(DeviceConfig, ReplaceAllowedIps) {
    a.change(peer_change(1, {{v4(10, 1, 0, 0), 16}, {v4(10, 2, 0, 0), 16}}));
    PeerChange change = peer_change(1, {{v4(10, 3, 0, 0), 16}});
    change.replace_allowed_ips = true;
    a.change(std::move(change));
    EXPECT_EQ(owner(v4(10, 1, 0, 1)), nullptr);
    EXPECT_EQ(owner_key(v4(10, 3, 0, 1)), key(1));
    // Twice in one change: the later replaces the earlier.
    DeviceChange both;
    both.peers.push_back(peer_change(1, {{v4(10, 4, 0, 0), 16}}));
    change = peer_change(1, {{v4(10, 5, 0, 0), 16}});
    change.replace_allowed_ips = true;
    both.peers.push_back(std::move(change));
    a.apply(both);
    EXPECT_EQ(owner(v4(10, 4, 0, 1)), nullptr);
    EXPECT_EQ(owner_key(v4(10, 5, 0, 1)), key(1));
    EXPECT_EQ(a.device.status().peers[1].allowed_ips.size(), 1U);
}

// Random changes against the plain meaning of the words: in order, each prefix has one owner.
TEST_F(DeviceConfig, RandomChangesAgreeWithAModel) {
    std::mt19937_64 random(3);
    std::map<Prefix, unsigned> model{{{b.address, 32}, 1000}};
    std::set<unsigned> peers;
    for (int step = 0; step < 400; ++step) {
        DeviceChange change;
        for (auto n = 1 + random() % 4; n-- > 0;) {
            const auto id = static_cast<unsigned>(1 + random() % 6);
            PeerChange peer = peer_change(id);
            peer.remove = random() % 8 == 0;
            peer.update_only = random() % 4 == 0;
            peer.replace_allowed_ips = random() % 4 == 0;
            for (auto k = random() % 4; k-- > 0;)
                peer.allowed_ips.push_back({{v4(10, static_cast<unsigned>(1 + random() % 5), 0, 0),
                                             static_cast<std::uint8_t>(16 + random() % 2)},
                                            random() % 4 == 0});
            if (peer.remove || (peer.replace_allowed_ips && (peers.contains(id) || !peer.update_only)))
                std::erase_if(model, [&](auto& e) { return e.second == id; });
            if (peer.remove) {
                peers.erase(id);
            } else if (peers.contains(id) || !peer.update_only) {
                peers.insert(id);
                for (const AllowedIpChange& ip : peer.allowed_ips) {
                    if (!ip.remove) {
                        model[ip.prefix] = id;
                    } else if (model.contains(ip.prefix) && model[ip.prefix] == id) {
                        model.erase(ip.prefix);
                    }
                }
            }
            change.peers.push_back(std::move(peer));
        }
        a.apply(change);
        std::map<Prefix, unsigned> got;
        const DeviceStatus status = a.device.status();
        ASSERT_EQ(status.peers.size(), peers.size() + 1) << step;
        for (const PeerStatus& peer : status.peers) {
            unsigned id = 1000;
            for (unsigned n = 1; n <= 6; ++n) {
                if (peer.public_key == key(n)) id = n;
            }
            for (const Prefix& prefix : peer.allowed_ips) got[prefix] = id;
            EXPECT_TRUE(id == 1000 || a.peer(key(id)).allowed_ip_count == peer.allowed_ips.size());
        }
        ASSERT_EQ(got, model) << step;
        a.device.dispose(a.device.take_retired());
    }
}

TEST_F(DeviceConfig, ReplacePeers) {
    connect();
    DeviceChange change;
    change.replace_peers = true;
    change.peers.push_back(peer_change(5, {{v4(10, 0, 0, 0), 8}}));
    a.apply(change);
    ASSERT_EQ(a.device.status().peers.size(), 1U);
    EXPECT_EQ(owner_key(b.address), key(5));
    b.send_to(a);
    a.receive(only(b).bytes, b.endpoint);
    EXPECT_TRUE(a.take_written().empty());
    EXPECT_EQ(a.count(Counter::unknown_index), 1U);
}

TEST_F(DeviceConfig, RemovedPeersSpeakNoMore) {
    connect();
    b.send_to(a);
    const Datagram on_its_way = only(b);
    PeerChange gone;
    gone.public_key = b.public_key;
    gone.remove = true;
    a.change(std::move(gone));
    a.receive(on_its_way.bytes, b.endpoint);
    EXPECT_TRUE(a.take_written().empty());
    a.send_to(b);
    EXPECT_EQ(a.count(Counter::tun_no_route), 1U);
    b.now += seconds(6);
    b.device.set_running(false, b.now);
    b.device.set_running(true, b.now);
    b.send_to(a);
    b.service();
    a.receive(only(b).bytes, b.endpoint);
    a.service();
    EXPECT_TRUE(a.take_sent().empty());
    EXPECT_EQ(a.count(Counter::handshake_unknown_peer), 1U);
}

TEST_F(DeviceConfig, APeerThatIsNotAdmittedLosesItsSessionAndGetsNone) {
    connect();
    b.send_to(a);
    const Datagram on_its_way = only(b);
    a.device.set_admission({.asks_all = false, .asked = {b.public_key}, .admitted = {}}, a.now);
    EXPECT_EQ(session(a, b), nullptr);
    a.receive(on_its_way.bytes, b.endpoint);
    EXPECT_TRUE(a.take_written().empty());
    a.send_to(b);  // we begin nothing
    a.service();
    EXPECT_TRUE(a.take_sent().empty());
    b.now += seconds(6);
    b.wall += seconds(6);
    a.now = b.now;
    b.device.set_running(false, b.now);
    b.device.set_running(true, b.now);
    b.send_to(a);
    b.service();
    a.receive(only(b).bytes, b.endpoint);
    a.service();
    EXPECT_TRUE(a.take_sent().empty());
    EXPECT_EQ(a.count(Counter::handshake_barred), 1U);

    a.device.set_admission({.asks_all = false, .asked = {b.public_key}, .admitted = {b.public_key}}, a.now);
    net.run(seconds(20));
    EXPECT_EQ(a.take_written().size(), 1U);  // what waited at b
    EXPECT_TRUE(works());
}

TEST_F(DeviceConfig, AdmissionCountsForPeersThatAreAddedLater) {
    a.device.set_admission({.asks_all = true, .asked = {}, .admitted = {}}, a.now);
    PeerChange again = b.as_peer(), gone;
    gone.public_key = b.public_key;
    gone.remove = true;
    a.change(std::move(gone));
    a.change(std::move(again));
    b.send_to(a);
    b.service();
    a.receive(only(b).bytes, b.endpoint);
    a.service();
    EXPECT_TRUE(a.take_sent().empty());
    EXPECT_EQ(a.count(Counter::handshake_barred), 1U);
}

// A handshake that was under way when the peer was barred ends with it.
TEST_F(DeviceConfig, AResponseAfterTheBarMakesNoSession) {
    a.send_to(b);
    a.service();
    b.receive(only(a).bytes, a.endpoint);
    b.service();
    const Datagram response = only(b);
    a.device.set_admission({.asks_all = true, .asked = {}, .admitted = {}}, a.now);
    a.receive(response.bytes, b.endpoint);
    a.service();
    EXPECT_EQ(session(a, b), nullptr);
    EXPECT_TRUE(a.take_sent().empty());
}

TEST_F(DeviceConfig, AdmittedPeersKeepTheirSessions) {
    connect();
    const auto before = session(a, b);
    a.device.set_admission({.asks_all = true, .asked = {}, .admitted = {b.public_key}}, a.now);
    EXPECT_EQ(session(a, b), before);
    EXPECT_TRUE(works());
}

TEST_F(DeviceConfig, AnAddressIsOfThePeerWhoseAllowedIpsHoldIt) {
    EXPECT_EQ(a.device.own_public_key(), a.public_key);
    EXPECT_EQ(a.device.peer_of(v4(203, 0, 113, 9)), std::nullopt);
    a.change(peer_change(1, {{v4(10, 1, 0, 0), 16}}));
    EXPECT_EQ(a.device.peer_of(v4(10, 1, 2, 3)), peer_change(1, {}).public_key);
}

TEST_F(DeviceConfig, UpdateOnlyAddsNobody) {
    PeerChange change = peer_change(1, {{v4(10, 1, 0, 0), 16}});
    change.update_only = true;
    a.change(std::move(change));
    EXPECT_EQ(a.device.status().peers.size(), 1U);
    EXPECT_EQ(owner(v4(10, 1, 0, 1)), nullptr);
    PeerChange known;
    known.public_key = b.public_key;
    known.update_only = true;
    known.allowed_ips.push_back({{v4(10, 1, 0, 0), 16}});
    a.change(std::move(known));
    EXPECT_EQ(owner_key(v4(10, 1, 0, 1)), b.public_key);
}

TEST_F(DeviceConfig, AChangeThatIsTooLargeChangesNothing) {
    DeviceChange change;
    change.listen_port = 999;
    change.replace_peers = true;
    PeerChange peer = peer_change(1);
    peer.allowed_ips.resize(kAllowedIpsMax + 1, {{v4(10, 0, 0, 0), 8}});
    change.peers.push_back(std::move(peer));
    const auto result = a.device.apply(change, a.now);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ENOSPC);
    EXPECT_EQ(a.device.status().listen_port, 0);
    EXPECT_EQ(a.device.status().peers.size(), 1U);
    connect();
}

TEST_F(DeviceConfig, PrefixesThatAreNoneAreRefused) {
    const auto answer = [&](const Prefix& prefix) {
        DeviceChange change;
        change.listen_port = 999;
        change.peers.push_back(peer_change(1));
        change.peers.back().allowed_ips = {{prefix}};
        const auto result = a.device.apply(change, a.now);
        return result ? 0 : result.error().code;
    };
    std::array<std::byte, 16> v6{};
    v6[0] = std::byte{0xfd};
    v6[8] = std::byte{0x80};
    EXPECT_EQ(answer({v4(10, 0, 0, 0), 33}), EINVAL);
    EXPECT_EQ(answer({v4(10, 0, 0, 1), 31}), EINVAL);
    EXPECT_EQ(answer({v4(10, 16, 0, 0), 11}), EINVAL);
    EXPECT_EQ(answer({v4(10, 0, 0, 0), 0}), EINVAL);
    EXPECT_EQ(answer({IpAddress{}, 0}), EINVAL);
    EXPECT_EQ(answer({IpAddress::v6(v6), 129}), EINVAL);
    EXPECT_EQ(answer({IpAddress::v6(v6), 64}), EINVAL);
    EXPECT_EQ(a.device.status().listen_port, 0);
    EXPECT_EQ(answer({v4(10, 16, 0, 0), 12}), 0);
    EXPECT_EQ(answer({v4(0, 0, 0, 0), 0}), 0);
    EXPECT_EQ(answer({v4(10, 0, 0, 1), 32}), 0);
    EXPECT_EQ(answer({IpAddress::v6(v6), 65}), 0);
    EXPECT_EQ(answer({IpAddress::v6(v6), 128}), 0);
}

TEST_F(DeviceConfig, APskChangeKeepsTheSessionAndCountsFromTheNextHandshake) {
    connect();
    const Session* before = session(a, b);
    PeerChange psk;
    psk.public_key = b.public_key;
    psk.preshared_key = private_key(77);
    a.change(std::move(psk));
    EXPECT_TRUE(works());
    EXPECT_EQ(session(a, b), before);
    net.advance(kRekeyAfterTime);
    a.send_to(b);
    net.settle();
    EXPECT_EQ(a.count(Counter::handshake_bad_response), 1U);  // b does not have it yet
    PeerChange same;
    same.public_key = a.public_key;
    same.preshared_key = private_key(77);
    b.take_written();
    b.change(std::move(same));
    net.run(seconds(6));
    EXPECT_EQ(session(a, b)->born > before->born, true);
    EXPECT_TRUE(works());
}

TEST_F(DeviceConfig, TheSamePrivateKeyAgainChangesNothing) {
    connect();
    DeviceChange change;
    change.private_key = a.key.clone();
    a.apply(change);
    EXPECT_NE(session(a, b), nullptr);
    EXPECT_TRUE(works());
}

TEST_F(DeviceConfig, ANewPrivateKeyEndsSessions) {
    connect();
    b.send_to(a);
    const Datagram old = only(b);
    DeviceChange change;
    change.private_key = private_key(44);
    a.apply(change);
    EXPECT_EQ(session(a, b), nullptr);
    a.receive(old.bytes, b.endpoint);
    EXPECT_TRUE(a.take_written().empty());
    a.send_to(b);
    a.service();
    b.receive(only(a).bytes, a.endpoint);
    b.service();
    EXPECT_EQ(b.count(Counter::handshake_unknown_peer), 1U);
    PeerChange renamed = a.as_peer();
    renamed.public_key = noise::public_key_of(private_key(44));
    b.change(std::move(renamed));
    a.now += seconds(6);
    a.wall += seconds(6);
    b.now = a.now;
    net.settle();
    EXPECT_EQ(b.take_written().size(), 1U);
}

TEST_F(DeviceConfig, OwnKeyIsNoPeer) {
    PeerChange self = a.as_peer();
    a.change(std::move(self));
    EXPECT_EQ(a.device.status().peers.size(), 1U);
    EXPECT_EQ(owner(a.address), nullptr);
    // A peer whose key becomes our own goes.
    DeviceChange change;
    change.private_key = b.key.clone();
    a.apply(change);
    EXPECT_TRUE(a.device.status().peers.empty());
    EXPECT_EQ(owner(b.address), nullptr);
}

TEST_F(DeviceConfig, PortMarkAndAllowedIpsChangeWhileSessionsLive) {
    connect();
    DeviceChange change;
    change.listen_port = 4000;
    change.fwmark = 5;
    PeerChange peer;
    peer.public_key = b.public_key;
    peer.allowed_ips.push_back({{v4(10, 7, 0, 0), 16}});
    change.peers.push_back(std::move(peer));
    a.apply(change);
    EXPECT_TRUE(works());
    b.tun(udp_packet(v4(10, 7, 0, 1), a.address, 10));
    net.settle();
    EXPECT_EQ(a.take_written().size(), 1U);
    PeerChange none;
    none.public_key = b.public_key;
    none.replace_allowed_ips = true;
    a.change(std::move(none));
    b.send_to(a);
    net.settle();
    EXPECT_TRUE(a.take_written().empty());
    EXPECT_EQ(a.count(Counter::inner_source), 1U);
    EXPECT_EQ(count_type(net.log, 1), 0U);
}

TEST_F(DeviceConfig, AnInterfaceThatIsDownSaysNothing) {
    connect();
    b.send_to(a);
    const Datagram data = only(b);
    PeerChange keepalive;
    keepalive.public_key = b.public_key;
    keepalive.persistent_keepalive_s = 5;
    a.change(std::move(keepalive));
    a.device.set_running(false, a.now);
    EXPECT_EQ(session(a, b), nullptr);
    a.receive(data.bytes, b.endpoint);
    a.send_to(b);
    net.run(seconds(100));
    EXPECT_TRUE(a.take_written().empty());
    for (const Datagram& datagram : net.log) EXPECT_NE(datagram.to, b.endpoint);
    EXPECT_EQ(a.count(Counter::staged_given_up), 1U);
    a.device.set_running(true, a.now);
    net.settle();
    EXPECT_NE(session(a, b), nullptr);
}

TEST_F(DeviceConfig, WhatWaitsWhenTheInterfaceGoesDownIsGivenUp) {
    a.send_to(b);
    a.service();
    a.take_sent();
    a.device.set_running(false, a.now);
    a.service();
    EXPECT_EQ(a.count(Counter::staged_given_up), 1U);
}

TEST_F(DeviceConfig, AnEndpointThatComesLateIsUsedAtOnce) {
    Host c{3};
    c.add(b, false);
    c.send_to(b);
    c.service();
    EXPECT_EQ(c.count(Counter::tun_no_endpoint), 1U);
    c.now += milliseconds(500);
    c.add(b);
    c.send_to(b);
    c.service();
    EXPECT_EQ(only(c).type(), 1U);
}

TEST_F(DeviceConfig, ANewEndpointIsUsedAndASourceForgotten) {
    connect();
    Endpoint with_source = b.endpoint;
    with_source.source = a.endpoint.address;
    with_source.interface_index = 3;
    b.send_to(a);
    a.receive(only(b).bytes, with_source);
    a.send_to(b);
    EXPECT_EQ(only(a).to, with_source);
    a.device.clear_sources();
    a.send_to(b);
    EXPECT_EQ(only(a).to, b.endpoint);
    PeerChange moved;
    moved.public_key = b.public_key;
    moved.endpoint = c_endpoint();
    a.change(std::move(moved));
    a.send_to(b);
    EXPECT_EQ(only(a).to, c_endpoint());
}

TEST_F(DeviceConfig, ARefusedSourceIsForgotten) {
    connect();
    Endpoint with_source = b.endpoint;
    with_source.source = a.endpoint.address;
    b.send_to(a);
    a.receive(only(b).bytes, with_source);
    a.sink.refuse_source = true;
    PeerChange keepalive;
    keepalive.public_key = b.public_key;
    keepalive.persistent_keepalive_s = 5;
    a.change(std::move(keepalive));
    a.service();
    EXPECT_EQ(only(a).to, with_source);
    EXPECT_EQ(a.peer(b).endpoint, b.endpoint);
}

TEST_F(DeviceConfig, ADatagramThatIsRefusedWithAndWithoutItsSourceIsBoth) {
    connect();
    Endpoint with_source = b.endpoint;
    with_source.source = a.endpoint.address;
    b.send_to(a);
    a.receive(only(b).bytes, with_source);
    a.sink.refuse = a.sink.refuse_source = true;
    PeerChange keepalive;
    keepalive.public_key = b.public_key;
    keepalive.persistent_keepalive_s = 5;
    a.change(std::move(keepalive));
    a.service();
    EXPECT_EQ(a.count(Counter::send_failed), 1U);
    EXPECT_EQ(a.peer(b).endpoint, b.endpoint);
}

TEST_F(DeviceConfig, WhoIsAskedIsFoundInWhateverOrder) {
    connect();
    Admission admission{.asks_all = false, .asked = {b.public_key}, .admitted = {}};
    for (unsigned i = 1; i < 10; ++i) admission.asked.push_back(key(i));
    std::ranges::sort(admission.asked, std::greater{});
    a.device.set_admission(std::move(admission), a.now);
    EXPECT_EQ(session(a, b), nullptr);
}

TEST_F(DeviceConfig, WhatTheKernelRefusesToSendIsCounted) {
    connect();
    a.sink.refuse = true;
    PeerChange keepalive;
    keepalive.public_key = b.public_key;
    keepalive.persistent_keepalive_s = 5;
    a.change(std::move(keepalive));
    a.service();
    ASSERT_EQ(a.sink.sent.size(), 1U);
    EXPECT_EQ(a.count(Counter::send_failed), 1U);
    a.sink.refuse = false;
    a.now += seconds(6);
    a.service();
    EXPECT_EQ(a.count(Counter::send_failed), 1U);
}

TEST_F(DeviceConfig, TenThousandPeers) {
    DeviceChange change;
    for (unsigned i = 1; i <= 10'000; ++i)
        change.peers.push_back(peer_change(i, {{v4(10, 1 + i / 65536, i / 256 % 256, i % 256), 32}}));
    a.apply(change);
    EXPECT_EQ(a.device.status().peers.size(), 10'001U);
    for (unsigned i = 1; i <= 10'000; i += 7) ASSERT_EQ(owner_key(v4(10, 1, i / 256, i % 256)), key(i));
    connect();
    for (PeerChange& peer : change.peers) peer.remove = true;
    a.apply(change);
    EXPECT_EQ(a.device.status().peers.size(), 1U);
    EXPECT_TRUE(works());
}

}  // namespace
}  // namespace vern
