// wg-quick's configuration files, as the field writes them (wg-quick(8), wg(8)). Keys are matched without regard to case, comments start
// with '#', values may be lists over several lines with the same key. Errors: file:line, what is wrong, what would be right.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
    std::optional<std::uint32_t> fwmark;
    // [Interface], wg-quick's part
    std::vector<Prefix> addresses;      // host bits kept in `address`
    std::vector<std::string> dns;       // addresses
    std::vector<std::string> dns_search;
    std::optional<std::uint32_t> mtu;
    std::string table = "auto";         // "off", "auto", a number or a name
    std::vector<std::string> pre_up, post_up, pre_down, post_down;  // %i not yet replaced
    bool save_config = false;
    std::vector<WgConfigPeer> peers;
};

inline constexpr std::size_t kWgConfigBytesMax = std::size_t{256} << 20;

// All errors found are told, up to ten lines, first first.
Result<WgConfig> parse_wg_config(std::string_view text, std::string_view file_name);
// What `vern save` and SaveConfig write: the file's own wg-quick part and the device's present state. Holds secrets.
std::string format_wg_config(const WgConfig& kept, const DeviceStatus& status);

}  // namespace vern
