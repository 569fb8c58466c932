// The listener for peers, reachable through the tunnel alone: HTTP on the interface itself, in the clear (the
// tunnel encrypts, and knows whom an address belongs to) or over TLS for those who prove a certificate's key;
// the first byte tells which. A thread, places and limits of its own, so that peers cannot crowd out the
// operators, and a router of its own, so that nothing of the control API can be reached from here.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/api/limits.h"
#include "control/api/router.h"
#include "control/api/statistics.h"
#include "crypto/error.h"
#include "crypto/keys.h"
#include "dataplane/base/address.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace vern::api {

inline constexpr std::uint16_t kTunnelPort = 51821;
Limits tunnel_limits();

class TunnelServer {
  public:
    // Listens on all addresses that the interface has, and will have (SO_BINDTODEVICE). `router` must outlive
    // the server, and stay as it is; a request's caller has the role `peer`, an address, the peer's key as
    // its name, and over TLS the certificates that were shown. `context`: as trust::make_tls_proof_server()
    // makes it. `peer_of`: whose address it is, asked from the listener's thread; limits are each peer's,
    // however many addresses it has, and nobody's address is turned away.
    using PeerOf = std::function<std::optional<PublicKey>(const IpAddress&)>;
    static Result<std::unique_ptr<TunnelServer>> open(const std::string& interface, std::uint16_t port,
                                                      const Router& router, ssl_ctx_st* context,
                                                      PeerOf peer_of, const Limits& limits = tunnel_limits());
    ~TunnelServer();  // ends the thread and every connection

    std::uint16_t port() const;
    Counts counts() const;  // any thread
    // Control thread: what to poll for, and what to do then. Bounded work a call.
    void add_to(std::vector<pollfd>& set) const;
    void handle(const std::vector<pollfd>& set);
    void release();  // sends the answers that were held (message.h)

  private:
    struct State;
    explicit TunnelServer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace vern::api
