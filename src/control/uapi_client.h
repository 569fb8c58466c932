// The other side of the UAPI socket: how `vern` speaks to a running daemon, ours or another implementation.
// Blocks, each request for no longer than its timeout. One thread at a time.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "control/socket_client.h"
#include "control/uapi.h"

namespace vern {

class UapiClient {
  public:
    // Connects to `directory`/NAME.sock. ENOENT or ECONNREFUSED: no daemon serves that interface.
    static Result<UapiClient> connect(std::string_view name,
                                      std::chrono::milliseconds timeout = std::chrono::seconds(10),
                                      std::string_view directory = kUapiDirectory);

    Result<DeviceStatus> get();
    Result<void> set(const DeviceChange& change);
    // Vern's own status, one line of JSON. Other implementations refuse it (and may end the connection: use a
    // new one after that).
    Result<std::string> get_vern();

  private:
    explicit UapiClient(SocketClient socket) : socket_(std::move(socket)) {}
    // Sends one whole request and gives what comes before the errno line, or the errno as an error.
    Result<SecretText> exchange(std::string_view request);

    SocketClient socket_;
};

// Names of the interfaces whose sockets are in `directory` and that a daemon listens on (or may: those we
// must not speak to), sorted.
std::vector<std::string> uapi_interfaces(std::string_view directory = kUapiDirectory);

}  // namespace vern
