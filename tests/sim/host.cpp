#include "host.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "world.h"

namespace vern::sim {
namespace {

constexpr Nanos kBootAtBeginning = 100 * kSecond;
constexpr Nanos kWallAtBeginning = 1'750'000'000 * kSecond;
constexpr Nanos kDown =
    kSecond / 20;  // the shortest restart: longer than a step of the handshakes' timestamps
constexpr unsigned kServicesMax = 96;  // a virtual second, by the deadline alone

std::uint64_t key_id(const std::byte* key) noexcept {
    std::uint64_t id;
    std::memcpy(&id, key, sizeof id);
    return id;
}

noise::StaticIdentity make_identity(Rng& rng) {
    PrivateKey key;
    rng.fill(key.writable());
    clamp(key);
    return noise::identity_of(key);
}

}  // namespace

Host::Host(World& world, HostId id, unsigned workers)
    : world_(world),
      id_(id),
      workers_(workers),
      keys_(make_identity(world.rng)),
      boot_offset_(kBootAtBeginning * (id + 1)),
      owners_(std::make_shared<const Owners>()) {
    world_.key_belongs_to(keys_.public_key, id_);
    move(world_.network.fresh_place(), true);
}

Host::~Host() { stop(); }

// --- clocks

Nanos Host::boot() const noexcept { return world_.now() + boot_offset_; }
WallTime Host::wall() const noexcept {
    return WallTime(std::chrono::nanoseconds(kWallAtBeginning + world_.now() + wall_offset_));
}

void Host::jump_boot(Nanos forward) {
    boot_offset_ += forward;
    deadline_.reset();
    // The timer's thread may be the last to run after a suspend.
    if (up()) schedule_deadline(world_.rng.chance(0.5) ? world_.rng.range(0, kSecond) : 0);
}

void Host::jump_wall(Nanos by) noexcept {
    wall_offset_ += by;
    wall_greatest_ = std::max(wall_greatest_, wall_offset_);
}

// --- life

void Host::start() {
    random_ = std::make_unique<SeededRandom>(world_.rng.fork());
    device_ = std::make_unique<Device>(*random_, kObservedAead, workers_);
    device_->set_mtu(mtu_);
    device_->board().set_patience(*this);
    for (unsigned i = 0; i < workers_; ++i) lanes_.push_back(std::make_unique<Lane>(*this, i));
    DeviceChange change;
    change.private_key = keys_.private_key.clone();
    for (HostId peer = 0; peer < kHostsMax; ++peer) {
        if (!settings_[peer].present) continue;
        ++settings_[peer].life;
        change.peers.push_back(whole_peer(peer));
        if (settings_[peer].endpoint) endpoint_set(peer, *settings_[peer].endpoint);
    }
    // A clock that is wrong after a restart is set before the network is up; otherwise peers would refuse old
    // timestamps, as they must.
    correct_wall();
    world_.policies.tell(*this);  // before any peer: a restart leaves no gap
    apply(change);
    if (!running_) device_->set_running(false, instant(boot()));
}

void Host::stop() {
    if (!up()) return;
    for (const auto& lane : lanes_) world_.coverage.add(lane->counters());
    world_.coverage.add(device_->slow_counters());
    lanes_.clear();
    for (Waste& waste : waste_) device_->dispose(std::move(waste.retired));
    waste_.clear();
    device_.reset();
    ++life_;
    service_scheduled_ = false;
    deadline_.reset();
    heard_.clear();
    endpoints_.clear();
    key_uses_.clear();
    index_owners_.clear();
    bad_responses_ = 0;
}

void Host::move(const Place& to, bool own_address) noexcept {
    place_ = to;
    if (own_address) own_address_ = to.ip;
}

void Host::set_running(bool running) {
    running_ = running;
    if (!up()) return;
    device_->set_running(running, instant(boot()));
    after_slow_path();
}

// --- configuration

void Host::set_owners(Owners owners) { owners_ = std::make_shared<const Owners>(std::move(owners)); }

PeerChange Host::whole_peer(HostId peer) const {
    const PeerSetting& setting = settings_[peer];
    PeerChange change;
    change.public_key = world_.host(peer).public_key();
    change.preshared_key = setting.preshared_key.clone();
    change.persistent_keepalive_s = setting.keepalive_s;
    if (setting.endpoint) {
        change.endpoint.emplace();
        change.endpoint->address = setting.endpoint->ip;
        change.endpoint->port = setting.endpoint->port;
    }
    change.replace_allowed_ips = true;
    for (const Owners::Entry& entry : owners_->entries) {
        if (entry.owner == peer) change.allowed_ips.push_back({entry.prefix, false});
    }
    return change;
}

void Host::apply(const DeviceChange& change) {
    if (!up()) return;
    if (const auto done = device_->apply(change, instant(boot())); !done)
        return world_.fail("configuration", fmt::format("host {}: {}", id_, done.error().message));
    after_slow_path();
}

void Host::new_key() {
    keys_ = make_identity(world_.rng);
    world_.key_belongs_to(keys_.public_key, id_);
}

void Host::use_key(bool present) {
    DeviceChange change;
    change.private_key.emplace();
    if (present) change.private_key->assign(keys_.private_key.span());
    apply(change);
}

void Host::set_mtu(std::uint32_t mtu) {
    mtu_ = mtu;
    if (up()) device_->set_mtu(mtu);
}

// --- what happens

void Host::receive(Datagram datagram) {
    const auto number = [](const Place& place) {
        std::uint64_t tail;
        std::memcpy(&tail, place.ip.bytes.data(), 8);
        std::uint64_t rest;
        std::memcpy(&rest, place.ip.bytes.data() + 8, 8);
        return mix(tail ^ mix(rest)) + place.port;
    };
    // As SO_REUSEPORT: by the 4-tuple, whatever that says about flows.
    Lane& lane = lane_of(number(datagram.from) ^ mix(number(datagram.to)));
    lane.receive(std::move(datagram));
}

void Host::schedule_turn(Lane& lane) {
    if (lane.turn_scheduled || !up()) return;
    lane.turn_scheduled = true;
    world_.agenda.in(world_.rng.range(0, world_.profile.turn_delay_max), [this, &lane, life = life_] {
        if (life != life_) return;
        lane.turn_scheduled = false;
        lane.turn();
    });
}

void Host::schedule_service(bool again) {
    if (service_scheduled_ || !up()) return;
    service_scheduled_ = true;
    const Nanos delay = world_.rng.range(0, again ? kMillisecond : world_.profile.service_delay_max);
    if (delay > 50 * kMillisecond) world_.coverage.add(Fault::late_service);
    world_.agenda.in(delay, [this, life = life_] {
        if (life != life_) return;
        service_scheduled_ = false;
        service(false);
    });
}

void Host::service(bool at_deadline) {
    if (!up() || in_service_ || world_.failed()) return;
    in_service_ = true;
    const Observing watch(*this);
    Nanos clock = boot();
    if (!at_deadline && world_.rng.below(8) == 0) clock -= world_.rng.range(0, kMillisecond);
    if (world_.sabotaged(Sabotage::stuck_deadline))
        clock = std::min(clock, kBootAtBeginning * (id_ + 1) + kSecond);
    const bool more = device_->service(instant(clock), wall(), *this);
    in_service_ = false;
    world_.trace.add(world_.now(), Event::service, id_, more ? 1 : 0);
    settle_handshakes();
    const auto next = device_->next_deadline();
    if (at_deadline && !more && next && nanos(*next) <= boot())
        return world_.fail(
            "deadline", fmt::format("host {}: service() at the deadline leaves one that is {} ns past", id_,
                                    boot() - nanos(*next)));
    if (world_.now() - services_since_ >= kSecond) {
        services_since_ = world_.now();
        services_ = 0;
    }
    if (at_deadline && ++services_ > kServicesMax)
        return world_.fail("deadline",
                           fmt::format("host {}: more than {} deadlines in a second", id_, kServicesMax));
    if (world_.sabotaged(Sabotage::hijack_endpoint) && world_.rng.chance(0.05)) {
        for (Peer* peer : device_->snapshot().peers) peer->endpoint.port ^= 1;
    }
    after_slow_path();
    if (more) schedule_service(true);
}

// What an engine does after every call of the slow path or of control.
void Host::after_slow_path() {
    learn_sessions();
    take_waste();
    for (std::uint32_t wakeups = device_->take_wakeups(); wakeups != 0; wakeups &= wakeups - 1) {
        Lane& lane = *lanes_[static_cast<std::size_t>(std::countr_zero(wakeups))];
        lane.wake();
        schedule_turn(lane);
    }
    schedule_deadline();
    check_endpoints();
    check_memory();
}

void Host::turn_ended(bool requested) {
    if (requested && !world_.sabotaged(Sabotage::forget_requests)) schedule_service();
    // A worker may also wake another, or itself.
    for (std::uint32_t wakeups = device_->take_wakeups(); wakeups != 0; wakeups &= wakeups - 1) {
        Lane& lane = *lanes_[static_cast<std::size_t>(std::countr_zero(wakeups))];
        lane.wake();
        schedule_turn(lane);
    }
    check_endpoints();
}

void Host::maybe_preempt(const Lane& from) {
    if (preempting_ || world_.failed() || !world_.rng.chance(world_.profile.preemption)) return;
    preempting_ = true;
    switch (world_.rng.below(4)) {
        case 0:
        case 1:
            if (!in_service_) {
                world_.coverage.add(Fault::preempted_by_service);
                service(false);
            }
            break;
        case 2:
            for (const auto& lane : lanes_) {
                if (lane.get() == &from || lane->busy() || !lane->has_work()) continue;
                world_.coverage.add(Fault::preempted_by_worker);
                lane->turn();
                break;
            }
            break;
        default:
            if (!in_service_ && world_.operators.active() && world_.rng.chance(0.2)) {
                world_.coverage.add(Fault::preempted_by_configuration);
                world_.operators.act(*this);
            }
    }
    preempting_ = false;
}

void Host::schedule_deadline(Nanos late) {
    const auto next = device_->next_deadline();
    const std::optional<Nanos> at = next ? std::optional(nanos(*next)) : std::nullopt;
    if (at == deadline_) return;
    deadline_ = at;
    const std::uint64_t number = ++deadline_number_;
    if (!at) return;
    if (late == 0 && world_.rng.chance(0.1)) late = world_.rng.range(0, world_.profile.service_delay_max);
    world_.agenda.at(std::max(*at - boot_offset_, world_.now()) + late, [this, number, life = life_] {
        if (life != life_ || number != deadline_number_ || !up()) return;
        world_.trace.add(world_.now(), Event::deadline, id_, static_cast<std::uint64_t>(*deadline_));
        deadline_.reset();
        service(true);
    });
}

void Host::take_waste() {
    auto retired = device_->take_retired();
    if (retired.empty()) return;
    Waste waste{
        std::move(retired), {}, world_.now() + world_.rng.range(0, world_.profile.disposal_delay_max)};
    for (const auto& lane : lanes_) waste.turns.push_back(lane->turns());
    if (waste.not_before - world_.now() > kSecond) world_.coverage.add(Fault::late_disposal);
    world_.agenda.at(waste.not_before, [this, life = life_] {
        if (life == life_) dispose_waste();
    });
    waste_.push_back(std::move(waste));
}

// Only when each worker has been between two turns since.
void Host::dispose_waste() {
    std::erase_if(waste_, [this](Waste& waste) {
        if (waste.not_before > world_.now()) return false;
        for (std::size_t i = 0; i < lanes_.size(); ++i) {
            if (waste.turns[i] % 2 == 1 && lanes_[i]->turns() == waste.turns[i]) return false;
        }
        world_.trace.add(world_.now(), Event::dispose, id_);
        device_->dispose(std::move(waste.retired));
        return true;
    });
}

bool Host::any_lane_busy() const noexcept {
    return std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->busy(); });
}

