// Device: the slow path's loop and the timers (WireGuard paper, section 6). Timers are not armed and disarmed
// per packet: workers note when things happened, and a peer's deadline is worked out from that. A peer with a
// session is looked at every KEEPALIVE_TIMEOUT at the latest, which is the shortest time after which traffic
// could make something due, so nothing is ever late.
#include <algorithm>
#include <functional>

#include "dataplane/core/device.h"

namespace vern {
namespace {

constexpr std::size_t kServiceBatch =
    64;  // messages, requests and timers of one service() call each: about 10 ms under the lock
constexpr std::uint32_t kInitiate = static_cast<std::uint32_t>(Attention::initiate);
constexpr std::uint32_t kUnused = static_cast<std::uint32_t>(Attention::unused);
constexpr std::uint32_t kConfirmed = static_cast<std::uint32_t>(Attention::confirmed);

bool overtaken(const Peer& peer) noexcept { return peer.handshake_running && peer.retry_at == Instant{}; }

}  // namespace

bool Device::request(unsigned worker, Peer& peer, Attention what) noexcept {
    const auto bit = static_cast<std::uint32_t>(what);
    // Only who sets the first bit queues the peer; the slow path takes all bits at once.
    if (peer.attention.fetch_or(bit, std::memory_order_acq_rel) != 0) return true;
    if (queues_[worker]->attention.push(peer.serial)) return true;
    // All bits: what another worker set meanwhile, taking the peer for queued, would block the peer for ever.
    // Whoever wants something asks again with the next packet, and a confirmation is seen by the timers.
    peer.attention.store(0, std::memory_order_release);
    return false;
}

bool Device::service(Instant now, WallTime wall, DatagramSink& sink) {
    const std::lock_guard hold(lock_);
    now = monotonic(now);
    bool more = false;
    for (auto& queues : queues_) {
        std::uint64_t serial = 0;
        for (std::size_t i = 0; i < kServiceBatch && queues->attention.pop(serial); ++i)
            attend(serial, now, wall, sink);
        HandshakeMessage message;
        for (std::size_t i = 0; i < kServiceBatch; ++i) {
            // Load is what waits, and it ends a second after the queue was last long: attackers must not
            // switch it off and on.
            if (queues->handshakes.size() >= kHandshakeQueueMax / 8) loaded_at_ = now;
            if (loaded_at_ && now - *loaded_at_ > std::chrono::seconds(1)) loaded_at_.reset();
            if (!queues->handshakes.pop(message)) break;
            handle(message, loaded_at_.has_value(), now, wall, sink);
        }
        more |= queues->attention.size() > 0 || queues->handshakes.size() > 0;
    }
    sweep_flows(now);
    std::size_t handled = 0;
    while (!deadlines_.empty() && deadlines_.front().at <= now) {
        if (handled++ == kServiceBatch) return true;
        const Deadline due = deadlines_.front();
        std::pop_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
        deadlines_.pop_back();
        Peer* peer = find_peer(peers_, due.serial);
        if (!peer || peer->timer_at != due.at) continue;
        peer->timer_at = {};
        run_timers(*peer, now, wall, sink);
    }
    return more;
}

std::optional<Instant> Device::next_deadline() const {
    const std::lock_guard hold(lock_);
    std::optional<Instant> at;
    if (!deadlines_.empty()) at = deadlines_.front().at;
    if (flow_count() > 0) at = std::min(at.value_or(next_sweep_), next_sweep_);
    return at;
}

void Device::attend(std::uint64_t serial, Instant now, WallTime wall, DatagramSink& sink) {
    Peer* found = find_peer(peers_, serial);
    if (!found) return;
    Peer& peer = *found;
    const std::uint32_t wanted = peer.attention.exchange(0, std::memory_order_acq_rel);
    if (wanted & kConfirmed) promote_confirmed(peer, wall);
    if (wanted & kInitiate) initiate(peer, false, now, wall, sink);
    if (wanted & kUnused && peer.current && peer.current->initiator &&
        peer.current->next_counter.load(std::memory_order_relaxed) == 0)
        send_keepalive(peer, now, wall, sink);
    schedule(peer);
}

// The initiator has used the session that we answered it with: from now on it is ours to send with, too.
void Device::promote_confirmed(Peer& peer, WallTime wall) {
    if (!peer.next || !peer.next->confirmed.load(std::memory_order_acquire)) return;
    drop_session(peer, &Peer::previous);
    {
        const std::lock_guard hold(peer.lock);
        peer.previous = std::exchange(peer.current, std::exchange(peer.next, nullptr));
    }
    handshake_complete(peer, wall);
}

// What is due for this peer, from the times that its traffic left behind; then the time of the next look.
void Device::run_timers(Peer& peer, Instant now, WallTime wall, DatagramSink& sink) {
    promote_confirmed(peer, wall);
    expire_sessions(peer, now);
    // Overtaken by a handshake that the peer began: its secrets stay for a late response, but no longer than
    // an attempt lasts.
    if (overtaken(peer) && peer.last_initiation_sent + kRekeyAttemptTime <= now) end_handshake(peer);
    if (peer.retry_at != Instant{} && peer.retry_at <= now) retry_or_give_up(peer, now, wall, sink);

    const Instant stale_since = peer.unanswered_sent.get();
    if (stale_since != Instant{} &&
        stale_since + kKeepaliveTimeout + kRekeyTimeout + peer.stale_jitter <= now) {
        // We send and hear nothing: perhaps the path has changed, perhaps the peer has lost its session.
        peer.unanswered_sent.clear();
        peer.stale_jitter = jitter();
        {
            const std::lock_guard hold(peer.lock);
            peer.endpoint.clear_source();
        }
        initiate(peer, false, now, wall, sink);
    }
    const Instant unanswered = peer.unanswered_received.get();
    if (unanswered != Instant{} && unanswered + kKeepaliveTimeout <= now)
        send_keepalive(peer, now, wall, sink);
    if (peer.keepalive_now) {
        peer.keepalive_now = false;
        send_keepalive(peer, now, wall, sink);
    }
    if (peer.persistent_keepalive_s > 0) {
        const Instant quiet_since =
            std::max({peer.last_sent.get(), peer.last_received.get(), peer.keepalive_from});
        if (quiet_since + std::chrono::seconds(peer.persistent_keepalive_s) <= now) {
            peer.keepalive_from = now;  // also when nothing could be sent: the next try is an interval later
            send_keepalive(peer, now, wall, sink);
        }
    }
    schedule(peer);
}

void Device::retry_or_give_up(Peer& peer, Instant now, WallTime wall, DatagramSink& sink) {
    peer.retry_at = {};
    if (now - std::max(peer.attempts_began, peer.last_staged.get()) >= kRekeyAttemptTime)
        return give_up(peer);
    {
        const std::lock_guard hold(peer.lock);
        peer.endpoint.clear_source();  // perhaps that is why nothing comes back
    }
    initiate(peer, true, now, wall, sink);
}

// Keys that may no longer be used are wiped, not kept.
void Device::expire_sessions(Peer& peer, Instant now) {
    for (auto slot : {&Peer::current, &Peer::next, &Peer::previous}) {
        if (peer.*slot && (peer.*slot)->expired(now)) drop_session(peer, slot);
    }
}

// An empty message; without a session a handshake, whose end will send one.
void Device::send_keepalive(Peer& peer, Instant now, WallTime wall, DatagramSink& sink) {
    peer.unanswered_received.clear();
    Session* session = peer.current;
    std::uint64_t counter = 0;
    if (!session || !session->usable_for_sending(now) || !session->reserve(1, counter))
        return initiate(peer, false, now, wall, sink);

    std::array<std::byte, kDataOverheadBytes> message;
    MessageDataHeader header;
    header.header.type = static_cast<std::uint32_t>(MessageType::data);
    header.receiver_index = session->remote_index;
    header.counter = counter;
    std::memcpy(message.data(), &header, sizeof header);
    std::byte* sealed = message.data() + sizeof header;
    const aead::SealJob job{session->sending.span().data(), counter, sealed, sealed, 0};
    aead_.seal({&job, 1});

    send_to(peer, message, 0, now, sink);
    if (session->due_for_rekey_on_send(now)) initiate(peer, false, now, wall, sink);
}

// The earliest moment at which something could be due for this peer, as things stand.
std::optional<Instant> Device::due(const Peer& peer) const {
    std::optional<Instant> at;
    const auto consider = [&at](Instant candidate) { at = at ? std::min(*at, candidate) : candidate; };
    if (peer.retry_at != Instant{}) consider(peer.retry_at);
    if (overtaken(peer)) consider(peer.last_initiation_sent + kRekeyAttemptTime);
    if (!running_) return at;
    if (peer.keepalive_now) consider(peer.keepalive_from);
    if (peer.persistent_keepalive_s > 0)
        consider(std::max({peer.last_sent.get(), peer.last_received.get(), peer.keepalive_from}) +
                 std::chrono::seconds(peer.persistent_keepalive_s));
    const Instant stale_since = peer.unanswered_sent.get();
    if (stale_since != Instant{})
        consider(stale_since + kKeepaliveTimeout + kRekeyTimeout + peer.stale_jitter);
    const Instant unanswered = peer.unanswered_received.get();
    if (unanswered != Instant{}) consider(unanswered + kKeepaliveTimeout);
    for (const Session* session : {peer.current, peer.next, peer.previous}) {
        if (!session) continue;
        consider(session->born + kRejectAfterTime);
        consider(latest_ + kKeepaliveTimeout);
    }
    return at;
}

void Device::schedule(Peer& peer) {
    const auto at = due(peer);
    if (!at || (peer.timer_at != Instant{} && peer.timer_at <= *at)) return;
    if (deadlines_.size() > 2 * peers_.size() + 64) discard_stale_deadlines();
    peer.timer_at = *at;
    deadlines_.push_back({*at, peer.serial});
    std::push_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
}

// Entries that were overtaken by earlier ones would add up under a flood of configuration changes.
void Device::discard_stale_deadlines() {
    std::erase_if(deadlines_, [this](const Deadline& entry) {
        const Peer* peer = find_peer(peers_, entry.serial);
        return !peer || peer->timer_at != entry.at;
    });
    std::make_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
}

Duration Device::jitter() {
    return Duration(static_cast<Duration::rep>(
        random_.u64() % static_cast<std::uint64_t>(kRekeyTimeoutJitterMax.count() + 1)));
}

}  // namespace vern
