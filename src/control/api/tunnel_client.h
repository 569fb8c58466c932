// Asks a daemon through its tunnel, as its peer: HTTP to the listener of tunnel_server.h. Blocks, for no
// longer than `timeout`. Any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "control/api/client.h"
#include "dataplane/base/address.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace vern::api {

// POST of `body` to `target`. Over TLS where `tls` is not nullptr.
Result<Answer> post_through_tunnel(const IpAddress& address, std::uint16_t port, std::string_view target,
                                   std::string_view body, ssl_ctx_st* tls,
                                   std::chrono::milliseconds timeout = std::chrono::seconds(10));

}  // namespace vern::api
