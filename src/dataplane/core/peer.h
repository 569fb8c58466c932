// A peer: who it is, where it is, its sessions, its handshake and what its timers look at. Lives in a
// SecretPool (preshared key, static-static secret and handshake state are secrets) and is at most
// kPeerBytesMax large, sessions not counted.
//
// Three kinds of fields, by who may touch them:
//   slow    the slow path alone, under the device's lock
//   lock    the slow path and the workers, under Peer::lock, held for a few loads and stores once a train
//   atomic  anyone, relaxed: times, counters and requests
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "crypto/cookie.h"
#include "crypto/keys.h"
#include "crypto/noise.h"
#include "dataplane/base/address.h"
#include "dataplane/base/spin_lock.h"
#include "dataplane/core/session.h"

namespace vern {

// An Instant that threads share; "never" is the epoch of the boot clock.
class SharedInstant {
  public:
    Instant get() const noexcept { return Instant(Duration(ns_.load(std::memory_order_relaxed))); }
    void set(Instant at) noexcept { ns_.store(at.time_since_epoch().count(), std::memory_order_relaxed); }
    void clear() noexcept { set(Instant{}); }
    bool is_set() const noexcept { return get() != Instant{}; }
    void set_if_clear(Instant at) noexcept {
        if (!is_set()) set(at);
    }

  private:
    std::atomic<std::int64_t> ns_{0};
};

// What a worker asks of the slow path, as bits of Peer::attention.
enum class Attention : std::uint32_t {
    initiate =
        1,  // there is something to send and no session to send it with, or the session is due for renewal
    confirmed = 2,  // the first message of a new session came
    unused =
        4,  // what waited for a new session was given up: a keepalive must tell the peer that it may send
};

struct Peer {
    explicit Peer(const PublicKey& key, std::uint64_t serial_number) noexcept
        : public_key(key), serial(serial_number) {
        identity_until.set(Instant::max());
    }

    // Fixed.
    const PublicKey public_key;
    const std::uint64_t serial;  // never used again, so it can outlive the peer in queues

    // lock
    SpinLock lock;
    Session* current = nullptr;   // what is sent with
    Session* next = nullptr;      // the responder's, until its first message came
    Session* previous = nullptr;  // still received with
    Endpoint endpoint;
    Instant moves_full_at{};

    // Under the lock: the peer spoke from there. A port is followed at once (NAT), an address once a second
    // and a few times at once: each is a neighbour that the kernel may have to look for, with packets
    // waiting. False: it was not followed.
    bool follow(const Endpoint& from, Instant now) noexcept {
        if (endpoint.known() && !(from.address == endpoint.address)) {
            constexpr Duration kCost = std::chrono::seconds(1), kAtOnce = std::chrono::seconds(5);
            const Instant full_at = std::max(moves_full_at, now) + kCost;
            if (full_at - now > kAtOnce) return false;
            moves_full_at = full_at;
        }
        endpoint = from;
        return true;
    }

    // atomic
    std::atomic<std::uint32_t> attention{0};
    std::atomic<std::uint32_t> staged_by{0};  // bit i: worker i keeps packets for this peer
    std::atomic<bool> unreachable{
        false};  // the last handshake was given up: staged packets are to be dropped
    std::atomic<bool> lastminute_requested{false};
    SharedInstant no_initiation_before;  // asking the slow path earlier is in vain
    SharedInstant unanswered_received;   // first data received since we last sent anything
    SharedInstant unanswered_sent;       // first data sent since we last received anything
    SharedInstant last_staged;           // a packet began to wait for a session: attempts go on for it
    SharedInstant last_sent;             // any authenticated message
    SharedInstant last_received;
    std::atomic<std::uint64_t> receive_bytes{0};
    std::atomic<std::uint64_t> transmit_bytes{0};
    std::atomic<std::uint64_t> policy_class{0};  // generation << 32 | class, of the policy that last asked
    SharedInstant identity_until;                // Device::set_identity_limits()

    // slow
    CookieJar cookies;
    PresharedKey preshared_key;
    SharedSecret static_static;  // X25519(our static, theirs): made when first needed
    bool static_static_known = false;
    noise::Initiator initiator;
    std::uint32_t initiator_index = 0;
    bool barred = false;              // not admitted: no sessions, no handshakes
    bool handshake_running = false;   // an initiation of ours waits for its response
    noise::Timestamp last_timestamp;  // greatest that the peer sent
    noise::Timestamp sent_timestamp;  // greatest that we sent
    Instant last_initiation_received{};
    Instant last_initiation_sent{};
    Instant attempts_began{};  // of the present series of initiations
    Instant retry_at{};        // of the initiation, with its jitter; epoch: none
    Duration stale_jitter{};   // of the present "sent but heard nothing" wait
    std::optional<WallTime> latest_handshake;
    std::uint32_t allowed_ip_count = 0;
    std::uint16_t persistent_keepalive_s = 0;
    bool keepalive_now = false;  // persistent keepalive was just turned on, or the interface came up:
    Instant keepalive_from{};    // since then a keepalive is due
    Instant timer_at{};          // when this peer's entry in the deadline queue is due; epoch: none
};

inline constexpr std::size_t kPeerBytesMax = 1024;
static_assert(sizeof(Peer) <= kPeerBytesMax);

}  // namespace vern
