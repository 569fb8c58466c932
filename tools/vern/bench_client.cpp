// A client's session with `vern bench server`.
#include <fmt/format.h>

#include <cmath>

#include "bench.h"
#include "bench_tcp.h"

namespace vern::cli::bench {
namespace {

constexpr milliseconds kBusyPatience{15'000};  // with a server that serves somebody else
constexpr milliseconds kEchoPatience{1000};    // with one datagram
constexpr milliseconds kTestSlack{3000};       // what a server may add to a test's time

Result<Fd> open_stream(const SocketAddress& server, const Token& token) {
    auto fd = connect_tcp(server, kPatience);
    if (!fd) return fd;
    LineConnection stream(std::move(*fd));
    if (auto sent = stream.write(to_text(token)); !sent) return tl::unexpected(sent.error());
    const auto answer = stream.read(Clock::now() + kPatience);
    if (!answer) return tl::unexpected(answer.error());
    if (*answer != "ok") return fail("the server: " + *answer, EPROTO);
    return std::move(stream).release();
}

double per_second(std::uint64_t count, nanoseconds duration) noexcept {
    return duration.count() > 0 ? static_cast<double>(count) / std::chrono::duration<double>(duration).count()
                                : 0;
}

}  // namespace

double UdpResult::loss() const noexcept {
    if (sent.datagrams == 0) return 0;
    return 1 - std::min(1.0, static_cast<double>(received.datagrams) / static_cast<double>(sent.datagrams));
}
double UdpResult::delivered_rate() const noexcept {
    return per_second(received.datagrams, std::max(sent.duration, received.duration));
}
double UdpResult::sent_rate() const noexcept { return per_second(sent.datagrams, sent.duration); }

Result<Client> Client::connect(const std::string& host, std::uint16_t port) {
    const auto server = resolve(host, port);
    if (!server) return tl::unexpected(server.error());
    auto fd = connect_tcp(*server, kPatience);
    if (!fd) return tl::unexpected(fd.error());
    set_patience(fd->get(), kPatience);
    LineConnection control(std::move(*fd));
    if (auto sent = control.write(kHello); !sent) return tl::unexpected(sent.error());
    const auto line = control.read(Clock::now() + kBusyPatience);
    if (!line && line.error().code == ETIMEDOUT)
        return fail(host + ": the server is busy with somebody else", EBUSY);
    if (!line) return tl::unexpected(line.error());
    const auto words = words_of(*line);
    const auto token = words.size() == 2 && words[0] == "ready" ? token_of(words[1]) : std::nullopt;
    if (!token) return fail(host + ": not a vern bench server (\"" + *line + "\")", EPROTO);
    auto udp = connect_udp(*server);
    if (!udp) return tl::unexpected(udp.error());
    return Client(std::move(control), *server, *token, std::move(*udp));
}

Result<void> Client::ask(const std::string& line) {
    if (auto sent = control_.write(line); !sent) return sent;
    const auto answer = control_.read(Clock::now() + kPatience);
    if (!answer) return tl::unexpected(answer.error());
    if (*answer != "go") return fail("the server: " + *answer, EPROTO);
    return {};
}

Result<std::vector<std::uint64_t>> Client::result(std::size_t numbers, Clock::time_point until) {
    const auto line = control_.read(until);
    if (!line) return tl::unexpected(line.error());
    const auto words = words_of(*line);
    if (words.size() != numbers + 1 || words[0] != "done") return fail("the server: " + *line, EPROTO);
    std::vector<std::uint64_t> values;
    for (std::size_t i = 1; i < words.size(); ++i) {
        const auto value = number_of(words[i], 0, UINT64_MAX);
        if (!value) return fail("the server: " + *line, EPROTO);
        values.push_back(*value);
    }
    return values;
}

Result<Client::TcpResult> Client::tcp(bool down, std::size_t count, milliseconds duration) {
    if (auto going = ask(fmt::format("tcp {} {} {}", down ? "down" : "up", count, duration.count())); !going)
        return tl::unexpected(going.error());
    std::vector<Fd> streams;
    while (streams.size() < count) {
        auto stream = open_stream(server_, token_);
        if (!stream) return tl::unexpected(stream.error());
        streams.push_back(std::move(*stream));
    }
    const auto until = Clock::now() + duration + kPatience + kTestSlack;
    const Streams mine = down ? receive_streams(streams, until) : send_streams(streams, duration);
    const auto theirs = result(3, until + kPatience);
    if (!theirs) return tl::unexpected(theirs.error());
    // The receiver's bytes and time; the sender's retransmits.
    if (down)
        return TcpResult{.bits_per_second = 8 * per_second(mine.bytes, mine.duration),
                         .retransmits = (*theirs)[2]};
    const nanoseconds theirs_ns(static_cast<std::int64_t>((*theirs)[1]));
    return TcpResult{.bits_per_second = 8 * per_second((*theirs)[0], theirs_ns),
                     .retransmits = mine.retransmits};
}

Result<UdpResult> Client::udp(const Load& load) {
    const auto duration = std::chrono::ceil<milliseconds>(load.duration);
    if (auto going = ask(fmt::format("udp {} {}", load.bytes, duration.count())); !going)
        return tl::unexpected(going.error());
    const auto sent = send_load(udp_.get(), token_, load);
    if (!sent) return tl::unexpected(sent.error());
    if (auto told = control_.write(fmt::format("sent {}", sent->datagrams)); !told)
        return tl::unexpected(told.error());
    const auto theirs = result(4, Clock::now() + kPatience + kTestSlack);
    if (!theirs) return tl::unexpected(theirs.error());
    return UdpResult{.offered = load,
                     .sent = *sent,
                     .received = {.datagrams = (*theirs)[0],
                                  .reordered = (*theirs)[1],
                                  .dropped_here = (*theirs)[2],
                                  .duration = nanoseconds(static_cast<std::int64_t>((*theirs)[3]))}};
}

Result<std::vector<double>> Client::round_trips(std::size_t count, std::uint32_t bytes) {
    if (auto going = ask(fmt::format("echo {}", kTestMax.count())); !going)
        return tl::unexpected(going.error());
    std::vector<double> trips;
    for (std::size_t i = 0; i < count; ++i) {
        const auto trip = round_trip(udp_.get(), token_, i, bytes, kEchoPatience);
        if (!trip) return tl::unexpected(trip.error());
        if (trip->count() > 0) trips.push_back(static_cast<double>(trip->count()));
    }
    if (auto told = control_.write("stop"); !told) return tl::unexpected(told.error());
    if (auto ended = result(0, Clock::now() + kPatience); !ended) return tl::unexpected(ended.error());
    return trips;
}

}  // namespace vern::cli::bench