// --- the slow path's datagrams

DatagramSink::Sent Host::send(const Endpoint& to, std::span<const std::byte> datagram,
                              std::uint8_t tos) noexcept {
    learn_sessions();
    const auto type = std::to_integer<std::uint8_t>(datagram[0]);
    HostId peer = kNobody;
    std::uint32_t index = 0;
    if (type == 4) {
        MessageDataHeader header;
        std::memcpy(&header, datagram.data(), sizeof header);
        peer = owner_of_index(header.receiver_index);
        if (datagram.size() != kDataOverheadBytes)
            world_.fail("train",
                        fmt::format("host {}: the slow path sends {} bytes of data", id_, datagram.size()));
        if (peer == kNobody) world_.fail("train", fmt::format("host {}: a keepalive for no session", id_));
    } else if (type == 3) {
        if (Host* host = world_.host_at(place_of(to))) peer = host->id();
    } else {
        MessageResponse message;  // an initiation's sender_index is at the same place
        std::memcpy(&message, datagram.data(), std::min(datagram.size(), sizeof message));
        index = message.sender_index;
        if (type == 2) answered_.push_back(message.receiver_index);
        for (const Peer* one : device_->snapshot().peers) {
            const bool match =
                type == 1 ? one->initiator_index == index : one->next && one->next->local_index == index;
            if (match) peer = world_.host_with_key(one->public_key);
        }
        if (tos != kHandshakeDscp)
            world_.fail("train", fmt::format("host {}: a handshake message with TOS {:#x}", id_, tos));
        if (peer == kNobody)
            world_.fail("train", fmt::format("host {}: a handshake message for no peer", id_));
    }
    const std::uint64_t wire = world_.ledger.datagram_sent(id_, peer, datagram);
    world_.network.transmit(id_, place_of(to), datagram, tos, wire);
    world_.recovery.sent(id_, peer, type, datagram.size());
    if (to.source.family == Family::none || to.source == own_address_) return Sent::whole;
    world_.coverage.add(Fault::source_refused);
    return Sent::without_source;
}

