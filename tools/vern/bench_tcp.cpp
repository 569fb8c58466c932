#include "bench_tcp.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <thread>

namespace vern::cli::bench {
namespace {

constexpr std::size_t kChunkBytes = 128 << 10;
constexpr milliseconds kPatience{2000};  // with a stream that does not move; bounds how late a test ends

struct OneStream {
    std::uint64_t bytes = 0;
    std::uint64_t retransmits = 0;
    Clock::time_point first = Clock::time_point::max();
    Clock::time_point last = Clock::time_point::min();
};

std::uint64_t retransmits_of(int fd) noexcept {
    tcp_info info{};
    socklen_t size = sizeof info;
    return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_total_retrans : 0;
}

void note(OneStream& stream, ssize_t count) noexcept {
    const auto now = Clock::now();
    stream.first = std::min(stream.first, now);
    stream.last = now;
    stream.bytes += static_cast<std::uint64_t>(count);
}

bool try_again() noexcept { return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK; }

OneStream send_one(int fd, Clock::time_point until) {
    const std::vector<std::byte> chunk(kChunkBytes);
    OneStream stream;
    while (Clock::now() < until) {
        const ssize_t count = ::send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL);
        if (count < 0 && !try_again()) break;
        if (count > 0) note(stream, count);
    }
    ::shutdown(fd, SHUT_WR);
    stream.retransmits = retransmits_of(fd);
    return stream;
}

OneStream receive_one(int fd, Clock::time_point until) {
    std::vector<std::byte> chunk(kChunkBytes);
    OneStream stream;
    while (Clock::now() < until) {
        const ssize_t count = ::recv(fd, chunk.data(), chunk.size(), 0);
        if (count == 0 || (count < 0 && !try_again())) break;
        if (count > 0) note(stream, count);
    }
    return stream;
}

Streams run_all(const std::vector<Fd>& streams, OneStream (*run)(int, Clock::time_point),
                Clock::time_point until) {
    std::vector<OneStream> results(streams.size());
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < streams.size(); ++i) {
            set_patience(streams[i].get(), kPatience);
            threads.emplace_back([&, i] { results[i] = run(streams[i].get(), until); });
        }
    }
    Streams total;
    auto first = Clock::time_point::max(), last = Clock::time_point::min();
    for (const OneStream& one : results) {
        total.bytes += one.bytes;
        total.retransmits += one.retransmits;
        first = std::min(first, one.first);
        last = std::max(last, one.last);
    }
    if (total.bytes > 0) total.duration = last - first;
    return total;
}

}  // namespace

Streams send_streams(const std::vector<Fd>& streams, nanoseconds duration) {
    return run_all(streams, send_one, Clock::now() + duration);
}

Streams receive_streams(const std::vector<Fd>& streams, Clock::time_point until) {
    return run_all(streams, receive_one, until);
}

}  // namespace vern::cli::bench
