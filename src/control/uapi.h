// The cross-platform WireGuard configuration protocol (https://www.wireguard.com/xplatform/), so that `wg`
// and `wg-quick` work unchanged: text over /var/run/wireguard/IFNAME.sock. Parsing and printing here; the
// socket is uapi_server.h, the other side of it uapi_client.h. The functions keep nothing and may be called
// by any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "control/secret_text.h"
#include "crypto/error.h"
#include "dataplane/core/config.h"

namespace vern {

inline constexpr std::string_view kUapiDirectory = "/var/run/wireguard";
inline constexpr std::size_t kUapiLineBytesMax = 4096;
inline constexpr std::size_t kUapiRequestBytesMax = std::size_t{256}
                                                    << 20;  // 2^20 peers with a few prefixes each

// The body of `set=1` (without that line, without the empty line at the end). All or nothing; the error names
// line and key, never a value that could be a secret. A private key is clamped unless it is zero.
Result<DeviceChange> parse_uapi_set(std::string_view body);
// The body of a `get=1` answer, without `errno=0`.
SecretText format_uapi_get(const DeviceStatus& status);

// For clients (`vern`): the other direction of both. parse_uapi_get takes what other implementations answer:
// keys it does not know are passed over.
SecretText format_uapi_set(const DeviceChange& change);
Result<DeviceStatus> parse_uapi_get(std::string_view body);

// What stands behind the socket. Called from the control thread only, never while another call is on.
class UapiTarget {
  public:
    virtual ~UapiTarget() = default;
    virtual DeviceStatus status() = 0;
    virtual Result<void> apply(DeviceChange change) = 0;  // whole or not at all
    // Beyond the standard, for `vern show`: one line of JSON with engine, AEAD, offloads, counters
    // (`get=vern` on the same socket; other implementations answer it with an errno, and `vern` then shows
    // only the standard part).
    virtual std::string status_json() = 0;
    // The protocol answers with a bare errno; the sentence behind it comes here, for the log. It holds no
    // secrets and one line.
    virtual void refused(const Error& /*why*/) {}
};

}  // namespace vern
