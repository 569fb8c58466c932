// Device: the policy that its workers apply, and what there is to see of it.
#include "dataplane/core/device.h"

namespace vern {
namespace {

constexpr Duration kSweepInterval = std::chrono::seconds(1);
constexpr std::size_t kSweepMost = 32768;  // places a sweep: below a millisecond under the device's lock

}  // namespace

Result<void> Device::set_policy(std::unique_ptr<const policy::Policy> policy, std::size_t flows_max) {
    const std::lock_guard hold(lock_);
    // Flows tell by the generation alone that they must be asked again, and a worker counts in cells of its
    // own.
    if (policy && policy->generation() <= policy_generation_)
        return fail("a policy's generation must be above all that were published before", EINVAL);
    if (policy && policy->workers() < workers())
        return fail("the policy was compiled for fewer workers than there are", EINVAL);
    if (policy && !policy_tables_) {
        auto tables = policy::Tables::make(flows_max, workers(), random_);
        if (!tables) return tl::unexpected(tables.error());
        policy_tables_ = std::move(*tables);
        policy_tables_->pick_up_until.store(pick_up_until_.time_since_epoch().count(),
                                            std::memory_order_relaxed);
        live_tables_.store(policy_tables_.get(), std::memory_order_release);
    }
    // What can fail comes before what workers see.
    retired_.policies.reserve(retired_.policies.size() + 1);
    if (policy && policy_) policy->take_over_counts(*policy_);
    if (policy) policy_generation_ = policy->generation();
    live_policy_.store(policy.get(), std::memory_order_release);
    if (auto before = std::exchange(policy_, std::move(policy)))
        retired_.policies.push_back(std::move(before));
    // What was staged under the old policy waits in workers that may be idle: they look at it again before it
    // goes, and need not be woken for it.
    return {};
}

void Device::pick_up_flows(Instant started) {
    const std::lock_guard hold(lock_);
    pick_up_until_ = started + policy::kPickUpTime;
    if (policy_tables_)
        policy_tables_->pick_up_until.store(pick_up_until_.time_since_epoch().count(),
                                            std::memory_order_relaxed);
}

void Device::set_identity_limits(std::span<const IdentityLimit> limits) {
    const std::lock_guard hold(lock_);
    for (const auto& [peer, until] : limits) {
        const auto found = peers_by_key_.find(peer);
        if (found == peers_by_key_.end()) continue;
        SharedInstant& of_peer = found->second->identity_until;
        if (of_peer.get() != until) of_peer.set(until);  // workers have its cache line
    }
}

std::uint32_t Device::policy_generation() const {
    const std::lock_guard hold(lock_);
    return policy_ ? policy_->generation() : 0;
}

std::vector<policy::RuleCounts> Device::policy_counts() const {
    const std::lock_guard hold(lock_);
    std::vector<policy::RuleCounts> counts;
    if (!policy_) return counts;
    const auto rules = static_cast<std::uint32_t>(policy_->rules().rules.size());
    counts.reserve(rules + 1);
    for (std::uint32_t i = 0; i < rules; ++i) counts.push_back(policy_->counts(i));
    counts.push_back(policy_->counts(policy::Policy::kNoRule));
    return counts;
}

std::optional<policy::Explanation> Device::explain(policy::Direction direction, const PublicKey& peer,
                                                   const policy::FlowKey& key, std::uint16_t port,
                                                   Instant now) const {
    const std::lock_guard hold(lock_);
    const auto found = peers_by_key_.find(peer);
    if (!policy_ || found == peers_by_key_.end()) return std::nullopt;
    const bool in = direction == policy::Direction::in;
    const Peer* sender = in ? found->second : snapshot_->allowed_ips.find(key.local.data(), key.v6);
    return policy::Gate::explain(
        *policy_, *policy_tables_, direction,
        {found->second->serial, policy_->class_of(peer), found->second->identity_until.get()},
        sender ? sender->serial : 0, key, port, now);
}

std::size_t Device::copy_flows(std::size_t& cursor, std::span<policy::Flow> out, Instant now) const {
    policy::Tables* tables = policy_tables();
    return tables ? tables->flows->copy(cursor, out, now) : 0;
}

std::size_t Device::flow_count() const noexcept {
    const policy::Tables* tables = policy_tables();
    return tables ? tables->flows->size() : 0;
}

std::optional<PublicKey> Device::public_key_of(std::uint64_t serial) const {
    const std::lock_guard hold(lock_);
    const Peer* peer = find_peer(peers_, serial);
    return peer ? std::optional(peer->public_key) : std::nullopt;
}

bool Device::next_policy_log(unsigned worker, policy::LogRecord& out) {
    policy::Tables* tables = policy_tables();
    return tables && tables->logs[worker]->pop(out);
}

// Flows that nobody asks for any more, or whose peer is gone: a part of the table a second, so that it is
// seen whole within half a minute or so.
void Device::sweep_flows(Instant now) {
    if (flow_count() == 0 || now < next_sweep_) return;
    policy::FlowTable& flows = *policy_tables_->flows;
    policy::FlowTable::Gone gone;
    if (sweeps_for_removed_ > 0) {
        --sweeps_for_removed_;
        gone = [this](std::uint64_t serial) { return find_peer(peers_, serial) == nullptr; };
    }
    flows.sweep(now, std::min(kSweepMost, flows.end() / 16 + 64), gone);
    next_sweep_ = now + kSweepInterval;
}

}  // namespace vern
