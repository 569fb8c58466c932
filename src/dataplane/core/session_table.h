// Receiver index -> session, and -> handshake that waits for its response. Indices are random, all 32 bits of
// them; a new one is drawn again when its bucket is taken, so a lookup is one load and one compare, with no
// chains. At most a quarter full: 1.3 draws on average.
//
// Threads: find() from workers at any time; the rest from the slow path, under the device's lock. A grown
// table replaces the old one, which the caller keeps until the workers have passed a quiescent state.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/random.h"
#include "dataplane/core/session.h"

namespace vern {

class SessionTable {
  public:
    struct Buckets {
        explicit Buckets(std::size_t count) : mask(static_cast<std::uint32_t>(count - 1)), slots(count) {}
        std::uint32_t mask;
        struct Slot {
            std::atomic<Session*> session{nullptr};  // for workers
            Peer* waiting = nullptr;  // slow path only: the index is reserved for this peer's initiation
            std::uint32_t index = 0;  // slow path only
            bool used = false;        // slow path only
        };
        std::vector<Slot> slots;
    };

    SessionTable() : buckets_(std::make_unique<Buckets>(kSmallest)), live_(buckets_.get()) {}

    Session* find(std::uint32_t index) const noexcept {
        const Buckets& buckets = *live_.load(std::memory_order_acquire);
        Session* session = buckets.slots[index & buckets.mask].session.load(std::memory_order_acquire);
        return session && session->local_index == index ? session : nullptr;
    }

    // Draws a free index and reserves it for `peer`'s handshake. When the table had to grow, the old one
    // comes back in `outgrown`.
    std::uint32_t reserve(Peer& peer, Random& random, std::unique_ptr<Buckets>& outgrown) {
        if ((used_ + 1) * 4 > buckets_->slots.size()) outgrown = grow();
        for (;;) {
            const std::uint32_t index = random.u32();
            auto& slot = buckets_->slots[index & buckets_->mask];
            if (slot.used) continue;
            slot.used = true;
            slot.index = index;
            slot.waiting = &peer;
            ++used_;
            return index;
        }
    }
    // The peer whose handshake has this index, or nullptr.
    Peer* waiting(std::uint32_t index) const noexcept {
        const auto& slot = buckets_->slots[index & buckets_->mask];
        return slot.used && slot.index == index ? slot.waiting : nullptr;
    }
    // Makes a session reachable under its local_index, which was reserved before.
    void publish(Session& session) noexcept {
        auto& slot = buckets_->slots[session.local_index & buckets_->mask];
        slot.waiting = nullptr;
        slot.session.store(&session, std::memory_order_release);
    }
    // Frees an index, with what it stood for. The session itself goes on until the workers have let go of it.
    void release(std::uint32_t index) noexcept {
        auto& slot = buckets_->slots[index & buckets_->mask];
        if (!slot.used || slot.index != index) return;
        slot.session.store(nullptr, std::memory_order_release);
        slot.waiting = nullptr;
        slot.used = false;
        --used_;
    }
    std::size_t used() const noexcept { return used_; }

  private:
    static constexpr std::size_t kSmallest = 64;

    // Buckets that were distinct under the smaller mask stay distinct under the larger one.
    std::unique_ptr<Buckets> grow() {
        auto larger = std::make_unique<Buckets>(buckets_->slots.size() * 2);
        for (auto& slot : buckets_->slots) {
            if (!slot.used) continue;
            auto& target = larger->slots[slot.index & larger->mask];
            target.session.store(slot.session.load(std::memory_order_relaxed), std::memory_order_relaxed);
            target.waiting = slot.waiting;
            target.index = slot.index;
            target.used = true;
        }
        live_.store(larger.get(), std::memory_order_release);
        std::swap(buckets_, larger);
        return larger;
    }

    std::unique_ptr<Buckets> buckets_;
    std::atomic<const Buckets*> live_;
    std::size_t used_ = 0;
};

}  // namespace vern
