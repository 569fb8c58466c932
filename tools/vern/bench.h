// vern bench: how fast a path between two real hosts is, through a tunnel or beside it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench_protocol.h"
#include "control/json.h"

namespace vern::cli::bench {

struct ServerOptions {
    std::string address;
    std::uint16_t port = kDefaultPort;
    bool once = false;  // end after the first client
};
// Until it is ended, or the address cannot be served.
Result<void> serve(const ServerOptions& options);

// One figure, measured several times.
struct Figure {
    std::string scenario;  // the names that `./run bench net` uses
    std::string metric;
    std::string unit;
    std::vector<double> samples;
};

// One UDP load, as it left and as it arrived.
struct UdpResult {
    Load offered;
    Sent sent;
    Received received;
    double loss() const noexcept;  // 0 to 1
    double delivered_rate() const noexcept;
    double sent_rate() const noexcept;
};

// The client's side of a session with a server.
class Client {
  public:
    static Result<Client> connect(const std::string& host, std::uint16_t port);

    struct TcpResult {
        double bits_per_second = 0;
        std::uint64_t retransmits = 0;
    };
    Result<TcpResult> tcp(bool down, std::size_t streams, milliseconds duration);
    Result<UdpResult> udp(const Load& load);
    // Round trips one after the other, in nanoseconds; what was lost is missing.
    Result<std::vector<double>> round_trips(std::size_t count, std::uint32_t bytes);
    std::string server() const { return server_.host(); }

  private:
    Client(LineConnection control, SocketAddress server, Token token, Fd udp)
        : control_(std::move(control)), server_(server), token_(token), udp_(std::move(udp)) {}
    Result<void> ask(const std::string& line);  // until "go"
    Result<std::vector<std::uint64_t>> result(std::size_t numbers, Clock::time_point until);

    LineConnection control_;
    SocketAddress server_;
    Token token_;
    Fd udp_;
};

// This host, as reports describe it.
nlohmann::json describe_machine();
nlohmann::json to_json(const UdpResult& result);
// In the form that `./run bench net --from FILE` reads.
nlohmann::json to_json(const std::vector<Figure>& figures, const std::string& path);
std::string to_markdown(const std::vector<Figure>& figures);

}  // namespace vern::cli::bench
