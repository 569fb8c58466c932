// The asking side of socket_server.h. Blocks, each request for no longer than its timeout. One thread at a
// time.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "control/secret_text.h"
#include "crypto/error.h"
#include "dataplane/io/fd.h"

namespace vern {

class SocketClient {
  public:
    // Connects to `directory`/NAME.sock. ENOENT or ECONNREFUSED: no daemon serves that interface.
    static Result<SocketClient> connect(std::string_view name, std::chrono::milliseconds timeout,
                                        std::string_view directory);

    // Sends one request and gives what comes until `is_whole` says that the answer is there.
    Result<SecretText> exchange(std::string_view request, bool (*is_whole)(std::string_view answer));

    // The connected, non-blocking descriptor, for who speaks another protocol over it.
    int release() { return fd_.release(); }

  private:
    SocketClient(Fd fd, std::chrono::milliseconds timeout) : fd_(std::move(fd)), timeout_(timeout) {}

    Fd fd_;
    std::chrono::milliseconds timeout_;
};

// Names of the interfaces whose sockets are in `directory` and that a daemon listens on (or may: those we
// must not speak to), sorted.
std::vector<std::string> socket_names(std::string_view directory);

}  // namespace vern
