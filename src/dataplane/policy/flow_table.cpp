#include "dataplane/policy/flow_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>

namespace vern::policy {
namespace {

const Flow kFresh;

}  // namespace

void FlowTable::Held::release() noexcept {
    if (shard_) std::exchange(shard_, nullptr)->lock.unlock();
    flow_ = nullptr;
}

Result<std::unique_ptr<FlowTable>> FlowTable::make(std::size_t flows_max, Random& random) {
    if (flows_max == 0 || flows_max > kFlowsMax)
        return fail("the limit of flows must be 1 to 16777216", ERANGE);
    std::unique_ptr<FlowTable> table(new FlowTable(flows_max, random));
    if (!table->flows_ || !table->index_ || !table->chunks_ || !table->accounts_ || !table->growing_)
        return fail("no memory to reserve for flows", ENOMEM);
    return table;
}

// A shard has a sixteenth more places than its share (four standard deviations): hashing does not fill them
// evenly.
FlowTable::FlowTable(std::size_t flows_max, Random& random)
    : flows_max_(flows_max),
      shards_count_(std::bit_floor(std::clamp<std::size_t>(flows_max / 4096, 1, kShardsMax))),
      pool_((flows_max / shards_count_ * 17 / 16 + 16 + kChunk - 1) / kChunk * kChunk),
      buckets_(std::bit_ceil((pool_ + pool_ / 2) / kWays + 1)),
      hash_(random),
      shards_(new Shard[shards_count_]),
      flows_(shards_count_ * pool_, Pages::huge),
      index_(shards_count_ * buckets_, Pages::huge),
      chunks_(shards_count_ * pool_ / kChunk),
      accounts_(kAccounts),
      growing_(buckets_ / 2 + 1) {
    for (std::size_t i = 0; i < shards_count_; ++i) {
        shards_[i].buckets = index_.data() + i;
        shards_[i].chunks = chunks_.data() + i * (pool_ / kChunk);
    }
}

std::size_t FlowTable::reserved_bytes() const noexcept {
    return flows_.bytes() + index_.bytes() + chunks_.bytes() + accounts_.bytes() + growing_.bytes();
}

std::uint64_t FlowTable::hash(const FlowKey& key) const noexcept {
    if (!key.v6) {
        std::uint32_t remote, local;
        std::memcpy(&remote, key.remote.data(), 4);
        std::memcpy(&local, key.local.data(), 4);
        const std::uint64_t words[2] = {std::uint64_t{remote} << 32 | local, key.rest()};
        return hash_(words);
    }
    std::uint64_t words[5];
    std::memcpy(&words[0], key.remote.data(), 16);
    std::memcpy(&words[2], key.local.data(), 16);
    words[4] = key.rest();
    return hash_(words);
}

Flow* FlowTable::lookup(Shard& shard, const FlowKey& key, std::uint64_t hash) noexcept {
    for (std::size_t at = hash;; ++at) {
        const Bucket& here = bucket(shard, at);
        for (unsigned ways = having(here.hashes, static_cast<std::uint32_t>(hash)); ways != 0;
             ways &= ways - 1) {
            const std::uint32_t place = here.places[static_cast<unsigned>(std::countr_zero(ways))];
            if (place != 0 && flows_[place - 1].key == key) return &flows_[place - 1];
        }
        if (having(here.places, 0) != 0) return nullptr;
    }
}

// There is room.
void FlowTable::index(Shard& shard, std::uint32_t place, std::uint32_t hash) noexcept {
    for (std::size_t at = hash;; ++at) {
        Bucket& here = bucket(shard, at);
        const unsigned empty = having(here.places, 0);
        if (empty == 0) continue;
        const auto way = static_cast<unsigned>(std::countr_zero(empty));
        here.hashes[way] = hash;
        here.places[way] = place;
        return;
    }
}

// Twice the buckets, in place: all entries come out and go in again.
void FlowTable::grow(Shard& shard) noexcept {
    const std::lock_guard hold(grow_lock_);
    const std::size_t before = std::size_t{shard.buckets_mask.load(std::memory_order_relaxed)} + 1;
    for (std::size_t i = 0; i < before; ++i) growing_[i] = std::exchange(bucket(shard, i), {});
    shard.buckets_mask.store(static_cast<std::uint32_t>(2 * before - 1), std::memory_order_relaxed);
    for (std::size_t i = 0; i < before; ++i) {
        for (std::size_t way = 0; way < kWays; ++way) {
            if (growing_[i].places[way] != 0) index(shard, growing_[i].places[way], growing_[i].hashes[way]);
        }
    }
}

// What went on to later buckets since one was full must still be found: when that has room again, one of
// these comes back, and leaves room where it was.
void FlowTable::unindex(Shard& shard, std::uint32_t place, std::uint32_t hash) noexcept {
    std::size_t at = hash;
    while (having(bucket(shard, at).places, place) == 0) ++at;
    const std::size_t mask = shard.buckets_mask.load(std::memory_order_relaxed);
    Bucket* gap = &bucket(shard, at);
    auto way = static_cast<unsigned>(std::countr_zero(having(gap->places, place)));
    bool was_full = having(gap->places, 0) == 0;
    gap->places[way] = 0;
    for (std::size_t next = at + 1; was_full && ((next - at) & mask) != 0; ++next) {
        Bucket& later = bucket(shard, next);
        was_full = having(later.places, 0) == 0;
        for (unsigned i = 0; i < kWays; ++i) {
            // Movable when its home is not (cyclically) within (at, next].
            if (later.places[i] == 0 || ((next - later.hashes[i]) & mask) < ((next - at) & mask)) continue;
            gap->hashes[way] = later.hashes[i];
            gap->places[way] = std::exchange(later.places[i], 0);
            gap = &later;
            way = i;
            at = next;
            break;
        }
    }
}

FlowTable::Held FlowTable::find(const FlowKey& key, std::uint64_t hash, Instant now) noexcept {
    Shard& shard = shard_of(hash);
    __builtin_prefetch(&bucket(shard, hash));  // taking the lock would wait for the shard alone
    shard.lock.lock();
    Flow* flow = lookup(shard, key, hash);
    if (flow && flow->expired(now)) {
        count_.fetch_sub(1, std::memory_order_relaxed);
        take_out(shard, *flow);
        flow = nullptr;
    }
    return {&shard, flow};
}

FlowTable::Held FlowTable::find_again(const FlowKey& key, std::uint64_t hash, Flow* flow,
                                      Instant now) noexcept {
    Shard& shard = shard_of(hash);
    shard.lock.lock();
    if (flow->state == FlowState::none || !(flow->key == key) || flow->expired(now)) flow = nullptr;
    return {&shard, flow};
}

void FlowTable::remove(Held held) noexcept {
    count_.fetch_sub(1, std::memory_order_relaxed);
    take_out(*held.shard_, *held);
}

void FlowTable::take_out(Shard& shard, Flow& flow) noexcept {
    accounts_[flow.account].fetch_sub(1, std::memory_order_relaxed);
    const auto at = static_cast<std::uint32_t>(&flow - flows_.data()) + 1;
    unindex(shard, at, flow.hash);
    --shard.live;
    flow.state = FlowState::none;
    flow.next = shard.free;
    shard.free = at;
}

void FlowTable::sweep_shard(Shard& shard, Instant now, std::size_t budget, const Gone& gone) noexcept {
    std::size_t out = 0;
    for (std::size_t i = 0; i < std::min<std::size_t>(budget, shard.used); ++i) {
        if (shard.cursor >= shard.used) shard.cursor = 0;
        Flow& flow = place(shard, shard.cursor++);
        if (flow.state == FlowState::none) continue;
        if (!flow.expired(now) && !(gone && gone(flow.peer))) continue;
        take_out(shard, flow);
        ++out;
    }
    if (out > 0) count_.fetch_sub(out, std::memory_order_relaxed);
}

// With each insertion a bit, in three steps that are an insertion apart: ask for a few places; look at them,
// and ask for the slot of one that has timed out; take that out.
bool FlowTable::sweep_ahead(Shard& shard, Instant now) noexcept {
    bool out = false;
    if (shard.pending != 0) {
        Flow& flow = flows_[std::exchange(shard.pending, 0) - 1];
        if (flow.state != FlowState::none && flow.expired(now)) {
            take_out(shard, flow);
            out = true;
        }
    }
    for (std::size_t i = 0; i < std::min<std::size_t>(kSweepOnInsert, shard.used) && shard.pending == 0;
         ++i) {
        if (shard.cursor >= shard.used) shard.cursor = 0;
        Flow& flow = place(shard, shard.cursor++);
        if (flow.state == FlowState::none || !flow.expired(now)) continue;
        shard.pending = static_cast<std::uint32_t>(&flow - flows_.data()) + 1;
        __builtin_prefetch(&bucket(shard, flow.hash), 1);
        __builtin_prefetch(&flow.valid_until, 1);
    }
    for (std::size_t i = 0; i < kSweepOnInsert && shard.cursor + i < shard.used; ++i)
        __builtin_prefetch(&place(shard, shard.cursor + i), 1);
    return out;
}

void FlowTable::sweep(Instant now, std::size_t budget, const Gone& gone) {
    constexpr std::size_t kAtOnce = 64;  // under one hold of the lock
    for (std::size_t done = 0; done < budget; done += kAtOnce) {
        Shard& shard = shards_[sweep_at_.fetch_add(1, std::memory_order_relaxed) % shards_count_];
        const std::lock_guard hold(shard.lock);
        sweep_shard(shard, now, kAtOnce, gone);
    }
}

bool FlowTable::evict(Shard& shard, std::uint32_t account, Whose whose) noexcept {
    const std::uint32_t own = accounts_[account].load(std::memory_order_relaxed);
    Flow* victim = nullptr;
    for (std::size_t i = 0; i < std::min<std::size_t>(kSearch, shard.used); ++i) {
        if (shard.hand >= shard.used) shard.hand = 0;
        Flow& flow = place(shard, shard.hand++);
        if (!half_open(flow.state)) continue;
        if (flow.account == account) {
            victim = &flow;
            break;
        }
        if (whose == Whose::greedier_too && victim == nullptr &&
            accounts_[flow.account].load(std::memory_order_relaxed) > own + 1)
            victim = &flow;
    }
    if (victim == nullptr) return false;
    count_.fetch_sub(1, std::memory_order_relaxed);
    take_out(shard, *victim);
    return true;
}

// In a few other shards: a payer at its limit need not have anything half-open in the one where its new flow
// belongs.
bool FlowTable::evict_elsewhere(const Shard& but, std::uint32_t account) noexcept {
    const std::size_t from = sweep_at_.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < std::min<std::size_t>(shards_count_, 8); ++i) {
        Shard& shard = shards_[(from + i) % shards_count_];
        if (&shard == &but) continue;
        const std::lock_guard hold(shard.lock);
        if (evict(shard, account, Whose::own)) return true;
    }
    return false;
}

