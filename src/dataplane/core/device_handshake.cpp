// Device: handshake messages, from the worker's queue to a session (WireGuard paper, section 5.4 and 6).
#include <cstring>

#include "dataplane/core/device.h"

namespace vern {
namespace {

constexpr Duration kInitiationInterval = Duration(std::chrono::seconds(1)) / kInitiationsPerSecond;
static_assert(kInitiationInterval == std::chrono::milliseconds(20));

CookieSource cookie_source(const Endpoint& endpoint) noexcept {
    CookieSource source;
    const auto octets = endpoint.address.octets();
    std::memcpy(source.bytes.data(), octets.data(), octets.size());
    source.bytes[octets.size()] = static_cast<std::byte>(endpoint.port >> 8);
    source.bytes[octets.size() + 1] = static_cast<std::byte>(endpoint.port & 0xff);
    source.length = octets.size() + 2;
    return source;
}

template <typename Message>
std::span<std::byte> bytes_of(Message& message) noexcept {
    return std::as_writable_bytes(std::span(&message, 1));
}

// Workers have checked type and length.
template <typename Message>
Message message_as(const HandshakeMessage& message) noexcept {
    Message out;
    std::memcpy(&out, message.bytes.data(), sizeof out);
    return out;
}

MessageType type_of(const HandshakeMessage& message) noexcept {
    return static_cast<MessageType>(std::uint32_t{message_as<MessageHeader>(message).type});
}

}  // namespace

void Device::handle(const HandshakeMessage& message, bool under_load, Instant now, WallTime wall,
                    DatagramSink& sink) {
    if (!running_) return;
    if (!identity_) return counters_.add(Counter::handshake_no_identity);
    if (type_of(message) == MessageType::cookie_reply) return consume_cookie_reply(message, now);
    if (!admit(message, under_load, now, sink)) return;
    if (type_of(message) == MessageType::initiation) return consume_initiation(message, now, sink);
    consume_response(message, now, wall, sink);
}

// What must be right before a message may cost an X25519: mac1; under load also a cookie, and the source
// within its rate.
bool Device::admit(const HandshakeMessage& message, bool under_load, Instant now, DatagramSink& sink) {
    const std::span<const std::byte> bytes(message.bytes.data(), message.length);
    const CookieSource source = cookie_source(message.from);
    const MacState macs = identity_->cookies.check(bytes, source, now);
    if (macs == MacState::invalid) {
        counters_.add(Counter::handshake_bad_mac1);
        return false;
    }
    if (!under_load) return true;
    if (macs == MacState::valid_with_cookie) {
        if (rate_limiter_.admit(message.from.address, now)) return true;
        counters_.add(Counter::handshake_rate_limited);
        return false;
    }
    if (identity_->cookies.needs_renewal(now)) {
        Secret<32> secret;
        random_.fill(secret.writable());
        identity_->cookies.renew(secret.span(), now);
    }
    std::array<std::byte, kCookieNonceBytes> nonce;
    random_.fill(nonce);
    const std::uint32_t index =
        message_as<MessageInitiation>(message).sender_index;  // at the same place in a response
    MessageCookieReply reply = identity_->cookies.reply(bytes, index, source, nonce);
    counters_.add(Counter::handshake_cookie_sent);
    if (DatagramSink::is_lost(sink.send(message.from, bytes_of(reply), kHandshakeDscp)))
        counters_.add(Counter::send_failed);
    return false;
}

void Device::consume_initiation(const HandshakeMessage& message, Instant now, DatagramSink& sink) {
    const auto initiation = message_as<MessageInitiation>(message);
    noise::Responder responder;
    if (!noise::open_static(initiation, responder, identity_->keys))
        return counters_.add(Counter::handshake_bad_static);
    const auto found = peers_by_key_.find(responder.peer);
    if (found == peers_by_key_.end()) return counters_.add(Counter::handshake_unknown_peer);
    Peer& peer = *found->second;
    if (peer.barred) return counters_.add(Counter::handshake_barred);
    if (!static_static(peer)) return counters_.add(Counter::handshake_bad_static);
    const auto timestamp = noise::open_timestamp(initiation, responder, peer.static_static);
    if (!timestamp) return counters_.add(Counter::handshake_bad_timestamp);
    if (*timestamp <= peer.last_timestamp) return counters_.add(Counter::handshake_replayed);
    if (peer.last_initiation_received != Instant{} &&
        now - peer.last_initiation_received < kInitiationInterval)
        return counters_.add(Counter::handshake_flood);

    peer.last_timestamp = *timestamp;
    peer.last_initiation_received = now;
    heard_from(peer, message, now);

    PrivateKey ephemeral;
    random_.fill(ephemeral.writable());
    clamp(ephemeral);
    MessageResponse response;
    noise::SessionKeys keys;
    const std::uint32_t index = reserve_index(peer);
    const std::uint32_t remote_index = responder.peer_index;
    if (!noise::create_response(response, responder, peer.preshared_key, ephemeral, index, keys)) {
        sessions_.release(index);
        return counters_.add(Counter::handshake_bad_static);
    }
    Session* session = make_session(peer, keys, index, remote_index, false, now);
    if (!session) return sessions_.release(index);
    // Until the initiator has shown that it is live, nothing is sent with the new session. The one before the
    // present one goes, and so does one that was waiting in vain.
    drop_session(peer, &Peer::next);
    drop_session(peer, &Peer::previous);
    {
        const std::lock_guard hold(peer.lock);
        peer.next = session;
    }
    send_handshake(peer, bytes_of(response), now, sink);
    schedule(peer);
}

void Device::consume_response(const HandshakeMessage& message, Instant now, WallTime wall,
                              DatagramSink& sink) {
    const auto response = message_as<MessageResponse>(message);
    Peer* peer = sessions_.waiting(response.receiver_index);
    noise::SessionKeys keys;
    if (!peer || !peer->handshake_running || peer->initiator_index != response.receiver_index ||
        !noise::consume_response(response, peer->initiator, identity_->keys, peer->preshared_key, keys))
        return counters_.add(Counter::handshake_bad_response);

    Session* session = make_session(*peer, keys, peer->initiator_index, response.sender_index, true, now);
    if (!session) return end_handshake(*peer);
    peer->initiator_index = 0;  // it is the session's now
    peer->handshake_running = false;
    peer->initiator.wipe();
    heard_from(*peer, message, now);

    // The session that was in use becomes the previous one; if the peer began one at the same time and it
    // waits to be confirmed, that one does, for the peer may well be sending with it.
    if (peer->next) {
        drop_session(*peer, &Peer::current);
        drop_session(*peer, &Peer::previous);
        const std::lock_guard hold(peer->lock);
        peer->previous = std::exchange(peer->next, nullptr);
        peer->current = session;
    } else {
        drop_session(*peer, &Peer::previous);
        const std::lock_guard hold(peer->lock);
        peer->previous = std::exchange(peer->current, session);
    }
    handshake_complete(*peer, wall);
    // The responder may send only after it has heard from us: staged packets tell it, or else a keepalive.
    if (peer->staged_by.load(std::memory_order_acquire) == 0) send_keepalive(*peer, now, wall, sink);
    schedule(*peer);
}

// Moves no endpoint and confirms nothing: it is authenticated by our own public key only, which is no secret.
void Device::consume_cookie_reply(const HandshakeMessage& message, Instant now) {
    const auto reply = message_as<MessageCookieReply>(message);
    Peer* peer = sessions_.waiting(reply.receiver_index);
    if (!peer) {
        if (Session* session = sessions_.find(reply.receiver_index)) peer = session->peer;
    }
    if (!peer || !peer->cookies.consume(reply, MacKeys::of(peer->public_key), now))
        counters_.add(Counter::handshake_bad_cookie);
}

// A new series (`retry` false) begins its attempt time anew; either way no two initiations leave within
// REKEY_TIMEOUT.
void Device::initiate(Peer& peer, bool retry, Instant now, WallTime wall, DatagramSink& sink) {
    if (!retry) peer.attempts_began = now;
    peer.unreachable.store(false, std::memory_order_relaxed);
    if (!running_ || !identity_ || peer.barred) return give_up(peer);
    if (peer.last_initiation_sent != Instant{} && now - peer.last_initiation_sent < kRekeyTimeout) return;
    // The next try of this series comes with its jitter, also when traffic asks for it every millisecond.
    if (!retry && peer.retry_at > now) return peer.no_initiation_before.set(peer.retry_at);
    {
        const std::lock_guard hold(peer.lock);
        if (!peer.endpoint.known()) return;
    }
    peer.no_initiation_before.set(now + kRekeyTimeout);
    if (!static_static(peer)) {
        counters_.add(Counter::handshake_bad_static);
        return give_up(peer);
    }

    end_handshake(peer);
    PrivateKey ephemeral;
    random_.fill(ephemeral.writable());
    clamp(ephemeral);
    peer.sent_timestamp = std::max(noise::timestamp_at(wall), noise::successor(peer.sent_timestamp));
    const std::uint32_t index = reserve_index(peer);
    MessageInitiation initiation;
    if (!noise::create_initiation(initiation, peer.initiator, identity_->keys, peer.public_key,
                                  peer.static_static, ephemeral, peer.sent_timestamp, index)) {
        sessions_.release(index);
        counters_.add(Counter::handshake_bad_static);
        return give_up(peer);
    }
    peer.initiator_index = index;
    peer.handshake_running = true;
    peer.last_initiation_sent = now;
    peer.retry_at = now + kRekeyTimeout + jitter();
    send_handshake(peer, bytes_of(initiation), now, sink);
    schedule(peer);
}

// Gives the running initiation up, if there is one, and forgets its secrets.
void Device::end_handshake(Peer& peer) noexcept {
    if (peer.handshake_running) sessions_.release(peer.initiator_index);
    peer.handshake_running = false;
    peer.initiator_index = 0;
    peer.retry_at = {};
    peer.initiator.wipe();
}

// Nobody will answer: what waits for the peer is given up, too.
void Device::give_up(Peer& peer) noexcept {
    end_handshake(peer);
    peer.unreachable.store(true, std::memory_order_relaxed);
    wake_workers(peer.staged_by.load(std::memory_order_acquire));
}

// Everything that could hold back or wrongly continue a handshake is as for a new peer; what keeps replays
// out stays.
void Device::forget_handshakes(Peer& peer) noexcept {
    drop_sessions(peer);
    peer.last_initiation_sent = {};
    peer.no_initiation_before.clear();
    peer.unanswered_received.clear();
    peer.unanswered_sent.clear();
    peer.lastminute_requested.store(false, std::memory_order_relaxed);
    give_up(peer);  // what waits would wait for a handshake that nobody has begun
}

void Device::handshake_complete(Peer& peer, WallTime wall) {
    peer.latest_handshake = wall;
    peer.retry_at = {};
    peer.lastminute_requested.store(false, std::memory_order_relaxed);
    peer.unreachable.store(false, std::memory_order_relaxed);
    wake_workers(peer.staged_by.load(std::memory_order_acquire));
}

// Derived at the first handshake, not when 10,000 peers are configured.
bool Device::static_static(Peer& peer) {
    if (!peer.static_static_known) {
        if (!noise::x25519(peer.static_static, identity_->keys.private_key, peer.public_key)) return false;
        peer.static_static_known = true;
    }
    return true;
}

std::uint32_t Device::reserve_index(Peer& peer) {
    std::unique_ptr<SessionTable::Buckets> outgrown;
    const std::uint32_t index = sessions_.reserve(peer, random_, outgrown);
    if (outgrown) retired_.tables.push_back(std::move(outgrown));
    return index;
}

Session* Device::make_session(Peer& peer, noise::SessionKeys& keys, std::uint32_t local_index,
                              std::uint32_t remote_index, bool initiator, Instant now) {
    Session* session = session_pool_.make<Session>();
    if (!session) {
        counters_.add(Counter::handshake_no_memory);
        return nullptr;
    }
    session->peer = &peer;
    session->sending = std::move(keys.sending);
    session->receiving = std::move(keys.receiving);
    session->local_index = local_index;
    session->remote_index = remote_index;
    session->born = now;
    session->initiator = initiator;
    session->confirmed.store(initiator, std::memory_order_relaxed);
    sessions_.publish(*session);
    return session;
}

// Out of the table and out of the peer's slot: no worker that begins a turn from now on can reach it.
void Device::drop_session(Peer& peer, Session* Peer::*slot) {
    Session* session;
    {
        const std::lock_guard hold(peer.lock);
        session = std::exchange(peer.*slot, nullptr);
    }
    if (!session) return;
    sessions_.release(session->local_index);
    retired_.sessions.push_back(session);
}

void Device::drop_sessions(Peer& peer) {
    drop_session(peer, &Peer::current);
    drop_session(peer, &Peer::next);
    drop_session(peer, &Peer::previous);
}

// Adds the macs and sends to where the peer is now.
void Device::send_handshake(Peer& peer, std::span<std::byte> message, Instant now, DatagramSink& sink) {
    peer.cookies.add_macs(message, MacKeys::of(peer.public_key), now);
    peer.unanswered_received.clear();
    send_to(peer, message, kHandshakeDscp, now, sink);
}

void Device::send_to(Peer& peer, std::span<const std::byte> message, std::uint8_t tos, Instant now,
                     DatagramSink& sink) {
    Endpoint to;
    {
        const std::lock_guard hold(peer.lock);
        to = peer.endpoint;
    }
    peer.transmit_bytes.fetch_add(message.size(), std::memory_order_relaxed);
    peer.last_sent.set(now);
    loops_.sent(to, message);
    using Sent = DatagramSink::Sent;
    const Sent sent = sink.send(to, message, tos);
    if (DatagramSink::is_lost(sent)) counters_.add(Counter::send_failed);
    if (sent == Sent::whole || sent == Sent::refused) return;
    const std::lock_guard hold(peer.lock);
    peer.endpoint.clear_source();
}

// An authenticated handshake message came: the peer is where it came from.
void Device::heard_from(Peer& peer, const HandshakeMessage& message, Instant now) {
    peer.receive_bytes.fetch_add(message.length, std::memory_order_relaxed);
    peer.last_received.set(now);
    peer.unanswered_sent.clear();
    const std::lock_guard hold(peer.lock);
    if (!peer.follow(message.from, now)) counters_.add(Counter::endpoint_held);
}

}  // namespace vern
