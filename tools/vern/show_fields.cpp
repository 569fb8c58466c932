// vern show for scripts: single fields, and JSON.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "control/text.h"
#include "show.h"

namespace vern::cli {
namespace {

using nlohmann::json;

std::string base64(const PublicKey& key) { return to_base64(key.bytes); }

std::string secret_or_none(const Secret<kKeyBytes>& key) {
    return key.is_zero() ? "(none)" : to_base64(key.span());
}

std::string private_key_of(const DeviceStatus& device) {
    return device.private_key ? to_base64(device.private_key->span()) : "(none)";
}

std::string public_key_of(const DeviceStatus& device) {
    return device.private_key ? base64(device.public_key) : "(none)";
}

std::string fwmark_of(const DeviceStatus& device) {
    return device.fwmark == 0 ? "off" : fmt::format("0x{:x}", device.fwmark);
}

std::string endpoint_of(const PeerStatus& peer) {
    return peer.endpoint.known() ? to_text(peer.endpoint) : "(none)";
}

std::string allowed_ips_of(const PeerStatus& peer, char between) {
    std::string text;
    for (const Prefix& prefix : peer.allowed_ips) {
        if (!text.empty()) text += between;
        append_text(text, prefix);
    }
    return text.empty() ? "(none)" : text;
}

std::int64_t handshake_seconds(const PeerStatus& peer) {
    if (!peer.latest_handshake) return 0;
    return std::chrono::floor<std::chrono::seconds>(*peer.latest_handshake).time_since_epoch().count();
}

std::string keepalive_of(const PeerStatus& peer) {
    return peer.persistent_keepalive_s == 0 ? "off" : std::to_string(peer.persistent_keepalive_s);
}

struct DeviceField {
    std::string_view name;
    std::string (*value)(const DeviceStatus& device);
};
constexpr std::array<DeviceField, 4> kDeviceFields{{
    {"public-key", public_key_of},
    {"private-key", private_key_of},
    {"listen-port", [](const DeviceStatus& device) { return std::to_string(device.listen_port); }},
    {"fwmark", fwmark_of},
}};

struct PeerField {
    std::string_view name;
    std::string (*value)(const PeerStatus& peer);  // what follows the public key and a tab; nullptr: nothing
};
constexpr std::array<PeerField, 7> kPeerFields{{
    {"peers", nullptr},
    {"preshared-keys", [](const PeerStatus& peer) { return secret_or_none(peer.preshared_key); }},
    {"endpoints", endpoint_of},
    {"allowed-ips", [](const PeerStatus& peer) { return allowed_ips_of(peer, ' '); }},
    {"latest-handshakes", [](const PeerStatus& peer) { return std::to_string(handshake_seconds(peer)); }},
    {"transfer",
     [](const PeerStatus& peer) { return fmt::format("{}\t{}", peer.receive_bytes, peer.transmit_bytes); }},
    {"persistent-keepalive", keepalive_of},
}};

void print_dump(const DeviceStatus& device, std::string_view line_start, std::string& out) {
    out += fmt::format("{}{}\t{}\t{}\t{}\n", line_start, private_key_of(device), public_key_of(device),
                       device.listen_port, fwmark_of(device));
    for (const PeerStatus& peer : device.peers) {
        out +=
            fmt::format("{}{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", line_start, base64(peer.public_key),
                        secret_or_none(peer.preshared_key), endpoint_of(peer), allowed_ips_of(peer, ','),
                        handshake_seconds(peer), peer.receive_bytes, peer.transmit_bytes, keepalive_of(peer));
    }
}

json to_json(const PeerStatus& peer, bool show_keys) {
    json object{{"public_key", base64(peer.public_key)},
                {"has_preshared_key", !peer.preshared_key.is_zero()},
                {"endpoint", peer.endpoint.known() ? json(to_text(peer.endpoint)) : json()},
                {"allowed_ips", json::array()},
                {"latest_handshake", peer.latest_handshake ? json(handshake_seconds(peer)) : json()},
                {"receive_bytes", peer.receive_bytes},
                {"transmit_bytes", peer.transmit_bytes},
                {"persistent_keepalive", peer.persistent_keepalive_s}};
    for (const Prefix& prefix : peer.allowed_ips) object["allowed_ips"].push_back(to_text(prefix));
    if (show_keys && !peer.preshared_key.is_zero())
        object["preshared_key"] = to_base64(peer.preshared_key.span());
    return object;
}

}  // namespace

bool print_field(const ShownInterface& shown, std::string_view field, std::string_view line_start,
                 std::string& out) {
    const DeviceStatus& device = shown.device;
    if (field == "dump") {
        print_dump(device, line_start, out);
        return true;
    }
    const auto of_device = std::find_if(kDeviceFields.begin(), kDeviceFields.end(),
                                        [&](const auto& f) { return f.name == field; });
    if (of_device != kDeviceFields.end()) {
        out += fmt::format("{}{}\n", line_start, of_device->value(device));
        return true;
    }
    const auto of_peer =
        std::find_if(kPeerFields.begin(), kPeerFields.end(), [&](const auto& f) { return f.name == field; });
    if (of_peer == kPeerFields.end()) return false;
    for (const PeerStatus& peer : device.peers) {
        out += fmt::format("{}{}", line_start, base64(peer.public_key));
        if (of_peer->value != nullptr) out += "\t" + of_peer->value(peer);
        out += '\n';
    }
    return true;
}

json to_json(const ShownInterface& shown, bool show_keys) {
    const DeviceStatus& device = shown.device;
    json object{{"public_key", device.private_key ? json(base64(device.public_key)) : json()},
                {"listen_port", device.listen_port},
                {"fwmark", device.fwmark},
                {"peers", json::array()},
                {"vern", shown.vern}};
    for (const PeerStatus& peer : device.peers) object["peers"].push_back(to_json(peer, show_keys));
    if (show_keys && device.private_key) object["private_key"] = to_base64(device.private_key->span());
    return object;
}

}  // namespace vern::cli
