#include "control/api/interface_routes.h"

#include <algorithm>

#include "control/api/parameters.h"
#include "control/text.h"
#include "crypto/keys.h"

namespace vern::api {
namespace {

using nlohmann::json;

constexpr std::uint64_t kPeersTold = 10'000;  // unless more are asked for
constexpr std::uint64_t kPeersToldMax = 100'000;

json optional_text(std::string text) { return text.empty() ? json() : json(std::move(text)); }

json peer_json(const PeerStatus& peer) {
    json allowed = json::array();
    for (const Prefix& prefix : peer.allowed_ips) allowed.push_back(to_text(prefix));
    json entry{{"public_key", to_base64(peer.public_key.bytes)},
               {"preshared_key", !peer.preshared_key.is_zero()},
               {"endpoint", optional_text(to_text(peer.endpoint))},
               {"allowed_ips", std::move(allowed)},
               {"latest_handshake", nullptr},
               {"rx_bytes", peer.receive_bytes},
               {"tx_bytes", peer.transmit_bytes},
               {"persistent_keepalive", peer.persistent_keepalive_s}};
    if (peer.latest_handshake)
        entry["latest_handshake"] =
            std::chrono::floor<std::chrono::seconds>(peer.latest_handshake->time_since_epoch()).count();
    return entry;
}

Response get_interface(std::string_view name, InterfaceSource& source, const Request& request) {
    if (auto wrong = Parameters(request).refusal()) return *wrong;
    json answer = source.interface_facts();
    const DeviceStatus status = source.device_status();
    const bool has_key = status.private_key && !status.private_key->is_zero();
    answer["name"] = name;
    answer["public_key"] = has_key ? json(to_base64(status.public_key.bytes)) : json();
    answer["listen_port"] = status.listen_port;
    answer["fwmark"] = status.fwmark;
    answer["peers"] = status.peers.size();
    return json_response(answer);
}

Response get_peers(InterfaceSource& source, const Request& request) {
    Parameters parameters(request);
    const std::uint64_t offset = parameters.number("offset", 0, kPeersMax).value_or(0);
    const std::uint64_t limit = parameters.number("limit", 1, kPeersToldMax).value_or(kPeersTold);
    if (auto wrong = parameters.refusal()) return *wrong;
    const DeviceStatus status = source.device_status();
    const std::size_t begin = std::min<std::size_t>(offset, status.peers.size()),
                      end = std::min<std::size_t>(begin + limit, status.peers.size());
    json peers = json::array();
    for (std::size_t i = begin; i < end; ++i) peers.push_back(peer_json(status.peers[i]));
    return json_response(
        {{"peers", std::move(peers)}, {"total", status.peers.size()}, {"more", end < status.peers.size()}});
}

}  // namespace

void add_interface_routes(Router& router, std::string_view interface, InterfaceSource& source) {
    const std::string name(interface);
    router.add(Method::get, "/v1/interface", Role::read,
               [name, &source](const Request& request) { return get_interface(name, source, request); });
    router.add(Method::get, "/v1/peers", Role::read,
               [&source](const Request& request) { return get_peers(source, request); });
    router.add(Method::get, "/metrics", Role::read, [name, &source](const Request& request) {
        if (auto wrong = Parameters(request).refusal()) return *wrong;
        return Response{.status = 200,
                        .body = format_metrics(name, source.measured()),
                        .content_type = "text/plain; version=0.0.4; charset=utf-8"};
    });
}

}  // namespace vern::api
