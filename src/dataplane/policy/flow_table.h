// The flows of all workers: one table in shards, each with a spin lock that is held for a lookup and a step
// of the state machine. All memory is reserved at construction for the most flows there may be, and touched
// only when used: 128 bytes a flow, and 16 to 24 of the index. Shards take places by the page, so that few
// flows lie close together and many of them in huge pages.
//
// The index is buckets of a cache line: parts of hashes, and the places that they stand for. A key that is
// not there costs one line, and all of a bucket is compared at once, since a branch that is guessed wrong
// costs as much as the comparisons. What finds its bucket full goes to the next that is not. A shard begins
// with one bucket and doubles them as flows come; those of all shards are interleaved, so that what is in use
// lies together at any number of flows. Memory is far away, and a new flow and the timed-out one that makes
// room for it are at random places: what the next insertion will look at is asked for by the one before. A
// locked instruction waits for all stores before it, so the atomic counts are settled before anything is
// written to memory that may be far away.
//
// Who may stay when room is needed, in this order: what has timed out goes; then a half-open flow of the
// payer that asks; then a half-open flow of one that holds more flows than it, as far as a hand that goes
// round finds one near. An answered flow is never given up for a new one: the new one is denied.
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
#include "dataplane/base/random.h"
#include "dataplane/base/spin_lock.h"
#include "dataplane/policy/flow_key.h"
#include "dataplane/policy/flow_state.h"
#include "dataplane/policy/payer.h"
#include "dataplane/policy/reserved.h"
#include "dataplane/policy/rules.h"
#include "dataplane/policy/siphash.h"

namespace vern::policy {

inline constexpr std::size_t kFlowsDefault = std::size_t{1} << 20;

// Two cache lines; the first says what it is and whether it has timed out. All zero: free.
struct Flow {
    FlowKey key;
    Direction began = Direction::in;
    FlowState state = FlowState::none;
    std::uint32_t hash = 0;  // the low half of the key's
    std::uint64_t peer = 0;  // serial: an address that moved to another peer does not take its flows along
    Instant last_seen{};
    Instant valid_until{};  // when the rule that allowed it expires; Instant::max(): never
    std::uint64_t rule_id = 0;
    std::uint32_t generation = 0;  // of the policy that has allowed it
    std::uint32_t rule =
        0;  // in that policy: index, or Policy::kNoRule (let through by a policy that only observes)
    std::array<std::uint64_t, 2> packets{};  // in, out
    std::array<std::uint64_t, 2> bytes{};
    std::uint32_t next = 0;     // of the free ones; index + 1
    std::uint32_t account = 0;  // of its Payer

    bool expired(Instant now) const noexcept { return now - last_seen >= timeout_of(state, key.protocol); }
};
static_assert(sizeof(Flow) == 128 && offsetof(Flow, valid_until) == 64);

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
    // The same for a flow that was found before: is it still that one?
    Held find_again(const FlowKey& key, std::uint64_t hash, Flow* flow, Instant now) noexcept;
    void remove(Held held) noexcept;

    enum class Room { made, there, table_full, peer_full };
    struct Made {
        Room room;
        bool evicted;
        Held flow;  // made: all but key, peer and hash is for the caller to fill in
    };
    // find() will be asked for a flow of that hash soon.
    void expect(std::uint64_t hash) const noexcept { __builtin_prefetch(&bucket(shard_of(hash), hash)); }
    // Unless one of that key is there by now (another worker was faster).
    // `payer_max`: the most that `payer` may have.
    Made insert(const FlowKey& key, std::uint64_t hash, std::uint64_t peer, Payer payer,
                std::size_t payer_max, Instant now) noexcept;

    // Takes out what has timed out among the next `budget` places, or whose peer (a serial) is gone. For the
    // slow path.
    using Gone = std::function<bool(std::uint64_t peer)>;
    void sweep(Instant now, std::size_t budget, const Gone& gone = {});

    std::size_t size() const noexcept { return count_.load(std::memory_order_relaxed); }
    std::size_t size_of(Payer payer) const noexcept {
        return accounts_[account_of(payer)].load(std::memory_order_relaxed);
    }
    std::size_t limit() const noexcept { return flows_max_; }
    // Copies of live flows from place `cursor` on, as many as fit; moves the cursor on. 0 copied and cursor
    // at end(): all were seen. Any thread; a flow that is made or ended meanwhile may or may not be among
    // them.
    std::size_t copy(std::size_t& cursor, std::span<Flow> out, Instant now) noexcept;
    std::size_t end() const noexcept { return shards_count_ * pool_; }
    std::size_t reserved_bytes() const noexcept;

