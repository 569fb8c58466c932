// Device: construction, configuration, status, and the handing over of what is out of use.
#include <algorithm>
#include <unordered_set>

#include "dataplane/core/device.h"

namespace vern {

Peer* find_peer(std::span<Peer* const> peers, std::uint64_t serial) noexcept {
    const auto at = std::ranges::lower_bound(peers, serial, {}, &Peer::serial);
    return at != peers.end() && (*at)->serial == serial ? *at : nullptr;
}

Device::Device(Random& random, const aead::Implementation& aead, unsigned workers)
    : random_(random),
      aead_(aead),
      board_(std::clamp(workers, 1U, kWorkersMax)),
      identity_pool_(sizeof(Identity), 1),
      peer_pool_(sizeof(Peer), 2 * kPeersMax),        // replaced peers live on until they are disposed of
      session_pool_(sizeof(Session), 8 * kPeersMax),  // three a peer, and those out of use
      rate_limiter_(random),
      snapshot_(std::make_unique<const Snapshot>()),
      live_(snapshot_.get()) {
    for (unsigned i = 0; i < std::clamp(workers, 1U, kWorkersMax); ++i)
        queues_.push_back(std::make_unique<WorkerQueues>());
}

Device::~Device() {
    for (Peer* peer : peers_) {
        drop_sessions(*peer);
        end_handshake(*peer);
        retired_.peers.push_back(peer);
    }
    dispose(std::move(retired_));
    identity_pool_.destroy(identity_);
}

namespace {

// What the tables of allowed IPs are built on: a length that the family has, and nothing beyond it.
bool well_formed(const Prefix& prefix) noexcept {
    const auto octets = prefix.address.octets();
    if (octets.empty() || prefix.length > 8 * octets.size()) return false;
    const auto& bytes = prefix.address.bytes;
    std::size_t at = prefix.length / 8;
    if (prefix.length % 8 != 0 && (bytes[at++] & std::byte(0xff >> prefix.length % 8)) != std::byte{0})
        return false;
    return std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(),
                       [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

Result<void> Device::apply(const DeviceChange& change, Instant now) {
    const std::lock_guard hold(lock_);
    if (auto fine = check_limits(change); !fine) return fine;
    now = monotonic(now);

    if (change.private_key) set_private_key(*change.private_key);
    if (change.listen_port) listen_port_ = *change.listen_port;
    if (change.fwmark) fwmark_ = *change.fwmark;
    if (change.replace_peers) {
        allowed_ips_.clear();
        for (Peer* peer : peers_) peer->allowed_ip_count = 0;
        while (!peers_.empty()) remove_peer(*peers_.back());
    }
    sweep_allowed_ips(change);
    for (const PeerChange& peer : change.peers) apply_peer(peer, now);
    if (change.replace_peers || change.private_key || !change.peers.empty()) publish_snapshot();
    return {};
}

Result<void> Device::check(const DeviceChange& change) {
    const std::lock_guard hold(lock_);
    return check_limits(change);
}

// Everything that could fail is looked at here, before anything changes, and the memory for keys is there
// afterwards. The bounds are upper ones: a change that names the same new peer twice counts it once, one that
// moves prefixes counts them as new.
Result<void> Device::check_limits(const DeviceChange& change) {
    std::unordered_set<PublicKey, PublicKeyHash> added;
    std::size_t prefixes = change.replace_peers ? 0 : allowed_ips_.size();
    for (const PeerChange& peer : change.peers) {
        if (!peer.remove && !peer.update_only &&
            (change.replace_peers || !peers_by_key_.contains(peer.public_key)))
            added.insert(peer.public_key);
        prefixes += peer.allowed_ips.size();
        if (!std::ranges::all_of(peer.allowed_ips,
                                 [](const AllowedIpChange& ip) { return well_formed(ip.prefix); }))
            return fail("an allowed IP with an impossible prefix length, or with bits set beyond it", EINVAL);
    }
    const std::size_t peers = (change.replace_peers ? 0 : peers_by_key_.size()) + added.size();
    if (peers > kPeersMax) return fail("more than 1048576 peers", ENOSPC);
    if (prefixes > kAllowedIpsMax) return fail("more than 4194304 allowed IPs", ENOSPC);
    if (peer_pool_.in_use() + added.size() > peer_pool_.limit())
        return fail("too many peers were replaced at once: try again", EBUSY);
    if (!peer_pool_.reserve(added.size()) || (change.private_key && !identity_ && !identity_pool_.reserve(1)))
        return fail("no memory for keys", ENOMEM);
    return {};
}

// All that was derived from the old key goes: sessions, handshakes, shared secrets, cookies.
void Device::set_private_key(const PrivateKey& key) {
    if (identity_ && identity_->keys.private_key == key) return;
    identity_pool_.destroy(std::exchange(identity_, nullptr));
    if (!key.is_zero()) identity_ = identity_pool_.make<Identity>(noise::identity_of(key));
    for (Peer* peer : peers_) {
        peer->static_static.wipe();
        peer->static_static_known = false;
        forget_handshakes(*peer);
    }
    // A list of peers that is the same on all hosts names each host itself too.
    if (!identity_) return;
    if (const auto self = peers_by_key_.find(identity_->keys.public_key); self != peers_by_key_.end())
        remove_peer(*self->second);
}

void Device::apply_peer(const PeerChange& change, Instant now) {
    if (identity_ && change.public_key == identity_->keys.public_key) return;
    const auto found = peers_by_key_.find(change.public_key);
    Peer* peer = found == peers_by_key_.end() ? nullptr : found->second;
    if (change.remove) {
        if (peer) remove_peer(*peer);
        return;
    }
    if (!peer) {
        if (change.update_only) return;
        peer = add_peer(change.public_key);
    }
    // A new preshared key counts from the next handshake on; the live session goes on.
    if (change.preshared_key) peer->preshared_key.assign(change.preshared_key->span());
    if (change.endpoint) {
        const std::lock_guard hold(peer->lock);
        peer->endpoint = *change.endpoint;
        peer->endpoint.clear_source();
        peer->no_initiation_before.clear();  // which may have been asked for in vain, without an endpoint
    }
    if (change.persistent_keepalive_s) {
        peer->keepalive_now |= *change.persistent_keepalive_s != 0 && peer->persistent_keepalive_s == 0;
        peer->persistent_keepalive_s = *change.persistent_keepalive_s;
        if (peer->keepalive_now) peer->keepalive_from = now;
        schedule(*peer);
    }
    apply_allowed_ips(*peer, change);
}

// Takes the prefixes of all peers that are to be removed or get new ones in one walk over the table: a walk
// for each of 10,000 peers would take seconds.
void Device::sweep_allowed_ips(const DeviceChange& change) {
    std::unordered_set<const Peer*> swept;
    for (const PeerChange& peer : change.peers) {
        if (!peer.remove && !peer.replace_allowed_ips) continue;
        if (const auto found = peers_by_key_.find(peer.public_key);
            found != peers_by_key_.end() && found->second->allowed_ip_count > 0)
            swept.insert(found->second);
    }
    if (swept.empty()) return;
    std::erase_if(allowed_ips_, [&](const auto& entry) { return swept.contains(entry.second); });
    for (const PeerChange& peer : change.peers) {
        if (const auto found = peers_by_key_.find(peer.public_key);
            found != peers_by_key_.end() && swept.contains(found->second))
            found->second->allowed_ip_count = 0;
    }
}

void Device::drop_allowed_ips(Peer& peer) {
    if (peer.allowed_ip_count == 0) return;
    std::erase_if(allowed_ips_, [&](const auto& entry) { return entry.second == &peer; });
    peer.allowed_ip_count = 0;
}

void Device::apply_allowed_ips(Peer& peer, const PeerChange& change) {
    if (change.replace_allowed_ips) drop_allowed_ips(peer);
    for (const AllowedIpChange& ip : change.allowed_ips) {
        if (!ip.remove) {
            const auto [at, added] = allowed_ips_.try_emplace(ip.prefix, &peer);
            if (!added) --at->second->allowed_ip_count;
            at->second = &peer;
            ++peer.allowed_ip_count;
        } else if (const auto at = allowed_ips_.find(ip.prefix);
                   at != allowed_ips_.end() && at->second == &peer) {
            allowed_ips_.erase(at);
            --peer.allowed_ip_count;
        }
    }
}

Peer* Device::add_peer(const PublicKey& key) {
    Peer* peer = peer_pool_.make<Peer>(key, next_serial_);  // check_limits() has reserved it
    peer->stale_jitter = jitter();
    peer->barred = !admission_.admits(key);
    ++next_serial_;
    peers_by_key_.emplace(key, peer);
    peers_.push_back(peer);
    return peer;
}

// Out of every index at once; the memory goes when the workers have let go of it.
void Device::remove_peer(Peer& peer) {
    drop_sessions(peer);
    end_handshake(peer);
    wake_workers(
        peer.staged_by.load(std::memory_order_acquire));  // an idle worker would keep its packets for ever
    drop_allowed_ips(peer);
    peers_by_key_.erase(peer.public_key);
    peers_.erase(std::ranges::lower_bound(peers_, peer.serial, {}, &Peer::serial));
    retired_.peers.push_back(&peer);
    sweeps_for_removed_ = kSweepsForRemoved;
}

void Device::publish_snapshot() {
    auto fresh = std::make_unique<Snapshot>();
    fresh->generation = snapshot_->generation + 1;
    fresh->peers = peers_;
    std::vector<AllowedIps::Entry> entries;
    entries.reserve(allowed_ips_.size());
    for (const auto& [prefix, peer] : allowed_ips_) entries.push_back({prefix, peer});
    fresh->allowed_ips = AllowedIps(entries);

    retired_.snapshots.reserve(retired_.snapshots.size() + 1);  // what can fail comes before what workers see
    live_.store(fresh.get(), std::memory_order_release);
    retired_.snapshots.push_back(std::exchange(snapshot_, std::move(fresh)));
}

DeviceStatus Device::status() const {
    const std::lock_guard hold(lock_);
    DeviceStatus status;
    if (identity_) {
        status.private_key.emplace(identity_->keys.private_key.span());
        status.public_key = identity_->keys.public_key;
    }
    status.listen_port = listen_port_;
    status.fwmark = fwmark_;
    status.peers.reserve(peers_.size());
    std::unordered_map<const Peer*, std::size_t> position;
    for (Peer* peer : peers_) {
        position.emplace(peer, status.peers.size());
        PeerStatus& out = status.peers.emplace_back();
        out.public_key = peer->public_key;
        out.preshared_key.assign(peer->preshared_key.span());
        out.latest_handshake = peer->latest_handshake;
        out.receive_bytes = peer->receive_bytes.load(std::memory_order_relaxed);
        out.transmit_bytes = peer->transmit_bytes.load(std::memory_order_relaxed);
        out.persistent_keepalive_s = peer->persistent_keepalive_s;
        const std::lock_guard hold_peer(peer->lock);
        out.endpoint = peer->endpoint;
    }
    for (const auto& [prefix, peer] : allowed_ips_)
        status.peers[position[peer]].allowed_ips.push_back(prefix);
    return status;
}

void Device::set_running(bool running, Instant now) {
    const std::lock_guard hold(lock_);
    now = monotonic(now);
    if (std::exchange(running_, running) == running) return;
    for (Peer* peer : peers_) {
        if (running) {
            restart(*peer, now);
        } else {
            forget_handshakes(*peer);
            give_up(*peer);
        }
    }
}

// As when the peer had just been added: what held it back is over.
void Device::restart(Peer& peer, Instant now) {
    peer.keepalive_now = peer.persistent_keepalive_s != 0;
    if (peer.keepalive_now) peer.keepalive_from = now;
    peer.unreachable.store(false, std::memory_order_relaxed);
    schedule(peer);
}

void Device::set_admission(Admission admission, Instant now) {
    const std::lock_guard hold(lock_);
    now = monotonic(now);
    // Looked up by halves: what is not sorted would let in who is asked.
    std::ranges::sort(admission.asked);
    std::ranges::sort(admission.admitted);
    admission_ = std::move(admission);
    for (Peer* peer : peers_) {
        const bool barred = !admission_.admits(peer->public_key);
        if (std::exchange(peer->barred, barred) == barred) continue;
        if (barred)
            forget_handshakes(*peer);
        else
            restart(*peer, now);
    }
}

std::optional<PublicKey> Device::peer_of(const IpAddress& address) const {
    if (address.family == Family::none) return std::nullopt;
    const std::lock_guard hold(lock_);
    const Peer* peer = snapshot_->allowed_ips.find(address.bytes.data(), address.family == Family::v6);
    if (peer == nullptr) return std::nullopt;
    return peer->public_key;
}

bool Device::has_peer(const PublicKey& key) const {
    const std::lock_guard hold(lock_);
    return peers_by_key_.contains(key);
}

bool Device::admits(const PublicKey& key) const {
    const std::lock_guard hold(lock_);
    const auto found = peers_by_key_.find(key);
    return found != peers_by_key_.end() && !found->second->barred;
}

std::optional<PublicKey> Device::own_public_key() const {
    const std::lock_guard hold(lock_);
    if (!identity_) return std::nullopt;
    return identity_->keys.public_key;
}

void Device::clear_sources() {
    const std::lock_guard hold(lock_);
    for (Peer* peer : peers_) {
        const std::lock_guard hold_peer(peer->lock);
        peer->endpoint.clear_source();
    }
}

void Device::set_listen_port(std::uint16_t port) {
    const std::lock_guard hold(lock_);
    listen_port_ = port;
}

Device::Retired Device::take_retired() {
    const std::lock_guard hold(lock_);
    return std::exchange(retired_, Retired{});
}

void Device::dispose(Retired retired) {
    const std::lock_guard hold(lock_);
    for (Session* session : retired.sessions) session_pool_.destroy(session);
    for (Peer* peer : retired.peers) peer_pool_.destroy(peer);
}

}  // namespace vern
