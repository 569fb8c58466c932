#include "operators.h"

#include <algorithm>

#include "host.h"
#include "world.h"

namespace vern::sim {

void Operators::set_up() {
    Rng& rng = world_.rng;
    const HostId hosts = world_.host_count();
    const auto join = [&](HostId a, HostId b) {
        rng.fill(psk(a, b).writable());
        if (rng.chance(0.5)) psk(a, b).wipe();
        const auto known_by = rng.below(5);  // 0: only a knows where the other is, 1: only b, else both
        for (const auto& [self, peer, knows] :
             {std::tuple{a, b, known_by != 1}, std::tuple{b, a, known_by != 0}}) {
            PeerSetting& setting = world_.host(self).setting(peer);
            setting.neighbour = setting.present = true;
            setting.preshared_key.assign(psk(a, b).span());
            if (knows) setting.endpoint = world_.host(peer).place();
            if (rng.chance(0.3)) setting.keepalive_s = static_cast<std::uint16_t>(rng.range(1, 30));
        }
    };
    for (HostId host = 1; host < hosts; ++host) {
        const auto first = static_cast<HostId>(rng.below(host));
        for (HostId other = 0; other < host; ++other) {
            if (other == first || rng.chance(0.3)) join(other, host);
        }
    }
    for (HostId id = 0; id < hosts; ++id) {
        Host& host = world_.host(id);
        Owners owners;
        for (HostId peer = 0; peer < hosts; ++peer) {
            if (!host.setting(peer).present) continue;
            owners.give(home_prefix(peer, false), peer);
            owners.give(home_prefix(peer, true), peer);
        }
        host.set_owners(std::move(owners));
        host.start();
    }
}

void Operators::begin() {
    active_ = true;
    if (world_.profile.fault_interval > 0)
        world_.agenda.in(world_.rng.range(0, 2 * world_.profile.fault_interval), [this] { tick(); });
}

void Operators::tick() {
    if (!active_) return;
    act(world_.host(world_.rng.below(world_.host_count())));
    world_.agenda.in(world_.rng.range(kMillisecond, 2 * world_.profile.fault_interval), [this] { tick(); });
}

void Operators::act(Host& host) {
    static constexpr std::array kKinds{Fault::allowed_ip_moved,  Fault::psk_changed,  Fault::endpoint_set,
                                       Fault::keepalive_toggled, Fault::peer_removed, Fault::key_changed,
                                       Fault::key_removed,       Fault::mtu_changed,  Fault::peer_barred};
    Rng& rng = world_.rng;
    std::array<HostId, kHostsMax> neighbours;
    std::size_t count = 0;
    for (HostId peer = 0; peer < world_.host_count(); ++peer) {
        if (host.setting(peer).neighbour) neighbours[count++] = peer;
    }
    const HostId peer = neighbours[rng.below(count)];
    const Fault what = kKinds[rng.below(kKinds.size())];
    if (!world_.profile.may(what)) return;
    world_.trace.add(world_.now(), Event::fault, host.id(), peer, static_cast<std::uint64_t>(what));
    world_.coverage.add(what);
    switch (what) {
        case Fault::allowed_ip_moved: return move_allowed_ip(host, peer);
        case Fault::psk_changed: return change_psk(host, peer);
        case Fault::endpoint_set: return set_endpoint(host, peer);
        case Fault::keepalive_toggled: return toggle_keepalive(host, peer);
        case Fault::peer_removed: return remove_peer(host, peer);
        case Fault::peer_barred: return bar_peer(host, peer);
        case Fault::key_changed: return change_key(host);
        case Fault::key_removed: return remove_key(host);
        default: return change_mtu(host);
    }
}

// A prefix, or a part of one, goes from one peer to another (or to itself: then the part only makes the table
// deeper), or away.
void Operators::move_allowed_ip(Host& host, HostId peer) {
    Rng& rng = world_.rng;
    if (!host.setting(peer).present) return;
    const auto whose = static_cast<HostId>(rng.below(world_.host_count()));
    const bool v6 = rng.chance(0.4);
    Prefix prefix = home_prefix(whose, v6);
    if (rng.chance(0.7)) {
        const auto more = static_cast<std::uint8_t>(rng.range(1, 8));
        prefix.address.bytes[v6 ? 15 : 3] = static_cast<std::byte>(rng.below(256) & (0xff00U >> more) & 0xff);
        prefix.length = static_cast<std::uint8_t>(prefix.length + more);
    }
    Owners owners = host.owners();
    PeerChange change;
    change.public_key = world_.host(peer).public_key();
    change.update_only = true;
    const bool remove = rng.chance(0.2);
    if (remove)
        std::erase_if(owners.entries,
                      [&](const Owners::Entry& e) { return e.prefix == prefix && e.owner == peer; });
    else
        owners.give(prefix, peer);
    change.allowed_ips.push_back({prefix, remove});
    world_.ledger.order_may_change();
    // The setting's key may be newer than the core's: then this names nobody, and nothing may change here
    // either.
    if (host.up() && !host.peer(peer)) return;
    if (!world_.sabotaged(Sabotage::skip_configuration)) {
        DeviceChange device;
        device.peers.push_back(std::move(change));
        host.set_owners(std::move(owners));
        host.apply(device);
    } else {
        host.set_owners(std::move(owners));
    }
}

void Operators::change_psk(Host& host, HostId peer) {
    world_.rng.fill(psk(host.id(), peer).writable());
    const auto tell = [this](Host& one, HostId other) {
        if (!one.setting(other).present) return;
        one.setting(other).preshared_key.assign(psk(one.id(), other).span());
        DeviceChange change;
        PeerChange& entry = change.peers.emplace_back();
        entry.public_key = world_.host(other).public_key();
        entry.update_only = true;
        entry.preshared_key.emplace(psk(one.id(), other).span());
        one.apply(change);
    };
    tell(host, peer);
    world_.agenda.in(world_.rng.range(0, 2 * kSecond), [this, tell, &host, peer] {
        if (active_) tell(world_.host(peer), host.id());
    });
}

void Operators::set_endpoint(Host& host, HostId peer) {
    if (!host.setting(peer).present || (host.up() && !host.peer(peer))) return;
    host.setting(peer).endpoint = world_.host(peer).place();
    DeviceChange change;
    PeerChange& entry = change.peers.emplace_back();
    entry.public_key = world_.host(peer).public_key();
    entry.update_only = true;
    entry.endpoint.emplace();
    entry.endpoint->address = world_.host(peer).place().ip;
    entry.endpoint->port = world_.host(peer).place().port;
    if (host.up()) host.endpoint_set(peer, world_.host(peer).place());
    host.apply(change);
}

void Operators::toggle_keepalive(Host& host, HostId peer) {
    PeerSetting& setting = host.setting(peer);
    if (!setting.present) return;
    setting.keepalive_s =
        setting.keepalive_s != 0 ? std::uint16_t{0} : static_cast<std::uint16_t>(world_.rng.range(1, 30));
    DeviceChange change;
    PeerChange& entry = change.peers.emplace_back();
    entry.public_key = world_.host(peer).public_key();
    entry.update_only = true;
    entry.persistent_keepalive_s = setting.keepalive_s;
    host.apply(change);
}

void Operators::remove_peer(Host& host, HostId peer) {
    PeerSetting& setting = host.setting(peer);
    if (!setting.present) return;
    world_.ledger.order_may_change();
    setting.present = false;
    Owners owners = host.owners();
    owners.drop(peer);
    host.set_owners(std::move(owners));
    DeviceChange change;
    if (host.up()) {
        for (const Peer* one : host.device().snapshot().peers) {
            if (world_.host_with_key(one->public_key) != peer) continue;
            PeerChange& entry = change.peers.emplace_back();
            entry.public_key = one->public_key;
            entry.remove = true;
        }
        host.apply(change);
    }
    world_.agenda.in(world_.rng.range(0, 5 * kSecond), [this, &host, peer] {
        if (active_ && !host.setting(peer).present) add_peer(host, peer, world_.rng.chance(0.6));
    });
}

void Operators::add_peer(Host& host, HostId peer, bool with_endpoint) {
    PeerSetting& setting = host.setting(peer);
    setting.present = true;
    ++setting.life;
    setting.preshared_key.assign(psk(host.id(), peer).span());
    setting.endpoint.reset();
    if (with_endpoint)
        setting.endpoint = world_.host(peer).place();
    else
        world_.coverage.add(Fault::endpoint_unknown);
    Owners owners = host.owners();
    owners.drop(peer);
    owners.give(home_prefix(peer, false), peer);
    owners.give(home_prefix(peer, true), peer);
    host.set_owners(std::move(owners));
    DeviceChange change;
    if (host.up()) {
        // Under another key it is another peer to the core.
        for (const Peer* one : host.device().snapshot().peers) {
            if (world_.host_with_key(one->public_key) != peer) continue;
            PeerChange& entry = change.peers.emplace_back();
            entry.public_key = one->public_key;
            entry.remove = true;
        }
        if (setting.endpoint) host.endpoint_set(peer, *setting.endpoint);
    }
    change.peers.push_back(host.whole_peer(peer));
    host.apply(change);
}

// An identity is asked of it that it has not proven, until it has.
void Operators::bar_peer(Host& host, HostId peer) {
    const Peer* one = host.up() ? host.peer(peer) : nullptr;
    if (one == nullptr) return;
    world_.ledger.order_may_change();
    host.device().set_admission({.asks_all = false, .asked = {one->public_key}, .admitted = {}},
                                instant(host.boot()));
    if (one->current != nullptr || one->next != nullptr || one->previous != nullptr || one->handshake_running)
        world_.fail("admission", "a peer that is not admitted keeps a session or a handshake");
    world_.agenda.in(world_.rng.range(0, 20 * kSecond), [this, &host] { admit_all(host); });
}

void Operators::admit_all(Host& host) {
    if (host.up()) host.device().set_admission({}, instant(host.boot()));
}

void Operators::change_key(Host& host) {
    world_.ledger.order_may_change();
    host.new_key();
    host.use_key(true);
    for (HostId other = 0; other < world_.host_count(); ++other) {
        if (!world_.host(other).setting(host.id()).neighbour) continue;
        world_.agenda.in(world_.rng.range(0, 3 * kSecond), [this, other, id = host.id()] {
            if (active_ && world_.host(other).setting(id).present) add_peer(world_.host(other), id, true);
        });
    }
}

void Operators::remove_key(Host& host) {
    host.use_key(false);
    world_.agenda.in(world_.rng.range(0, 6 * kSecond), [&host] { host.use_key(true); });
}

void Operators::change_mtu(Host& host) {
    static constexpr std::array<std::uint32_t, 6> kMtus{1280, 1420, 1400, 1419, 8920, 576};
    host.set_mtu(kMtus[world_.rng.below(kMtus.size())]);
}

// --- the end of the turmoil

void Operators::make_whole() {
    for (std::size_t id = 0; id < world_.host_count(); ++id) make_whole(world_.host(id));
    for (HostId a = 0; a < world_.host_count(); ++a) {
        for (HostId b = 0; b < a; ++b) {
            if (world_.host(a).setting(b).neighbour) make_reachable(world_.host(a), world_.host(b));
        }
    }
}

void Operators::make_whole(Host& host) {
    admit_all(host);
    Owners owners;
    DeviceChange change;
    change.private_key.emplace(host.keys().private_key.span());
    for (HostId peer = 0; peer < world_.host_count(); ++peer) {
        PeerSetting& setting = host.setting(peer);
        if (!setting.neighbour) continue;
        if (!setting.present || !host.peer(peer)) ++setting.life;
        setting.present = true;
        setting.preshared_key.assign(psk(host.id(), peer).span());
        owners.give(home_prefix(peer, false), peer);
        owners.give(home_prefix(peer, true), peer);
    }
    host.set_owners(std::move(owners));
    for (const Peer* one : host.device().snapshot().peers) {
        const HostId peer = world_.host_with_key(one->public_key);
        if (one->public_key == world_.host(peer).public_key()) continue;
        PeerChange& stale = change.peers.emplace_back();
        stale.public_key = one->public_key;
        stale.remove = true;
    }
    for (HostId peer = 0; peer < world_.host_count(); ++peer) {
        if (!host.setting(peer).neighbour) continue;
        const bool there = host.peer(peer) != nullptr;
        PeerChange& whole = change.peers.emplace_back(host.whole_peer(peer));
        if (there) whole.endpoint.reset();  // what was learned stays
        if (whole.endpoint) host.endpoint_set(peer, place_of(*whole.endpoint));
    }
    host.apply(change);
}

void Operators::make_reachable(Host& a, Host& b) {
    const auto knows = [](Host& self, Host& other) {
        const Peer* peer = self.peer(other.id());
        return peer && peer->endpoint.known() && place_of(peer->endpoint) == other.place();
    };
    if (knows(a, b) || knows(b, a)) return;
    if (world_.rng.chance(0.5))
        set_endpoint(a, b.id());
    else
        set_endpoint(b, a.id());
}

void Operators::keepalives_off() {
    for (HostId id = 0; id < world_.host_count(); ++id) {
        for (HostId peer = 0; peer < world_.host_count(); ++peer) {
            if (world_.host(id).setting(peer).keepalive_s != 0) toggle_keepalive(world_.host(id), peer);
        }
    }
}

}  // namespace vern::sim