// There is one.
Flow* FlowTable::take_place(Shard& shard) noexcept {
    if (shard.free != 0) {
        Flow& flow = flows_[shard.free - 1];
        shard.free = flow.next;
        return &flow;
    }
    if (shard.used % kChunk == 0)
        shard.chunks[shard.used / kChunk] = next_chunk_.fetch_add(1, std::memory_order_relaxed);
    return &place(shard, shard.used++);
}

FlowTable::Made FlowTable::insert(const FlowKey& key, std::uint64_t hash, std::uint64_t peer, Payer payer,
                                  std::size_t payer_max, Instant now) noexcept {
    const std::uint32_t account = account_of(payer);
    Shard& shard = shard_of(hash);
    Made out{Room::made, false, {}};
    const auto full = [&] {
        return count_.load(std::memory_order_relaxed) >= flows_max_ ||
               (shard.free == 0 && shard.used == pool_);
    };
    const auto payer_is_full = [&] {
        return accounts_[account].load(std::memory_order_relaxed) >= payer_max;
    };
    if (payer_is_full()) {
        {
            const std::lock_guard hold(shard.lock);
            sweep_shard(shard, now, kSearch);
            out.evicted = payer_is_full() && evict(shard, account, Whose::own);
        }
        if (payer_is_full() && evict_elsewhere(shard, account)) out.evicted = true;
        out.room = Room::peer_full;
        if (payer_is_full()) return out;
    }
    shard.lock.lock();
    Held held(&shard, nullptr);
    out.room = Room::there;
    if (lookup(shard, key, hash)) return out;
    // One that goes leaves its place, and its part of the count: two locked instructions less.
    const bool in_place_of_another = sweep_ahead(shard, now);
    out.room = Room::table_full;
    if (!in_place_of_another && full()) {
        sweep_shard(shard, now, kSearch);
        if (full()) out.evicted |= evict(shard, account, Whose::greedier_too);
        if (full()) return out;
    }
    accounts_[account].fetch_add(1, std::memory_order_relaxed);
    if (!in_place_of_another) count_.fetch_add(1, std::memory_order_relaxed);
    if (2 * ++shard.live > kWays * (shard.buckets_mask.load(std::memory_order_relaxed) + 1) &&
        shard.buckets_mask.load(std::memory_order_relaxed) + 1 < buckets_)
        grow(shard);
    Flow& place = *take_place(shard);
    std::memcpy(static_cast<void*>(&place), &kFresh, sizeof place);  // `place = {}` would be a slow rep stos
    place.key = key;
    place.peer = peer;
    place.account = account;
    place.hash = static_cast<std::uint32_t>(hash);
    index(shard, static_cast<std::uint32_t>(&place - flows_.data()) + 1, place.hash);
    out.room = Room::made;
    held.flow_ = &place;
    return {Room::made, out.evicted, std::move(held)};
}

std::size_t FlowTable::copy(std::size_t& cursor, std::span<Flow> out, Instant now) noexcept {
    std::size_t copied = 0;
    while (copied < out.size() && cursor < end()) {
        Shard& shard = shards_[cursor / pool_];
        const std::lock_guard hold(shard.lock);
        std::size_t at = cursor % pool_;
        // A few at a time: packets wait for this lock.
        for (std::size_t i = 0; i < 64 && at < shard.used && copied < out.size(); ++i, ++at) {
            const Flow& flow = place(shard, at);
            if (flow.state != FlowState::none && !flow.expired(now)) out[copied++] = flow;
        }
        cursor = at < shard.used ? cursor / pool_ * pool_ + at : (cursor / pool_ + 1) * pool_;
    }
    return copied;
}

}  // namespace vern::policy
