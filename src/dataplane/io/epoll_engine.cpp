// The engine for every Linux: waits by epoll, receives by recvmmsg(), reads and writes the TUN device one
// packet a call.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <limits>

#include "dataplane/io/datagram_reader.h"
#include "dataplane/io/egress.h"
#include "dataplane/io/engine.h"
#include "dataplane/io/tun_io.h"

namespace vern {
namespace {

enum class Source : std::uint32_t { wake, tun, v4, v6 };
constexpr std::size_t kSources = 4;

// What the worker waits for on one descriptor, told to the kernel only when it changes.
class Watch {
  public:
    Watch(const Fd& epoll, Source source) noexcept : epoll_(epoll), source_(source) {}

    bool set(int fd, std::uint32_t events) noexcept {
        if (fd == fd_ && events == events_) return true;
        if (fd != fd_ && fd_ >= 0) remove();
        if (fd < 0) return true;
        epoll_event event{};
        event.events = events;
        event.data.u32 = static_cast<std::uint32_t>(source_);
        if (::epoll_ctl(epoll_.get(), fd_ < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0) return false;
        fd_ = fd;
        events_ = events;
        return true;
    }
    // A descriptor in a state that epoll reports for ever.
    void remove() noexcept {
        if (fd_ >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
        fd_ = -1;
    }

  private:
    const Fd& epoll_;
    Source source_;
    int fd_ = -1;
    std::uint32_t events_ = 0;
};

class EpollEngine final : public Engine {
  public:
    EpollEngine(TunQueue& tun, Counters& counters, const EngineOptions& options, BufferPool pool,
                TunReader tun_reader, DatagramReader datagrams)
        : counters_(counters),
          egress_(std::move(pool), tun, counters, faults_, options.udp_gso),
          tun_reader_(std::move(tun_reader)),
          datagrams_(std::move(datagrams)),
          tun_fd_(tun.fd.get()) {}

    Result<void> start(const UdpSockets& sockets) {
        epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
        wake_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        if (!epoll_ || !wake_) return fail_errno("making the epoll engine", errno);
        if (!wake_watch_.set(wake_.get(), EPOLLIN)) return fail_errno("epoll_ctl", errno);
        return set_sockets(sockets);
    }

    std::string_view name() const noexcept override { return "epoll"; }
    std::span<std::byte> send_buffer() noexcept override { return egress_.send_buffer(); }
    void send(const Endpoint& to, std::span<std::byte> train, std::size_t segment_bytes,
              std::uint8_t tos) noexcept override {
        egress_.send(to, train, segment_bytes, tos);
    }
    void write(const VnetHeader& header, std::span<const iovec> pieces) noexcept override {
        egress_.write(header, pieces);
    }
    void flush() noexcept override { egress_.flush(); }

    void wake() noexcept override {
        const std::uint64_t one = 1;
        // Fails only when the counter is full, and then the worker wakes anyway.
        [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
    }

    Result<void> set_sockets(const UdpSockets& sockets) noexcept override {
        v4_watch_.remove();
        v6_watch_.remove();
        egress_.set_sockets(sockets);
        if (!watch_all()) return fail_errno("epoll_ctl", errno);
        return {};
    }

    Turn wait(std::optional<Duration> timeout) noexcept override {
        datagrams_.begin_turn(counters_);
        watch_all();
        if (!datagrams_.trains().empty()) timeout = Duration::zero();
        const auto ready = poll(timeout);

        Turn turn;
        turn.woken = (ready[Source::wake] & EPOLLIN) != 0;
        if (turn.woken) clear_wake();
        submit_writable(egress_.v4(), ready[Source::v4]);
        submit_writable(egress_.v6(), ready[Source::v6]);
        receive(ready);
        read_tun(ready[Source::tun], turn);

        turn.underlay = datagrams_.trains();
        turn.source_refused = egress_.take_source_refused();
        turn.tun_gone = tun_gone_ |= egress_.tun_gone();
        return turn;
    }

  private:
    // The events of one poll, by source.
    struct Ready {
        std::array<std::uint32_t, kSources> events{};
        std::uint32_t& operator[](Source source) noexcept { return events[static_cast<std::size_t>(source)]; }
        std::uint32_t operator[](Source source) const noexcept {
            return events[static_cast<std::size_t>(source)];
        }
    };

    bool watch_all() noexcept {
        const auto socket_events = [](const SendQueue& queue) {
            return EPOLLIN | (queue.blocked() ? EPOLLOUT : 0U);
        };
        if (tun_gone_) tun_watch_.remove();
        return v4_watch_.set(egress_.v4().socket(), socket_events(egress_.v4())) &&
               v6_watch_.set(egress_.v6().socket(), socket_events(egress_.v6())) &&
               (tun_gone_ || tun_watch_.set(tun_fd_, egress_.blocked() ? 0U : EPOLLIN));
    }

    Ready poll(std::optional<Duration> timeout) noexcept {
        std::array<epoll_event, kSources> events;
        const int count = epoll_wait_for(epoll_.get(), events, timeout);
        Ready ready;
        for (int i = 0; i < count; ++i) {
            const auto& event = events[static_cast<std::size_t>(i)];
            ready[static_cast<Source>(event.data.u32)] = event.events;
        }
        return ready;
    }

    // To the nanosecond where the kernel can (5.11), else late by less than a millisecond.
    int epoll_wait_for(int epoll, std::array<epoll_event, kSources>& events,
                       std::optional<Duration> timeout) noexcept {
        using std::chrono::ceil, std::chrono::milliseconds, std::chrono::seconds;
        const Duration left = std::max(timeout.value_or(Duration::zero()), Duration::zero());
        constexpr int kMax = static_cast<int>(kSources);
        if (has_pwait2_) {
            const auto whole = std::chrono::duration_cast<seconds>(left);
            const timespec limit{whole.count(), static_cast<long>((left - whole).count())};
            const int count = ::epoll_pwait2(epoll, events.data(), kMax, timeout ? &limit : nullptr, nullptr);
            if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
            has_pwait2_ = false;  // EPERM: a seccomp profile that is older than the call
        }
        const auto limit =
            std::min<std::int64_t>(ceil<milliseconds>(left).count(), std::numeric_limits<int>::max());
        return ::epoll_wait(epoll, events.data(), kMax, timeout ? static_cast<int>(limit) : -1);
    }

    void clear_wake() noexcept {
        std::uint64_t count = 0;
        [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof count);
    }

    static void submit_writable(SendQueue& queue, std::uint32_t events) noexcept {
        if (queue.blocked() && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) queue.submit();
    }

    // The families take turns at being first, so that a flood on one leaves room for the other.
    void receive(const Ready& ready) noexcept {
        const auto first = v6_first_ ? Source::v6 : Source::v4;
        receive_from(first, ready[first]);
        const auto second = v6_first_ ? Source::v4 : Source::v6;
        receive_from(second, ready[second]);
        v6_first_ = !v6_first_;
    }

    void receive_from(Source source, std::uint32_t events) noexcept {
        if ((events & (EPOLLIN | EPOLLERR)) != 0)
            datagrams_.receive((source == Source::v4 ? egress_.v4() : egress_.v6()).socket(), counters_);
    }

    void read_tun(std::uint32_t events, Turn& turn) noexcept {
        if ((events & EPOLLIN) != 0 && !egress_.blocked()) turn.tun = tun_reader_.read(counters_);
        if ((events & (EPOLLERR | EPOLLHUP)) != 0 || tun_reader_.gone()) tun_gone_ = true;
    }

    Counters& counters_;
    Egress egress_;
    TunReader tun_reader_;
    DatagramReader datagrams_;
    Fd epoll_;
    Fd wake_;
    Watch wake_watch_{epoll_, Source::wake};
    Watch tun_watch_{epoll_, Source::tun};
    Watch v4_watch_{epoll_, Source::v4};
    Watch v6_watch_{epoll_, Source::v6};
    int tun_fd_;
    bool tun_gone_ = false;
    bool v6_first_ = false;
    bool has_pwait2_ = true;
};

}  // namespace

Result<std::unique_ptr<Engine>> make_epoll_engine(TunQueue& tun, const UdpSockets& sockets,
                                                  Counters& counters, const EngineOptions& options) {
    auto pool = BufferPool::make();
    if (!pool) return tl::unexpected(pool.error());
    auto reader = TunReader::make(tun);
    if (!reader) return tl::unexpected(reader.error());
    auto datagrams = DatagramReader::make();
    if (!datagrams) return tl::unexpected(datagrams.error());
    auto engine = std::make_unique<EpollEngine>(tun, counters, options, std::move(*pool), std::move(*reader),
                                                std::move(*datagrams));
    if (auto started = engine->start(sockets); !started) return tl::unexpected(started.error());
    return engine;
}

}  // namespace vern
