#include "dataplane/policy/flow_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>

namespace vern::policy {

void FlowTable::Held::release() noexcept {
    if (shard_) std::exchange(shard_, nullptr)->lock.unlock();
    flow_ = nullptr;
}

Result<std::unique_ptr<FlowTable>> FlowTable::make(std::size_t flows_max, Random& random) {
    if (flows_max == 0 || flows_max > kFlowsMax)
        return fail("the limit of flows must be 1 to 16777216", ERANGE);
    std::unique_ptr<FlowTable> table(new FlowTable(flows_max, random));
    if (!table->flows_ || !table->index_ || !table->accounts_)
        return fail("no memory to reserve for flows", ENOMEM);
    return table;
}

// A shard has a sixteenth more places than its share (four standard deviations): hashing does not fill them
// evenly.
FlowTable::FlowTable(std::size_t flows_max, Random& random)
    : flows_max_(flows_max),
      shards_count_(std::bit_floor(std::clamp<std::size_t>(flows_max / 4096, 1, kShardsMax))),
      pool_(flows_max / shards_count_ + flows_max / shards_count_ / 16 + 16),
      slots_(std::bit_ceil(pool_ + pool_ / 2)),
      hash_(random),
      shards_(new Shard[shards_count_]),
      flows_(shards_count_ * pool_),
      index_(shards_count_ * slots_),
      accounts_(kAccounts) {
    for (std::size_t i = 0; i < shards_count_; ++i) {
        shards_[i].flows = flows_.data() + i * pool_;
        shards_[i].slots = index_.data() + i * slots_;
    }
}

std::size_t FlowTable::reserved_bytes() const noexcept {
    return flows_.bytes() + index_.bytes() + accounts_.bytes();
}

std::uint64_t FlowTable::hash(const FlowKey& key) const noexcept {
    std::uint64_t words[5];
    std::uint64_t tail = std::uint64_t{key.remote_port} << 48 | std::uint64_t{key.local_port} << 32 |
                         std::uint64_t{key.protocol} << 16 | std::uint64_t{key.asks} << 8 |
                         (key.v6 ? 1U : 0U);
    if (!key.v6) {
        std::memcpy(&words[0], key.remote.data(), 4);
        std::memcpy(reinterpret_cast<std::byte*>(&words[0]) + 4, key.local.data(), 4);
        words[1] = tail;
        return hash_(std::span(words).first(2));
    }
    std::memcpy(&words[0], key.remote.data(), 16);
    std::memcpy(&words[2], key.local.data(), 16);
    words[4] = tail;
    return hash_(words);
}

Flow* FlowTable::lookup(Shard& shard, const FlowKey& key, std::uint64_t hash) noexcept {
    const auto low = static_cast<std::uint32_t>(hash);
    for (std::size_t at = low & (slots_ - 1); shard.slots[at].place != 0; at = (at + 1) & (slots_ - 1)) {
        if (shard.slots[at].hash != low) continue;
        Flow& flow = shard.flows[shard.slots[at].place - 1];
        if (flow.key == key) return &flow;
    }
    return nullptr;
}

// Closes the gap, so that no probe stops short of what lies behind it.
void FlowTable::unindex(Shard& shard, std::uint32_t place, std::uint32_t hash) noexcept {
    const std::size_t mask = slots_ - 1;
    std::size_t gap = hash & mask;
    while (shard.slots[gap].place != place) gap = (gap + 1) & mask;
    for (std::size_t i = (gap + 1) & mask; shard.slots[i].place != 0; i = (i + 1) & mask) {
        // Movable when its home is not (cyclically) within (gap, i].
        if (((i - shard.slots[i].hash) & mask) < ((i - gap) & mask)) continue;
        shard.slots[gap] = shard.slots[i];
        gap = i;
    }
    shard.slots[gap] = {};
}

FlowTable::Held FlowTable::find(const FlowKey& key, std::uint64_t hash, Instant now) noexcept {
    Shard& shard = shard_of(hash);
    shard.lock.lock();
    Flow* flow = lookup(shard, key, hash);
    if (flow && flow->expired(now)) {
        take_out(shard, *flow);
        flow = nullptr;
    }
    return {&shard, flow};
}

FlowTable::Held FlowTable::find_again(const FlowKey& key, Flow* flow, Instant now) noexcept {
    Shard& shard = shards_[static_cast<std::size_t>(flow - flows_.data()) / pool_];
    shard.lock.lock();
    if (flow->state == FlowState::none || !(flow->key == key) || flow->expired(now)) flow = nullptr;
    return {&shard, flow};
}

void FlowTable::changed(Held& held, FlowState before) noexcept {
    if (half_open(before) == half_open(held->state)) return;
    half_open(before) ? unlink(*held.shard_, *held) : link(*held.shard_, *held);
}

void FlowTable::remove(Held held) noexcept { take_out(*held.shard_, *held); }

void FlowTable::link(Shard& shard, Flow& flow) noexcept {
    List& list = list_of(shard, flow.peer);
    const auto at = static_cast<std::uint32_t>(&flow - shard.flows) + 1;
    flow.older = list.newest;
    flow.newer = 0;
    (list.newest != 0 ? shard.flows[list.newest - 1].newer : list.oldest) = at;
    list.newest = at;
}

void FlowTable::unlink(Shard& shard, Flow& flow) noexcept {
    List& list = list_of(shard, flow.peer);
    (flow.older != 0 ? shard.flows[flow.older - 1].newer : list.oldest) = flow.newer;
    (flow.newer != 0 ? shard.flows[flow.newer - 1].older : list.newest) = flow.older;
    flow.older = flow.newer = 0;
}

void FlowTable::take_out(Shard& shard, Flow& flow) noexcept {
    const auto at = static_cast<std::uint32_t>(&flow - shard.flows) + 1;
    unindex(shard, at, static_cast<std::uint32_t>(hash(flow.key)));
    if (half_open(flow.state)) unlink(shard, flow);
    account(flow.peer).fetch_sub(1, std::memory_order_relaxed);
    count_.fetch_sub(1, std::memory_order_relaxed);
    flow.state = FlowState::none;
    flow.next = shard.free;
    shard.free = at;
}

void FlowTable::sweep_shard(Shard& shard, Instant now, std::size_t budget) noexcept {
    for (std::size_t i = 0; i < std::min<std::size_t>(budget, shard.used); ++i) {
        if (shard.cursor >= shard.used) shard.cursor = 0;
        Flow& flow = shard.flows[shard.cursor++];
        if (flow.state != FlowState::none && flow.expired(now)) take_out(shard, flow);
    }
}

void FlowTable::sweep(Instant now, std::size_t budget) noexcept {
    constexpr std::size_t kAtOnce = 64;  // under one hold of the lock
    for (std::size_t done = 0; done < budget; done += kAtOnce) {
        Shard& shard = shards_[sweep_at_.fetch_add(1, std::memory_order_relaxed) % shards_count_];
        const std::lock_guard hold(shard.lock);
        sweep_shard(shard, now, kAtOnce);
    }
}

// The peer's oldest half-open flow, if it is found among the first of its list, which several peers may
// share.
bool FlowTable::evict(Shard& shard, std::uint64_t peer) noexcept {
    std::uint32_t at = list_of(shard, peer).oldest;
    for (std::size_t i = 0; at != 0 && i < kSearch; ++i, at = shard.flows[at - 1].newer) {
        if (shard.flows[at - 1].peer != peer) continue;
        take_out(shard, shard.flows[at - 1]);
        return true;
    }
    return false;
}

bool FlowTable::evict_greedier(Shard& shard, std::uint64_t peer) noexcept {
    const std::uint32_t own = account(peer).load(std::memory_order_relaxed);
    for (const List& list : shard.half_open) {
        if (list.oldest == 0) continue;
        Flow& flow = shard.flows[list.oldest - 1];
        if (account(flow.peer).load(std::memory_order_relaxed) <= own + 1) continue;
        take_out(shard, flow);
        return true;
    }
    return false;
}

// In a few other shards: a peer at its limit need not have anything half-open in the one where its new flow
// belongs.
bool FlowTable::evict_elsewhere(const Shard& but, std::uint64_t peer) noexcept {
    const std::size_t from = sweep_at_.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < std::min<std::size_t>(shards_count_, 8); ++i) {
        Shard& shard = shards_[(from + i) % shards_count_];
        if (&shard == &but) continue;
        const std::lock_guard hold(shard.lock);
        if (evict(shard, peer)) return true;
    }
    return false;
}

