// wg-quick's configuration files, as the field writes them (wg-quick(8), wg(8)): keys in any case, '#' begins
// a comment anywhere, lists over several lines with the same key, LF or CRLF. Errors: file:line, what is
// wrong, what would be right; a private or preshared key is never repeated in one. Any thread; nothing is
// kept between calls.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/secret_text.h"
#include "crypto/error.h"
#include "dataplane/core/config.h"

namespace vern {

struct WgConfigPeer {
    PeerChange change;          // public key, psk, allowed IPs, keepalive; endpoint only when it is numeric
    std::string endpoint_text;  // as written; names are resolved when the tunnel comes up
    unsigned line = 0;          // of [Peer]
    unsigned endpoint_line = 0;
};

struct WgConfig {
    // [Interface], wg's part
    std::optional<PrivateKey> private_key;
    std::optional<std::uint16_t> listen_port;
    std::optional<std::uint32_t> fwmark;  // 0: "off"
    // [Interface], wg-quick's part
    std::vector<Prefix> addresses;  // host bits kept in `address`
    std::vector<IpAddress> dns;
    std::vector<std::string> dns_search;
    std::optional<std::uint32_t> mtu;
    std::string table = "auto";                                     // "off", "auto", a number or a name
    std::vector<std::string> pre_up, post_up, pre_down, post_down;  // %i not yet replaced
    bool save_config = false;
    std::vector<WgConfigPeer> peers;
    std::vector<std::string>
        warnings;  // file:line and a sentence, for what is taken as it stands but is hardly meant
};

inline constexpr std::size_t kWgConfigBytesMax = std::size_t{256} << 20;

// All errors found are told, up to ten lines, first first.
Result<WgConfig> parse_wg_config(std::string_view text, std::string_view file_name);
// For those who bring it up: an interface without a private key cannot speak, unless a hook of its own sets
// one
// (`PostUp = wg set %i private-key ...`, see wg-quick(8)).
Result<void> require_private_key(const WgConfig& config, std::string_view file_name);
// All of wg's part of the file, as a change that replaces what the device has. Endpoints that are names are
// not in it.
DeviceChange device_change_of(const WgConfig& config);
// What `vern save` and SaveConfig write: the file's own wg-quick part and the device's present state.
SecretText format_wg_config(const WgConfig& kept, const DeviceStatus& status);

}  // namespace vern
