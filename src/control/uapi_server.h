// The UAPI socket: several clients, requests and answers in any pieces, each bounded in size and time, so
// that a slow or hostile client holds up nobody. Runs inside somebody else's poll loop; never blocks. Control
// thread only.
//
// A request is answered whole before the next one of the same client is read. A request cut off by the end of
// the connection is not applied. What is not of the protocol is answered with an errno and the end of the
// connection; a `set` that is merely wrong leaves it open. Buffers that held keys are wiped.
#pragma once

#include <poll.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/uapi.h"
#include "dataplane/io/fd.h"

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

    // Appends the descriptors to poll; handle() takes them back after poll (others in `set` are passed over).
    // `now` is a steady clock.
    void add_to(std::vector<pollfd>& set) const;
    void handle(const std::vector<pollfd>& set, std::chrono::steady_clock::time_point now);
    // When handle() must be called at the latest, for idle clients; time_point::max() without clients.
    std::chrono::steady_clock::time_point next_deadline() const;
    const std::string& path() const;
    // Somebody deleted or replaced the socket file: wireguard-go ends then, and so does vernd. The
    // descriptors of add_to() become readable when that happens. One system call.
    bool removed() const;
    int listen_fd() const;

  private:
    struct State;
    explicit UapiServer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace vern
