#include "bench_udp.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

namespace vern::cli::bench {
namespace {

using std::chrono::microseconds;

constexpr std::size_t kBatch = 64;
constexpr nanoseconds kSendPeriod = microseconds(100);
constexpr nanoseconds kReceivePeriod = microseconds(200);
constexpr nanoseconds kAskPeriod = milliseconds(10);
constexpr nanoseconds kSilence = milliseconds(300);  // after which what has not come is lost

void sleep_until(Clock::time_point when) noexcept {
    const auto since_epoch = when.time_since_epoch();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
    const timespec at{.tv_sec = seconds.count(), .tv_nsec = nanoseconds(since_epoch - seconds).count()};
    while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
    }
}

// Timers of ordinary threads may be 50 us late; here that is half a period.
void want_exact_timers() noexcept { ::prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL); }

// Datagrams and what the system calls want to know of them. Vectors point into each other: neither copied nor
// moved.
class Batch {
  public:
    explicit Batch(std::size_t bytes) : bytes_(bytes), storage_(bytes * kBatch) {
        for (std::size_t i = 0; i < kBatch; ++i) {
            vectors_[i] = {.iov_base = storage_.data() + i * bytes, .iov_len = bytes};
            messages_[i].msg_hdr.msg_iov = &vectors_[i];
            messages_[i].msg_hdr.msg_iovlen = 1;
        }
    }
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    void want_sources() noexcept {
        for (std::size_t i = 0; i < kBatch; ++i) {
            messages_[i].msg_hdr.msg_name = &sources_[i].storage;
            messages_[i].msg_hdr.msg_namelen = sizeof sources_[i].storage;
        }
    }
    const SocketAddress& source(std::size_t index) noexcept {
        sources_[index].length = messages_[index].msg_hdr.msg_namelen;
        return sources_[index];
    }
    mmsghdr* messages() noexcept { return messages_.data(); }
    std::byte* datagram(std::size_t index) noexcept { return storage_.data() + index * bytes_; }
    std::size_t length(std::size_t index) const noexcept { return messages_[index].msg_len; }

  private:
    std::size_t bytes_;
    std::vector<std::byte> storage_;
    std::array<iovec, kBatch> vectors_{};
    std::array<mmsghdr, kBatch> messages_{};
    std::array<SocketAddress, kBatch> sources_{};
};

void write_header(std::byte* datagram, const Token& token, std::uint64_t sequence) noexcept {
    const DatagramHeader header{token, sequence};
    std::memcpy(datagram, &header, sizeof header);
}

bool read_header(const std::byte* datagram, std::size_t length, const Token& token,
                 std::uint64_t& sequence) noexcept {
    DatagramHeader header;
    if (length < sizeof header) return false;
    std::memcpy(&header, datagram, sizeof header);
    sequence = header.sequence;
    return header.token == token;
}

// One system call's worth of this session's datagrams: calls `take(batch, index, sequence)`; false when there
// are no more for now.
template <typename Take>
bool receive_batch(int fd, Batch& batch, const Token& token, const SocketAddress& from, const Take& take) {
    batch.want_sources();
    const int count = ::recvmmsg(fd, batch.messages(), kBatch, MSG_DONTWAIT, nullptr);
    for (std::size_t i = 0; i < static_cast<std::size_t>(std::max(count, 0)); ++i) {
        std::uint64_t sequence = 0;
        if (read_header(batch.datagram(i), batch.length(i), token, sequence) &&
            same_host(batch.source(i), from))
            take(batch, i, sequence);
    }
    return count == static_cast<int>(kBatch);
}

std::uint64_t dropped_by_socket(int fd) noexcept {
    std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
    socklen_t size = sizeof memory;
    return ::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory.data(), &size) == 0 ? memory[SK_MEMINFO_DROPS] : 0;
}

bool send_batch(int fd, Batch& batch, std::size_t count) noexcept {
    while (::sendmmsg(fd, batch.messages(), static_cast<unsigned>(count), 0) < 0) {
        if (errno == ENOBUFS || errno == EAGAIN) return true;  // a full queue: the path has lost them
        if (errno != EINTR && errno != ECONNREFUSED) return false;
    }
    return true;
}

}  // namespace