void Host::before_seal(std::span<const aead::SealJob> jobs) noexcept {
    learn_sessions();
    for (const aead::SealJob& job : jobs) {
        const KeyUse* use = key_use(job.key);
        if (!use || boot() - use->since > nanos(kRejectAfterTime) || job.length != 0)
            world_.fail(
                "keys",
                fmt::format("host {}: the slow path seals with no key, an old one, or more than a keepalive",
                            id_));
    }
}

// Which handshake messages service() has taken from the queues, and what that allows.
void Host::settle_handshakes() {
    const std::uint64_t bad = device_->slow_counters()[Counter::handshake_bad_response];
    for (const auto& lane : lanes_) {
        auto& mirror = lane->handshakes;
        for (const std::size_t left = device_->queues(lane->id()).handshakes.size(); mirror.size() > left;
             mirror.pop_front()) {
            WireRecord* record = world_.ledger.wire(mirror.front().wire);
            if (!record || record->meant_for != id_ || record->type > 2 || record->sender == kNobody)
                continue;
            const std::uint32_t life = settings_[record->sender].life;
            if (record->accepted == life && life != 0)
                continue;  // a replay: whatever it does, it must move nothing
            heard_at(record->sender, mirror.front().from);
            const bool answered =
                std::find(answered_.begin(), answered_.end(), record->index) != answered_.end();
            if (record->type == 1 ? answered : bad == bad_responses_) record->accepted = life;
        }
    }
    answered_.clear();
    bad_responses_ = bad;
}

