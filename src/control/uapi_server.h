// The UAPI socket: several clients, requests and answers in any pieces, each bounded in size and time, so that a slow or hostile client
// holds up nobody. Runs inside somebody else's poll loop; never blocks. Control thread only.
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

inline constexpr std::size_t kUapiClientsMax = 64;
inline constexpr std::chrono::seconds kUapiIdleMax{60};  // a client that neither sends nor reads for so long is cut off

class UapiServer {
  public:
    // Makes /var/run/wireguard/NAME.sock (directory 0755, socket 0600 by umask; a stale socket is replaced, a live one is an error),
    // or takes a listening descriptor (WG_UAPI_FD) with adopt_fd >= 0.
    static Result<std::unique_ptr<UapiServer>> open(std::string_view name, UapiTarget& target, int adopt_fd = -1);
    ~UapiServer();  // removes the socket file if it is still the one made here

    // Appends the descriptors to poll; handle() takes them back after poll. `now` is a steady clock.
    void add_to(std::vector<pollfd>& set) const;
    void handle(const std::vector<pollfd>& set, std::chrono::steady_clock::time_point now);
    // When handle() must be called at the latest, for idle clients.
    std::chrono::steady_clock::time_point next_deadline() const;
    const std::string& path() const;
    bool removed() const;  // somebody deleted the socket file: wireguard-go ends then, and so does vernd

  private:
    struct State;
    explicit UapiServer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace vern