bool same_host(const SocketAddress& one, const SocketAddress& other) noexcept {
    if (one.family() != other.family()) return false;
    if (one.family() == AF_INET) {
        return reinterpret_cast<const sockaddr_in*>(&one.storage)->sin_addr.s_addr ==
               reinterpret_cast<const sockaddr_in*>(&other.storage)->sin_addr.s_addr;
    }
    return std::memcmp(&reinterpret_cast<const sockaddr_in6*>(&one.storage)->sin6_addr,
                       &reinterpret_cast<const sockaddr_in6*>(&other.storage)->sin6_addr,
                       sizeof(in6_addr)) == 0;
}

Result<Sent> send_load(int fd, const Token& token, const Load& load) {
    want_exact_timers();
    const auto batch = std::make_unique<Batch>(load.bytes);
    const auto begin = Clock::now();
    Sent sent;
    for (auto now = begin; now - begin < load.duration; now = Clock::now()) {
        const double seconds = std::chrono::duration<double>(now - begin + kSendPeriod).count();
        const auto due = static_cast<std::uint64_t>(seconds * load.rate);
        if (due <= sent.datagrams) {
            sleep_until(now + kSendPeriod);
            continue;
        }
        const std::size_t count = std::min<std::uint64_t>(due - sent.datagrams, kBatch);
        for (std::size_t i = 0; i < count; ++i) write_header(batch->datagram(i), token, sent.datagrams + i);
        if (!send_batch(fd, *batch, count)) return fail_errno("send", errno);
        sent.datagrams += count;
    }
    sent.duration = Clock::now() - begin;
    return sent;
}

Received receive_load(int fd, const Token& token, const SocketAddress& from, std::uint32_t bytes,
                      Clock::time_point until, const std::function<Expected()>& finished) {
    want_exact_timers();
    const auto batch = std::make_unique<Batch>(bytes);
    const std::uint64_t dropped_before = dropped_by_socket(fd);
    Received received;
    std::uint64_t next = 0;
    Clock::time_point first{}, last{}, asked{};
    Expected expected;
    const auto take = [&](Batch&, std::size_t, std::uint64_t sequence) {
        if (sequence < next)
            ++received.reordered;
        else
            next = sequence + 1;
        ++received.datagrams;
    };
    auto now = Clock::now();
    for (auto silent_since = now; now < until; now = Clock::now()) {
        const std::uint64_t before = received.datagrams;
        while (receive_batch(fd, *batch, token, from, take)) {
        }
        if (received.datagrams != before) {
            silent_since = last = Clock::now();
            if (before == 0) first = last;
        }
        if (!expected.known && now - asked >= kAskPeriod) {
            expected = finished();
            asked = now;
            if (expected.known) silent_since = now;
        }
        if (expected.known && (received.datagrams >= expected.datagrams || now - silent_since > kSilence))
            break;
        sleep_until(now + kReceivePeriod);
    }
    received.duration = last - first;
    received.dropped_here = dropped_by_socket(fd) - dropped_before;
    return received;
}

void echo_until(int fd, const Token& token, const SocketAddress& from, Clock::time_point until,
                const std::function<bool()>& finished) {
    const auto batch = std::make_unique<Batch>(kDatagramBytesMax);
    const auto send_back = [fd](Batch& datagrams, std::size_t index, std::uint64_t) {
        const SocketAddress& to = datagrams.source(index);
        (void)::sendto(fd, datagrams.datagram(index), datagrams.length(index), MSG_DONTWAIT, to.get(),
                       to.length);
    };
    while (Clock::now() < until && !finished()) {
        if (!wait_readable(fd, Clock::now() + kAskPeriod)) continue;
        while (receive_batch(fd, *batch, token, from, send_back)) {
        }
    }
}

Result<nanoseconds> round_trip(int fd, const Token& token, std::uint64_t sequence, std::uint32_t bytes,
                               milliseconds patience) {
    std::vector<std::byte> datagram(bytes);
    write_header(datagram.data(), token, sequence);
    const auto begin = Clock::now();
    if (::send(fd, datagram.data(), datagram.size(), 0) < 0) return fail_errno("send", errno);
    while (wait_readable(fd, begin + patience)) {
        const ssize_t count = ::recv(fd, datagram.data(), datagram.size(), MSG_DONTWAIT);
        if (count < 0 && errno != EAGAIN && errno != EINTR) return fail_errno("receive", errno);
        std::uint64_t answered = 0;
        if (count > 0 && read_header(datagram.data(), static_cast<std::size_t>(count), token, answered) &&
            answered == sequence) {
            return Clock::now() - begin;
        }
    }
    return nanoseconds{};
}

}  // namespace vern::cli::bench