// --- what is known

const Peer* Host::peer(HostId id) const {
    if (!device_) return nullptr;
    const PublicKey& key = world_.host(id).public_key();
    for (const Peer* one : device_->snapshot().peers) {
        if (one->public_key == key) return one;
    }
    return nullptr;
}

HostId Host::owner_of_index(std::uint32_t index) const noexcept {
    const auto found = index_owners_.find(index);
    return found == index_owners_.end() ? kNobody : found->second;
}

const Host::KeyUse* Host::key_use(const std::byte* key) const noexcept {
    const auto found = key_uses_.find(key_id(key));
    return found == key_uses_.end() ? nullptr : &found->second;
}

void Host::learn_sessions() {
    for (const Peer* one : device_->snapshot().peers) {
        const HostId peer = world_.host_with_key(one->public_key);
        for (const Session* session : {one->current, one->next, one->previous}) {
            if (!session) continue;
            const auto [at, fresh] =
                key_uses_.try_emplace(key_id(session->sending.span().data()), KeyUse{peer, boot()});
            if (!fresh) continue;
            key_uses_.try_emplace(key_id(session->receiving.span().data()), KeyUse{peer, boot()});
            index_owners_[session->remote_index] = peer;
            if (!session->initiator) continue;
            ++world_.coverage.handshakes;
            if (one->previous) ++world_.coverage.rekeys;
        }
    }
}