FlowTable::Made FlowTable::insert(const Flow& flow, std::uint64_t hash, std::size_t peer_max,
                                  Instant now) noexcept {
    Shard& shard = shard_of(hash);
    bool evicted = false;
    const auto full = [&] {
        return count_.load(std::memory_order_relaxed) >= flows_max_ ||
               (shard.free == 0 && shard.used == pool_);
    };
    const auto peer_is_full = [&] { return account(flow.peer).load(std::memory_order_relaxed) >= peer_max; };
    if (peer_is_full()) {
        {
            const std::lock_guard hold(shard.lock);
            sweep_shard(shard, now, kSearch);
            evicted = peer_is_full() && evict(shard, flow.peer);
        }
        if (peer_is_full() && evict_elsewhere(shard, flow.peer)) evicted = true;
        if (peer_is_full()) return {Room::peer_full, evicted};
    }
    const std::lock_guard hold(shard.lock);
    if (lookup(shard, flow.key, hash)) return {Room::there, evicted};
    sweep_shard(shard, now, kSweepOnInsert);
    if (full()) {
        sweep_shard(shard, now, kSearch);
        if (full()) evicted |= evict(shard, flow.peer) || evict_greedier(shard, flow.peer);
        if (full()) return {Room::table_full, evicted};
    }
    std::uint32_t at = shard.free;
    if (at != 0)
        shard.free = shard.flows[at - 1].next;
    else
        at = ++shard.used;
    Flow& place = shard.flows[at - 1];
    place = flow;
    place.next = 0;
    std::size_t slot = hash & (slots_ - 1);
    while (shard.slots[slot].place != 0) slot = (slot + 1) & (slots_ - 1);
    shard.slots[slot] = {at, static_cast<std::uint32_t>(hash)};
    place.older = place.newer = 0;
    if (half_open(place.state)) link(shard, place);
    account(flow.peer).fetch_add(1, std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_relaxed);
    return {Room::made, evicted};
}

std::size_t FlowTable::copy(std::size_t& cursor, std::span<Flow> out, Instant now) noexcept {
    std::size_t copied = 0;
    while (copied < out.size() && cursor < end()) {
        Shard& shard = shards_[cursor / pool_];
        const std::lock_guard hold(shard.lock);
        std::size_t at = cursor % pool_;
        // A few at a time: packets wait for this lock.
        for (std::size_t i = 0; i < 64 && at < shard.used && copied < out.size(); ++i, ++at) {
            const Flow& flow = shard.flows[at];
            if (flow.state != FlowState::none && !flow.expired(now)) out[copied++] = flow;
        }
        cursor = at < shard.used ? cursor / pool_ * pool_ + at : (cursor / pool_ + 1) * pool_;
    }
    return copied;
}

}  // namespace vern::policy
