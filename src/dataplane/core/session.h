// One session: the keys that one handshake gave, its counters and its replay window. Made and taken away by
// the slow path alone; workers use it between two of their quiescent states (device.h). Lives in a
// SecretPool.
#pragma once

#include <atomic>
#include <cstdint>

#include "crypto/keys.h"
#include "dataplane/base/spin_lock.h"
#include "dataplane/core/replay_window.h"

namespace vern {

struct Peer;

struct Session {
    // Set once, before the session is visible to any worker.
    Peer* peer = nullptr;
    SymmetricKey sending;
    SymmetricKey receiving;
    std::uint32_t local_index = 0;
    std::uint32_t remote_index = 0;
    Instant born{};
    bool initiator = false;

    // Set by the first worker that opened a message with it. A responder sends nothing before: it proves that
    // the initiator is live.
    std::atomic<bool> confirmed{false};
    std::atomic<std::uint64_t> next_counter{0};

    SpinLock lock;  // guards window
    ReplayWindow window;

    bool expired(Instant now) const noexcept { return now - born >= kRejectAfterTime; }

    // `count` counters in a row for one train. False at the protocol's limit: nothing may be sent under these
    // keys any more.
    bool reserve(std::uint64_t count, std::uint64_t& first) noexcept {
        first = next_counter.fetch_add(count, std::memory_order_relaxed);
        if (first < kRejectAfterMessages && count <= kRejectAfterMessages - first) return true;
        next_counter.store(kRejectAfterMessages,
                           std::memory_order_relaxed);  // stays there: no way back to a used nonce
        return false;
    }
    bool usable_for_sending(Instant now) const noexcept {
        return !expired(now) && next_counter.load(std::memory_order_relaxed) < kRejectAfterMessages;
    }
    // Time to begin the next handshake when sending: by count for both sides, by age for the initiator (so
    // that both do not at once).
    bool due_for_rekey_on_send(Instant now) const noexcept {
        return next_counter.load(std::memory_order_relaxed) >= kRekeyAfterMessages ||
               (initiator && now - born >= kRekeyAfterTime);
    }
    // When receiving, the initiator renews a session that is about to end though it sends nothing itself.
    bool due_for_rekey_on_receive(Instant now) const noexcept {
        return initiator && now - born >= kRejectAfterTime - kKeepaliveTimeout - kRekeyTimeout;
    }
};

}  // namespace vern