void Host::check_endpoints() {
    if (!up() || any_lane_busy() || in_service_ || world_.failed()) return;
    for (const Peer* one : device_->snapshot().peers) {
        if (!one->endpoint.known()) continue;
        const HostId peer = world_.host_with_key(one->public_key);
        const Place now_at = place_of(one->endpoint);
        Place& known = endpoints_[peer];
        if (known == now_at) continue;
        const bool allowed = std::any_of(heard_.begin(), heard_.end(),
                                         [&](const Heard& h) { return h.peer == peer && h.from == now_at; });
        if (!allowed)
            return world_.fail(
                "endpoint",
                fmt::format(
                    "host {}: peer {} moved from port {} to {}, where no authentic message of it came from",
                    id_, peer, known.port, now_at.port));
        ++world_.coverage.endpoint_moves;
        world_.trace.add(world_.now(), Event::endpoint, id_, peer, now_at.port);
        known = now_at;
    }
    heard_.clear();
}

void Host::check_memory() {
    const std::size_t peers = device_->snapshot().peers.size();
    // Three sessions and a handshake a peer.
    if (device_->sessions().used() > 4 * peers)
        world_.fail("memory", fmt::format("host {}: {} session indices for {} peers", id_,
                                          device_->sessions().used(), peers));
}

void Host::check_accounts(bool final) {
    if (!up()) return;
    for (const auto& lane : lanes_) lane->check_accounts(final);
}

void Host::check_forgotten() {
    if (!up()) return;
    for (const Peer* one : device_->snapshot().peers) {
        const auto bad = [&](std::string_view what) {
            world_.fail("forgotten", fmt::format("host {}: after all sessions with host {} ended, {}", id_,
                                                 world_.host_with_key(one->public_key), what));
        };
        if (one->current || one->next || one->previous) return bad("one is left");
        if (one->staged_by.load() != 0) return bad("packets wait for it");
        if (one->handshake_running || !one->initiator.ephemeral.is_zero())
            return bad("the state of a handshake is left");
    }
    if (device_->next_deadline())
        return world_.fail("forgotten", fmt::format("host {}: there is still a deadline", id_));
    if (device_->sessions().used() != 0)
        world_.fail("forgotten",
                    fmt::format("host {}: {} session indices are in use", id_, device_->sessions().used()));
}

static_assert(kDown > 17 * kMillisecond);

}  // namespace vern::sim
