// The flows of all workers: one table in shards, each with a spin lock that is held for a lookup and a step
// of the state machine. All memory is reserved at construction for the most flows there may be, and touched
// only when used: 128 bytes a flow, and 16 to 24 of the index.
//
// The index is open addressing with a part of the hash beside each place, so that a key that is not there
// costs one cache line, and one that is found by the sweep is taken out without looking at others.
//
// Who may stay when room is needed, in this order: what has timed out goes; then half-open flows of the peer
// that asks; then half-open flows of a peer that holds more flows than it. An answered flow is never given up
// for a new one: the new one is denied.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "crypto/error.h"
#include "crypto/instant.h"
#include "dataplane/core/random.h"
#include "dataplane/core/spin_lock.h"
#include "dataplane/policy/flow_key.h"
#include "dataplane/policy/flow_state.h"
#include "dataplane/policy/reserved.h"
#include "dataplane/policy/rules.h"
#include "dataplane/policy/siphash.h"

namespace vern::policy {

inline constexpr std::size_t kFlowsDefault = std::size_t{1} << 20;

// Two cache lines; the first is what a packet of a live flow needs. All zero: free.
struct Flow {
    FlowKey key;
    Direction began = Direction::in;
    FlowState state = FlowState::none;
    std::uint32_t generation = 0;  // of the policy that has allowed it
    std::uint64_t peer = 0;  // serial: an address that moved to another peer does not take its flows along
    Instant last_seen{};
    Instant valid_until{};  // when the rule that allowed it expires; Instant::max(): never
    std::uint64_t rule_id = 0;
    std::uint32_t rule =
        0;  // in that policy: index, or Policy::kNoRule (let through by a policy that only observes)
    std::uint32_t next = 0;                  // of the free ones; index + 1
    std::array<std::uint64_t, 2> packets{};  // in, out
    std::array<std::uint64_t, 2> bytes{};
    std::uint32_t older = 0;  // half-open flows of its shard, by peer: index + 1
    std::uint32_t newer = 0;

    bool expired(Instant now) const noexcept { return now - last_seen >= timeout_of(state, key.protocol); }
};
static_assert(sizeof(Flow) == 128);

class FlowTable {
    struct Shard;

  public:
    // Errors: no memory to reserve.
    static Result<std::unique_ptr<FlowTable>> make(std::size_t flows_max, Random& random);

    // A flow with its shard locked, for as long as this lives. Empty: there is none.
    class Held {
      public:
        Held() = default;
        Held(Held&& other) noexcept
            : shard_(std::exchange(other.shard_, nullptr)), flow_(std::exchange(other.flow_, nullptr)) {}
        Held& operator=(Held&&) = delete;
        ~Held() { release(); }
        explicit operator bool() const noexcept { return flow_ != nullptr; }
        Flow* operator->() const noexcept { return flow_; }
        Flow& operator*() const noexcept { return *flow_; }
        Flow* get() const noexcept { return flow_; }
        void release() noexcept;  // the lock; empty from then on

      private:
        friend class FlowTable;
        Held(Shard* shard, Flow* flow) noexcept : shard_(shard), flow_(flow) {}
        Shard* shard_ = nullptr;
        Flow* flow_ = nullptr;
    };

    std::uint64_t hash(const FlowKey& key) const noexcept;
    // The flow of that key, unless it has timed out (then it is gone).
    Held find(const FlowKey& key, std::uint64_t hash, Instant now) noexcept;
    // The same for a flow that was found before: is it still that one? Spares the hash.
    Held find_again(const FlowKey& key, Flow* flow, Instant now) noexcept;
    // After a step of the state machine.
    void changed(Held& held, FlowState before) noexcept;
    void remove(Held held) noexcept;

    enum class Room { made, there, table_full, peer_full };
    struct Made {
        Room room;
        bool evicted;
    };
    // A copy of `flow` is kept, unless one of that key is there by now (another worker was faster).
    Made insert(const Flow& flow, std::uint64_t hash, std::size_t peer_max, Instant now) noexcept;

    // Takes out what has timed out among the next `budget` places. For the slow path.
    void sweep(Instant now, std::size_t budget) noexcept;

    std::size_t size() const noexcept { return count_.load(std::memory_order_relaxed); }
    std::size_t size_of(std::uint64_t peer) const noexcept {
        return account(peer).load(std::memory_order_relaxed);
    }
    std::size_t limit() const noexcept { return flows_max_; }
    // Copies of live flows from place `cursor` on, as many as fit; moves the cursor on. 0 copied and cursor
    // at end(): all were seen. Any thread; a flow that is made or ended meanwhile may or may not be among
    // them.
    std::size_t copy(std::size_t& cursor, std::span<Flow> out, Instant now) noexcept;
    std::size_t end() const noexcept { return shards_count_ * pool_; }
    std::size_t reserved_bytes() const noexcept;

  private:
    static constexpr std::size_t kShardsMax = 256;
    static constexpr std::size_t kPeerLists = 64;  // of half-open flows, a shard
    static constexpr std::size_t kAccounts =
        1 << 20;  // serials are consecutive and peers at most as many: two live peers hardly share one
    static constexpr std::size_t kSweepOnInsert = 2;
    static constexpr std::size_t kSearch = 32;  // places and list members that are looked at to make room

    // In the index; place 0: empty.
    struct Slot {
        std::uint32_t place;  // index + 1
        std::uint32_t hash;   // its low half: where the entry would rather be, and a first comparison
    };
    struct List {
        std::uint32_t oldest = 0, newest = 0;  // index + 1
    };
    struct alignas(64) Shard {
        SpinLock lock;
        std::uint32_t used = 0;    // places that were ever used
        std::uint32_t free = 0;    // index + 1
        std::uint32_t cursor = 0;  // of the sweep
        Flow* flows = nullptr;
        Slot* slots = nullptr;
        std::array<List, kPeerLists> half_open;
    };

    FlowTable(std::size_t flows_max, Random& random);
    Shard& shard_of(std::uint64_t hash) noexcept { return shards_[hash >> 32 & (shards_count_ - 1)]; }
    std::atomic<std::uint32_t>& account(std::uint64_t peer) const noexcept {
        return accounts_[peer & (kAccounts - 1)];
    }
    Flow* lookup(Shard& shard, const FlowKey& key, std::uint64_t hash) noexcept;
    void take_out(Shard& shard, Flow& flow) noexcept;
    void unindex(Shard& shard, std::uint32_t place, std::uint32_t hash) noexcept;
    void sweep_shard(Shard& shard, Instant now, std::size_t budget) noexcept;
    bool evict(Shard& shard, std::uint64_t peer) noexcept;
    bool evict_greedier(Shard& shard, std::uint64_t peer) noexcept;
    bool evict_elsewhere(const Shard& but, std::uint64_t peer) noexcept;
    static List& list_of(Shard& shard, std::uint64_t peer) noexcept {
        return shard.half_open[peer % kPeerLists];
    }
    static void link(Shard& shard, Flow& flow) noexcept;
    static void unlink(Shard& shard, Flow& flow) noexcept;

    const std::size_t flows_max_;
    std::size_t shards_count_;
    std::size_t pool_;   // places a shard
    std::size_t slots_;  // a shard, a power of two, more than half as many again as places
    SipHash hash_;
    std::unique_ptr<Shard[]> shards_;
    Reserved<Flow> flows_;
    Reserved<Slot> index_;
    Reserved<std::atomic<std::uint32_t>> accounts_;
    std::atomic<std::size_t> count_{0};
    std::atomic<std::size_t> sweep_at_{0};
};

}  // namespace vern::policy