  private:
    static constexpr std::size_t kShardsMax = 4096;
    // Serials are consecutive: half a million live peers share none, and who shares one has less than his
    // own.
    static constexpr std::size_t kAccounts = 1 << 20;
    static constexpr std::size_t kChunk = 4096 / sizeof(Flow);  // places that a shard takes at once
    static constexpr std::size_t kSweepOnInsert = 2;
    static constexpr std::size_t kSearch = 32;  // places that are looked at to make room
    static constexpr std::size_t kWays = 8;

    struct alignas(64) Bucket {
        std::array<std::uint32_t, kWays> hashes;  // low halves
        std::array<std::uint32_t, kWays> places;  // index into flows_, + 1; 0: empty
    };
    struct alignas(64) Shard {
        SpinLock lock;
        std::uint32_t used = 0;     // places that were ever used
        std::uint32_t free = 0;     // index into flows_, + 1
        std::uint32_t cursor = 0;   // of the sweep
        std::uint32_t hand = 0;     // of the search for half-open flows
        std::uint32_t pending = 0;  // index + 1: found timed out by the last sweep, and its bucket asked for
        std::uint32_t live = 0;
        // Buckets in use, less one. Also read without the lock, to ask for memory.
        std::atomic<std::uint32_t> buckets_mask{0};
        Bucket* buckets = nullptr;        // the first
        std::uint32_t* chunks = nullptr;  // which of flows_ are its own
    };

    FlowTable(std::size_t flows_max, Random& random);
    Shard& shard_of(std::uint64_t hash) const noexcept { return shards_[hash >> 32 & (shards_count_ - 1)]; }
    // Where an entry of that hash would rather be; from there on, the next one is that of hash + 1.
    Bucket& bucket(const Shard& shard, std::size_t hash) const noexcept {
        return shard.buckets[(hash & shard.buckets_mask.load(std::memory_order_relaxed)) * shards_count_];
    }
    static unsigned having(const std::array<std::uint32_t, kWays>& values, std::uint32_t value) noexcept {
        unsigned ways = 0;
        for (unsigned i = 0; i < kWays; ++i) ways |= static_cast<unsigned>(values[i] == value) << i;
        return ways;
    }
    static std::uint32_t account_of(Payer payer) noexcept {
        return static_cast<std::uint32_t>(static_cast<std::uint64_t>(payer) & (kAccounts - 1));
    }
    // Of place i of a shard, of `used`.
    Flow& place(const Shard& shard, std::size_t i) const noexcept {
        return flows_[shard.chunks[i / kChunk] * kChunk + i % kChunk];
    }
    Flow* lookup(Shard& shard, const FlowKey& key, std::uint64_t hash) noexcept;
    Flow* take_place(Shard& shard) noexcept;
    // The caller takes it off count_.
    void take_out(Shard& shard, Flow& flow) noexcept;
    void index(Shard& shard, std::uint32_t place, std::uint32_t hash) noexcept;
    void grow(Shard& shard) noexcept;
    void unindex(Shard& shard, std::uint32_t place, std::uint32_t hash) noexcept;
    void sweep_shard(Shard& shard, Instant now, std::size_t budget, const Gone& gone = {}) noexcept;
    // Whether one was taken out, and is still counted: not more than one is.
    bool sweep_ahead(Shard& shard, Instant now) noexcept;
    enum class Whose { own, greedier_too };
    bool evict(Shard& shard, std::uint32_t account, Whose whose) noexcept;
    bool evict_elsewhere(const Shard& but, std::uint32_t account) noexcept;

    const std::size_t flows_max_;
    std::size_t shards_count_;
    std::size_t pool_;     // places a shard, whole chunks
    std::size_t buckets_;  // a shard, a power of two, with at least half as many ways again as places
    SipHash hash_;
    std::unique_ptr<Shard[]> shards_;
    Reserved<Flow> flows_;
    Reserved<Bucket> index_;
    Reserved<std::uint32_t> chunks_;
    Reserved<std::atomic<std::uint32_t>> accounts_;
    SpinLock grow_lock_;  // shards grow seldom, one at a time; taken under a shard's own, never before it
    Reserved<Bucket> growing_;
    alignas(64) std::atomic<std::size_t> count_{0};
    std::atomic<std::uint32_t> next_chunk_{0};
    std::atomic<std::size_t> sweep_at_{0};
};

}  // namespace vern::policy
