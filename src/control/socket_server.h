// Unix sockets that answer requests: several clients, requests and answers in any pieces, each bounded in
// size and time, so that a slow or hostile client holds up nobody. Runs inside somebody else's poll loop;
// never blocks. Control thread only.
//
// A request is lines, ended by an empty one. It is answered whole before the next one of the same client is
// read. A request cut off by the end of the connection is not answered. Buffers are wiped: they may hold
// keys.
#pragma once

#include <poll.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/secret_text.h"
#include "crypto/error.h"
#include "dataplane/io/fd.h"

namespace vern {

// What is spoken. Called from the control thread only.
class SocketProtocol {
  public:
    virtual ~SocketProtocol() = default;
    // `request` without the line ends that close it. An error ends the connection.
    virtual Result<SecretText> answer(std::string_view request) = 0;
    // The last words to a client whose connection ends by `why`.
    virtual SecretText refusal(const Error& why) = 0;
    // The sentence for the log; it holds no secrets and one line.
    virtual void refused(const Error& why) = 0;
};

struct SocketLimits {
    std::size_t line_bytes_max = 0;
    std::size_t request_bytes_max = 0;
    std::size_t buffered_bytes_max = 0;  // requests not yet complete, all clients together
    std::size_t clients_max = 0;         // one more takes the place of the one that has been idle for longest
    std::chrono::seconds idle_max{60};   // a client that neither sends nor reads for so long is cut off
};

class SocketServer {
  public:
    // As SocketFile::open(). `protocol` must outlive the server.
    static Result<std::unique_ptr<SocketServer>> open(std::string_view name, std::string_view directory,
                                                      const SocketLimits& limits, SocketProtocol& protocol,
                                                      int adopt_fd = -1);
    ~SocketServer();

    // Appends the descriptors to poll; handle() takes them back after poll (others in `set` are passed over).
    // `now` is a steady clock.
    void add_to(std::vector<pollfd>& set) const;
    void handle(const std::vector<pollfd>& set, std::chrono::steady_clock::time_point now);
    // When handle() must be called at the latest, for idle clients; time_point::max() without clients.
    std::chrono::steady_clock::time_point next_deadline() const;
    const std::string& path() const;
    // Somebody deleted or replaced the socket file. The descriptors of add_to() become readable when that
    // happens. One system call.
    bool removed() const;
    int listen_fd() const;

  private:
    struct State;
    explicit SocketServer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace vern
