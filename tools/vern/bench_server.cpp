// vern bench server: answers one client at a time, and only what bench_protocol.h says.
#include <fmt/format.h>

#include <cerrno>

#include "bench.h"
#include "bench_protocol.h"
#include "bench_tcp.h"

namespace vern::cli::bench {
namespace {

class Session {
  public:
    Session(int listener, int udp, Accepted client)
        : listener_(listener),
          udp_(udp),
          client_(std::move(client.fd)),
          from_(client.from),
          token_(random_token()) {}

    Result<void> run() {
        auto hello = client_.read(Clock::now() + kPatience);
        if (!hello) return tl::unexpected(hello.error());
        if (*hello != kHello) return refuse("this is a vern bench server");
        if (auto sent = client_.write("ready " + to_text(token_)); !sent) return sent;
        const auto end = Clock::now() + kSessionMax;
        while (Clock::now() < end) {
            auto line = client_.read(Clock::now() + kIdleMax);
            if (!line) return {};  // the client has what it wanted, or has gone
            if (auto done = answer(words_of(*line)); !done) return done;
        }
        return refuse("the session has taken too long");
    }

  private:
    Result<void> refuse(std::string_view why) {
        (void)client_.write("refused " + std::string(why));
        return fail("refused: " + std::string(why), EPROTO);
    }

    Result<void> answer(const std::vector<std::string_view>& words) {
        const auto number = [&](std::size_t index, std::uint64_t least, std::uint64_t most) {
            return index < words.size() ? number_of(words[index], least, most) : std::nullopt;
        };
        const auto longest = static_cast<std::uint64_t>(kTestMax.count());
        if (words.size() == 4 && words[0] == "tcp" && (words[1] == "up" || words[1] == "down")) {
            const auto streams = number(2, 1, kStreamsMax), duration = number(3, 1, longest);
            if (streams && duration) return tcp(words[1] == "down", *streams, milliseconds(*duration));
        } else if (words.size() == 3 && words[0] == "udp") {
            const auto bytes = number(1, kDatagramBytesMin, kDatagramBytesMax),
                       duration = number(2, 1, longest);
            if (bytes && duration) return udp(static_cast<std::uint32_t>(*bytes), milliseconds(*duration));
        } else if (words.size() == 2 && words[0] == "echo") {
            if (const auto duration = number(1, 1, longest)) return echo(milliseconds(*duration));
        }
        return refuse("no such test, or one beyond the limits");
    }

    // Streams of this session; whoever else connects now is turned away.
    Result<std::vector<Fd>> accept_streams(std::uint64_t count) {
        std::vector<Fd> streams;
        const auto until = Clock::now() + kPatience;
        while (streams.size() < count) {
            auto accepted = accept_tcp(listener_, until);
            if (!accepted) return tl::unexpected(accepted.error());
            if (!same_host(accepted->from, from_)) continue;
            LineConnection stream(std::move(accepted->fd));
            const auto line = stream.read(Clock::now() + milliseconds(500));
            if (line && token_of(*line) == token_ && stream.write("ok"))
                streams.push_back(std::move(stream).release());
            else
                (void)stream.write("refused busy");
        }
        return streams;
    }

    Result<void> tcp(bool down, std::uint64_t count, milliseconds duration) {
        if (auto sent = client_.write("go"); !sent) return sent;
        const auto streams = accept_streams(count);
        if (!streams) return refuse(streams.error().message);
        const Streams result = down ? send_streams(*streams, duration)
                                    : receive_streams(*streams, Clock::now() + duration + kPatience);
        return client_.write(
            fmt::format("done {} {} {}", result.bytes, result.duration.count(), result.retransmits));
    }

    // What was left over from before is nobody's: the socket is emptied without a look at it.
    void discard_datagrams() const noexcept {
        std::byte ignored{};
        while (::recv(udp_, &ignored, sizeof ignored, MSG_DONTWAIT | MSG_TRUNC) >= 0) {
        }
    }

    Result<void> udp(std::uint32_t bytes, milliseconds duration) {
        discard_datagrams();
        if (auto sent = client_.write("go"); !sent) return sent;
        const auto finished = [this]() -> Expected {
            if (!wait_readable(client_.fd(), Clock::now())) return {};
            const auto line = client_.read(Clock::now() + kPatience);
            const auto words = words_of(line ? *line : "");
            const auto count =
                words.size() == 2 && words[0] == "sent" ? number_of(words[1], 0, UINT64_MAX) : std::nullopt;
            return {.known = true, .datagrams = count.value_or(0)};
        };
        const Received received =
            receive_load(udp_, token_, from_, bytes, Clock::now() + duration + kPatience, finished);
        return client_.write(fmt::format("done {} {} {} {}", received.datagrams, received.reordered,
                                         received.dropped_here, received.duration.count()));
    }

    Result<void> echo(milliseconds duration) {
        discard_datagrams();
        if (auto sent = client_.write("go"); !sent) return sent;
        echo_until(udp_, token_, from_, Clock::now() + duration,
                   [this] { return wait_readable(client_.fd(), Clock::now()); });
        if (auto stop = client_.read(Clock::now() + kPatience); !stop) return tl::unexpected(stop.error());
        return client_.write("done");
    }

    int listener_;
    int udp_;
    LineConnection client_;
    SocketAddress from_;
    Token token_;
};

}  // namespace

Result<void> serve(const ServerOptions& options) {
    const auto address = resolve(options.address, options.port);
    if (!address) return tl::unexpected(address.error());
    const auto listener = listen_tcp(*address);
    if (!listener) return tl::unexpected(listener.error());
    const auto udp = bind_udp(*address);
    if (!udp) return tl::unexpected(udp.error());
    fmt::print("vern bench: serving on {} port {}, one client at a time\n", address->host(), address->port());
    std::fflush(stdout);
    do {
        auto client = accept_tcp(listener->get(), Clock::now() + std::chrono::hours(1));
        if (!client && client.error().code == ETIMEDOUT) continue;
        if (!client) return tl::unexpected(client.error());
        set_patience(client->fd.get(), kPatience);
        const std::string from = client->from.host();
        const auto ended = Session(listener->get(), udp->get(), std::move(*client)).run();
        fmt::print("{}: {}\n", from, ended ? "served" : ended.error().message);
        std::fflush(stdout);
    } while (!options.once);
    return {};
}

}  // namespace vern::cli::bench
