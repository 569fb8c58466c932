#include "control/identity/registry.h"

#include <algorithm>

namespace vern::identity {

using trust::Refusal;
using trust::refuse;

std::string_view name_of(Means means) noexcept {
    switch (means) {
        case Means::tunnel_ssh: return "tunnel-ssh";
        case Means::tunnel_tls: return "tunnel-tls";
        case Means::statement_ssh: return "statement-ssh";
        case Means::statement_cms: return "statement-cms";
        case Means::certificate: return "certificate";
    }
    return "";
}

Instant deadline_of(trust::UnixSeconds ends, const policy::ClockPair& now) {
    return policy::instant_of(WallTime(std::chrono::seconds(std::min(ends, kFar))), now);
}

trust::Verdict<Registry::Bound> Registry::bind(Binding binding) {
    const Key key{binding.identity.kind, binding.identity.key};
    std::uint64_t id = next_id_;
    bool changed = true, renewed = false;
    Instant ended_before{};
    if (const auto known = by_key_.find(key); known != by_key_.end()) {
        const Binding& before = bindings_.at(known->second);
        if (before.peer != binding.peer)
            return refuse(
                Refusal::duplicate,
                "this key is bound to another peer already, and stays so until that ends or is removed");
        // Only the times may differ for rules not to care.
        trust::Identity same = before.identity;
        same.not_before = binding.identity.not_before;
        same.not_after = binding.identity.not_after;
        same.serial = binding.identity.serial;
        changed = !(same == binding.identity) || before.identity.serial != binding.identity.serial;
        renewed = true;
        ended_before = before.deadline;
        id = before.id;
        take(bindings_.find(id));
    } else {
        if (bindings_.size() >= kBindingsMax)
            return refuse(Refusal::limit, "65536 identities are bound here already");
        if (const auto peer = by_peer_.find(binding.peer);
            peer != by_peer_.end() && peer->second.size() >= kBindingsPerPeerMax)
            return refuse(Refusal::limit, "16 identities are bound to this peer already");
        ++next_id_;
    }
    binding.id = id;
    by_key_.emplace(key, id);
    by_peer_[binding.peer].insert(id);
    ends_.emplace(binding.deadline, id);
    const auto at = bindings_.emplace(id, std::move(binding)).first;
    return Bound{&at->second, changed, renewed, ended_before};
}

Binding Registry::take(std::map<std::uint64_t, Binding>::iterator at) {
    Binding gone = std::move(bindings_.extract(at).mapped());
    by_key_.erase({gone.identity.kind, gone.identity.key});
    ends_.erase({gone.deadline, gone.id});
    const auto peer = by_peer_.find(gone.peer);
    peer->second.erase(gone.id);
    if (peer->second.empty()) by_peer_.erase(peer);
    return gone;
}

std::optional<Registry::Ended> Registry::end(std::uint64_t id, std::string_view reason) {
    const auto at = bindings_.find(id);
    if (at == bindings_.end()) return std::nullopt;
    return Ended{take(at), std::string(reason)};
}

std::vector<Registry::Ended> Registry::end_due(Instant now) {
    std::vector<Ended> ended;
    while (!ends_.empty() && ends_.begin()->first <= now)
        ended.push_back({take(bindings_.find(ends_.begin()->second)), "expired"});
    return ended;
}

std::vector<Registry::Ended> Registry::prove_again(const Again& again) {
    std::vector<Ended> ended;
    for (auto at = bindings_.begin(); at != bindings_.end();) {
        const auto here = at++;
        Binding& binding = here->second;
        const Instant before = binding.deadline;
        auto why = again(binding);
        if (binding.deadline != before) {
            ends_.erase({before, binding.id});
            ends_.emplace(binding.deadline, binding.id);
        }
        if (why) ended.push_back({take(here), std::move(*why)});
    }
    return ended;
}

void Registry::clock_was_set(const policy::ClockPair& now) {
    ends_.clear();
    for (auto& [id, binding] : bindings_) {
        binding.deadline = std::min(binding.deadline, deadline_of(binding.ends, now));
        ends_.emplace(binding.deadline, id);
    }
}

std::optional<Instant> Registry::next_end() const {
    if (ends_.empty()) return std::nullopt;
    return ends_.begin()->first;
}

const Binding* Registry::find(std::uint64_t id) const {
    const auto at = bindings_.find(id);
    return at == bindings_.end() ? nullptr : &at->second;
}

std::vector<const Binding*> Registry::of(const PublicKey& peer) const {
    std::vector<const Binding*> found;
    if (const auto ids = by_peer_.find(peer); ids != by_peer_.end()) {
        for (const std::uint64_t id : ids->second) found.push_back(&bindings_.at(id));
    }
    return found;
}

void Registry::each(const std::function<void(const Binding&)>& take) const {
    for (const auto& [id, binding] : bindings_) take(binding);
}

std::vector<policy::Holder> Registry::holders() const {
    std::vector<policy::Holder> holders;
    holders.reserve(bindings_.size());
    for (const auto& [id, binding] : bindings_) holders.push_back({binding.peer, &binding.identity});
    return holders;
}

policy::PeerSet Registry::peers() const {
    policy::PeerSet peers;
    for (const auto& [peer, ids] : by_peer_) peers.push_back(peer);
    return peers;
}

}  // namespace vern::identity
