// libFuzzer: wg-quick files. What is accepted must come back the same when it is saved and read again; no
// error may repeat a key.
#include <cstdlib>

#include "control/wg_config.h"

namespace {

using namespace vern;

void require(bool held) {
    if (!held) std::abort();
}

// The device after the file was applied to it: what `vern save` would be given.
DeviceStatus applied(const WgConfig& config) {
    DeviceStatus status;
    if (config.private_key && !config.private_key->is_zero())
        status.private_key = config.private_key->clone();
    status.listen_port = config.listen_port.value_or(0);
    status.fwmark = config.fwmark.value_or(0);
    for (const WgConfigPeer& from : config.peers) {
        PeerStatus& peer = status.peers.emplace_back();
        peer.public_key = from.change.public_key;
        if (from.change.preshared_key) peer.preshared_key = from.change.preshared_key->clone();
        peer.endpoint = from.change.endpoint.value_or(Endpoint{});
        peer.persistent_keepalive_s = from.change.persistent_keepalive_s.value_or(0);
        for (const AllowedIpChange& allowed : from.change.allowed_ips)
            peer.allowed_ips.push_back(allowed.prefix);
    }
    return status;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const auto config = parse_wg_config(std::string_view(reinterpret_cast<const char*>(data), size), "f");
    if (!config) {
        require(config.error().message.starts_with("f:"));
        return 0;
    }
    const SecretText saved = format_wg_config(*config, applied(*config));
    const auto again = parse_wg_config(saved, "f");
    require(again && format_wg_config(*again, applied(*again)) == saved);
    return 0;
}
