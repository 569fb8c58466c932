// The UAPI socket (socket_server.h), for `wg` and `vern`. A request cut off by the end of the connection is
// not applied. What is not of the protocol is answered with an errno and the end of the connection; a `set`
// that is merely wrong leaves it open. Control thread only.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/socket_server.h"
#include "control/uapi.h"

namespace vern {

inline constexpr std::size_t kUapiClientsMax =
    64;  // one more takes the place of the one that has been idle for longest
inline constexpr std::size_t kUapiBufferedBytesMax =
    2 * kUapiRequestBytesMax;  // requests not yet complete, all clients together
inline constexpr std::chrono::seconds kUapiIdleMax{
    60};  // a client that neither sends nor reads for so long is cut off

class UapiServer {
  public:
    // Makes `directory`/NAME.sock (directory 0755, socket 0600 whatever the umask; a stale socket is
    // replaced, a live one is the error EADDRINUSE), or takes a listening descriptor (WG_UAPI_FD) with
    // adopt_fd >= 0, which it then owns. `target` must outlive the server.
    static Result<std::unique_ptr<UapiServer>> open(std::string_view name, UapiTarget& target,
                                                    int adopt_fd = -1,
                                                    std::string_view directory = kUapiDirectory);
    ~UapiServer();  // removes the socket file if it is still the one made (or adopted) here

    // As SocketServer's.
    void add_to(std::vector<pollfd>& set) const { server_->add_to(set); }
    void handle(const std::vector<pollfd>& set, std::chrono::steady_clock::time_point now) {
        server_->handle(set, now);
    }
    std::chrono::steady_clock::time_point next_deadline() const { return server_->next_deadline(); }
    const std::string& path() const { return server_->path(); }
    // Somebody deleted or replaced the socket file: wireguard-go ends then, and so does vernd.
    bool removed() const { return server_->removed(); }
    int listen_fd() const { return server_->listen_fd(); }

  private:
    class Protocol;
    UapiServer(std::unique_ptr<Protocol> protocol, std::unique_ptr<SocketServer> server);
    std::unique_ptr<Protocol> protocol_;  // before the server, which refers to it
    std::unique_ptr<SocketServer> server_;
};

}  // namespace vern
