#include "settings.h"

#include <fmt/format.h>

#include <cstdlib>
#include <limits>

#include "control/text.h"
#include "control/uapi_client.h"

namespace vern::cli {
namespace {

unsigned resolution_retries() {
    const char* text = std::getenv("WG_ENDPOINT_RESOLUTION_RETRIES");
    if (text == nullptr) return 15;
    if (std::string_view(text) == "infinity") return std::numeric_limits<unsigned>::max();
    return parse_decimal<unsigned>(text).value_or(15);
}

}  // namespace

Result<void> resolve_endpoints(const ConfigFile& file, const Steps& steps, DeviceChange& change) {
    const unsigned retries = resolution_retries();
    for (std::size_t i = 0; i < file.config.peers.size(); ++i) {
        const WgConfigPeer& peer = file.config.peers[i];
        if (peer.endpoint_text.empty() || change.peers[i].endpoint) continue;
        if (auto stop = steps.interrupted(); !stop) return stop;
        const auto endpoint = resolve_endpoint(peer.endpoint_text, retries, [&](std::string_view why) {
            steps.show(fmt::format("vern: {}, trying again", why));
            return steps.interrupted().has_value();
        });
        if (!endpoint)
            return fail(
                fmt::format("{}:{}: Endpoint: {}", file.shown, peer.endpoint_line, endpoint.error().message));
        change.peers[i].endpoint = *endpoint;
    }
    return {};
}

Result<void> give_settings(const ConfigFile& file, const Steps& steps, const DeviceChange& change) {
    steps.show(
        fmt::format("vern: keys, ports and {} peers for {}", file.config.peers.size(), file.interface));
    auto given =
        UapiClient::connect(file.interface).and_then([&](UapiClient&& client) { return client.set(change); });
    if (!given && given.error().code == EADDRINUSE && change.listen_port)
        return fail(fmt::format("{}: ListenPort {} is in use", file.shown, *change.listen_port), EADDRINUSE);
    return given;
}

}  // namespace vern::cli
