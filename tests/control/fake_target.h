// A device that only keeps what it is told, by the rules of the configuration protocol.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/uapi.h"
#include "crypto/noise.h"

namespace vern::test {

inline PeerStatus clone(const PeerStatus& peer) {
    PeerStatus copy;
    copy.public_key = peer.public_key;
    copy.preshared_key = peer.preshared_key.clone();
    copy.endpoint = peer.endpoint;
    copy.latest_handshake = peer.latest_handshake;
    copy.receive_bytes = peer.receive_bytes;
    copy.transmit_bytes = peer.transmit_bytes;
    copy.persistent_keepalive_s = peer.persistent_keepalive_s;
    copy.allowed_ips = peer.allowed_ips;
    return copy;
}

inline DeviceStatus clone(const DeviceStatus& device) {
    DeviceStatus copy;
    if (device.private_key) copy.private_key = device.private_key->clone();
    copy.public_key = device.public_key;
    copy.listen_port = device.listen_port;
    copy.fwmark = device.fwmark;
    for (const PeerStatus& peer : device.peers) copy.peers.push_back(clone(peer));
    return copy;
}

class FakeTarget : public UapiTarget {
  public:
    DeviceStatus status() override {
        if (no_memory) throw std::bad_alloc();
        return clone(device);
    }

    Result<void> apply(DeviceChange change) override {
        ++changes;
        if (!refusal.message.empty()) return tl::unexpected(refusal);
        if (change.private_key) set_private_key(std::move(*change.private_key));
        if (change.listen_port) device.listen_port = *change.listen_port;
        if (change.fwmark) device.fwmark = *change.fwmark;
        if (change.replace_peers) device.peers.clear();
        for (PeerChange& peer : change.peers) apply_peer(peer);
        return {};
    }

    std::string status_json() override {
        if (no_memory) throw std::bad_alloc();
        return json;
    }
    void refused(const Error& why) override { refusals.push_back(why.message); }

    DeviceStatus device;
    std::string json = R"({"version":"0.1.0"})";
    Error refusal{.message = "", .code = 0};
    std::vector<std::string> refusals;
    int changes = 0;
    bool no_memory = false;  // to tell what it is

  private:
    void set_private_key(PrivateKey key) {
        device.private_key.reset();
        device.public_key = {};
        if (key.is_zero()) return;
        device.public_key = noise::public_key_of(key);
        device.private_key = std::move(key);
    }

    void apply_peer(PeerChange& change) {
        auto found = std::find_if(device.peers.begin(), device.peers.end(),
                                  [&](const auto& p) { return p.public_key == change.public_key; });
        if (change.remove) {
            if (found != device.peers.end()) device.peers.erase(found);
            return;
        }
        if (found == device.peers.end()) {
            if (change.update_only) return;
            device.peers.emplace_back().public_key = change.public_key;
            found = device.peers.end() - 1;
        }
        if (change.preshared_key) found->preshared_key = std::move(*change.preshared_key);
        if (change.endpoint) found->endpoint = *change.endpoint;
        if (change.persistent_keepalive_s) found->persistent_keepalive_s = *change.persistent_keepalive_s;
        if (change.replace_allowed_ips) found->allowed_ips.clear();
        for (const AllowedIpChange& allowed : change.allowed_ips) {
            if (allowed.remove) {
                std::erase(found->allowed_ips, allowed.prefix);
                continue;
            }
            for (PeerStatus& peer : device.peers) std::erase(peer.allowed_ips, allowed.prefix);
            found->allowed_ips.push_back(allowed.prefix);
        }
    }
};

// Key number `n`: distinct, not secret.
inline std::array<std::byte, kKeyBytes> key_bytes(unsigned n) {
    std::array<std::byte, kKeyBytes> bytes{};
    for (std::size_t i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>((n >> (8 * i)) & 0xff);
    bytes[16] = std::byte{0x5a};
    return bytes;
}

}  // namespace vern::test
