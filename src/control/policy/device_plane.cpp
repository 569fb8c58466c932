#include "control/policy/device_plane.h"

#include <map>

#include "dataplane/runtime/runtime.h"

namespace vern::policy {

ClockPair DevicePlane::now() const {
    return {std::chrono::time_point_cast<WallTime::duration>(std::chrono::system_clock::now()),
            boot_time_now()};
}

std::vector<PublicKey> DevicePlane::peers() const {
    std::vector<PublicKey> keys;
    for (const PeerStatus& peer : device_.status().peers) keys.push_back(peer.public_key);
    return keys;
}

void DevicePlane::set_admission(Admission admission) {
    device_.set_admission(std::move(admission), boot_time_now());
}

Standing DevicePlane::standing(const Question& question) const {
    const auto& remote = question.key.remote;
    return {.known = device_.has_peer(question.peer),
            .admitted = device_.admits(question.peer),
            .owner = device_.peer_of(question.key.v6 ? IpAddress::v6(std::span<const std::byte, 16>(remote))
                                                     : IpAddress::v4(std::span(remote).first<4>()))};
}

std::optional<Explanation> DevicePlane::explain(const Question& question) const {
    return device_.explain(question.direction, question.peer, question.key, question.port, boot_time_now());
}

void DevicePlane::each_flow(const std::function<bool(const Flow&, const PublicKey& peer)>& take) const {
    std::vector<Flow> some(256);
    std::map<std::uint64_t, PublicKey> keys;  // of flows whose peer is gone: zero
    std::size_t cursor = 0;
    while (const std::size_t count = device_.copy_flows(cursor, some, boot_time_now())) {
        for (std::size_t i = 0; i < count; ++i) {
            const auto [known, is_new] = keys.try_emplace(some[i].peer);
            if (is_new) known->second = device_.public_key_of(some[i].peer).value_or(PublicKey{});
            if (!take(some[i], known->second)) return;
        }
    }
}

}  // namespace vern::policy
