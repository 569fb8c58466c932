// The control API: HTTP/1.1 and JSON on /run/vern/NAME.sock, and over TLS 1.3 for who has a certificate.
//
// Clients are read, refused and written to by a thread of its own, under limits.h; what they ask is handled
// by the Router's handlers on the control thread, inside somebody else's poll loop, so handlers need no
// locks. A control thread that is busy holds up answers and nothing else.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/access.h"
#include "control/api/limits.h"
#include "control/api/router.h"
#include "control/api/statistics.h"
#include "control/json.h"
#include "crypto/error.h"
#include "dataplane/base/address.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX and SSL
struct ssl_st;

namespace vern::api {

inline constexpr std::string_view kDirectory = "/run/vern";

class Server {
  public:
    // Makes `directory`/NAME.sock (socket_file.h), open to those whom `access` knows. Nobody is answered
    // before start(). `router` must outlive the server, and stay as it is.
    static Result<std::unique_ptr<Server>> open(std::string_view name, const Router& router,
                                                const Access& access, const Limits& limits = {},
                                                std::string_view directory = kDirectory);
    ~Server();  // ends the thread and every connection; removes the socket file

    // Who has shown a certificate, and what he may now; nothing: no more than nobody. Called on the API's
    // thread, for each request and event, so that a certificate that ends is not forgotten in a connection
    // that stays. The name is what limits and logs know him by.
    using Identify = std::function<std::optional<Caller>(ssl_st*)>;
    // Before start(). `context` must ask for certificates (SSL_VERIFY_PEER and FAIL_IF_NO_PEER_CERT) and
    // verify them; here it is set to TLS 1.3 alone and to keep no sessions, which would be resumed without a
    // look at the certificate. Port 0 is any free one; answers the port.
    Result<std::uint16_t> listen_tls(const IpAddress& address, std::uint16_t port, ssl_ctx_st* context,
                                     Identify identify);
    // Begins to answer. The thread takes no signals.
    void start();

    // Control thread: what to poll for, and what to do then. Bounded work a call.
    void add_to(std::vector<pollfd>& set) const;
    void handle(const std::vector<pollfd>& set);
    void release();  // sends the answers that were held (message.h)

    // To who listens to events: "event: NAME", "data: " and one line of JSON, which is not asked for when
    // nobody listens. Control thread; never waits.
    void publish(std::string_view event, const std::function<nlohmann::json()>& data);

    Counts counts() const;
    const std::string& path() const;

  private:
    struct State;
    explicit Server(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace vern::api
