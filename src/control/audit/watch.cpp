#include "control/audit/watch.h"

#include <utility>

#include "control/text.h"

namespace vern::audit {
namespace {

// A cookie that was sent is how load is answered, and no failure.
bool is_failed_handshake(std::size_t index) {
    return kCounterInfo[index].name.starts_with("handshake_") &&
           index != static_cast<std::size_t>(Counter::handshake_cookie_sent) &&
           index != static_cast<std::size_t>(Counter::handshake_queue_full) &&
           index != static_cast<std::size_t>(Counter::handshake_no_memory);
}

bool is_limit(std::size_t index) {
    constexpr std::array kLimits{Counter::handshake_queue_full,  Counter::handshake_no_memory,
                                 Counter::session_exhausted,     Counter::policy_fragments_full,
                                 Counter::policy_rates_full,     Counter::policy_flows_full,
                                 Counter::policy_peer_flows_full};
    return std::ranges::find(kLimits, static_cast<Counter>(index)) != kLimits.end();
}

// Where it is, whatever address of ours it was last heard on.
bool same_place(const Endpoint& a, const Endpoint& b) { return a.address == b.address && a.port == b.port; }

}  // namespace

void Watch::look(Instant now, WallTime wall, const Count& count, const std::vector<PeerStatus>& peers,
                 const NameOf& name_of) {
    next_ = now + kInterval;
    look_at_counters(wall, count);
    look_at_endpoints(wall, peers, name_of);
}

void Watch::look_at_counters(WallTime wall, const Count& count) {
    for (std::size_t i = 0; i < kCounterCount; ++i) {
        if (!is_failed_handshake(i) && !is_limit(i)) continue;
        const std::uint64_t counted = count(static_cast<Counter>(i)),
                            before = std::exchange(counted_[i], counted);
        if (counted <= before) continue;
        Record record;
        record.time = wall;
        record.kind = is_limit(i) ? Kind::limit : Kind::handshake_failed;
        record.reason = kCounterInfo[i].name;
        record.packets = counted - before;
        record.detail = kCounterInfo[i].meaning;
        tell_(std::move(record));
    }
}

void Watch::look_at_endpoints(WallTime wall, const std::vector<PeerStatus>& peers, const NameOf& name_of) {
    std::map<PublicKey, Endpoint> places;
    std::uint64_t roamed = 0;
    for (const PeerStatus& peer : peers) {
        if (!peer.endpoint.known()) continue;
        places.emplace(peer.public_key, peer.endpoint);
        const auto before = places_.find(peer.public_key);
        // One that was configured and then heard from has not roamed, one that was heard from before has.
        if (before == places_.end() || !peer.latest_handshake || same_place(before->second, peer.endpoint))
            continue;
        if (++roamed > kRoamedMost) continue;
        Record record;
        record.time = wall;
        record.kind = Kind::roamed;
        record.peer_key = to_base64(peer.public_key.bytes);
        record.peer = name_of(peer.public_key);
        record.detail = to_text(before->second) + " to " + to_text(peer.endpoint);
        tell_(std::move(record));
    }
    places_ = std::move(places);
    if (roamed <= kRoamedMost) return;
    Record rest;
    rest.time = wall;
    rest.kind = Kind::roamed;
    rest.suppressed = roamed - kRoamedMost;
    tell_(std::move(rest));
}

}  // namespace vern::audit
