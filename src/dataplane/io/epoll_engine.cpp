#include "dataplane/io/epoll_engine.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <limits>

namespace vern {

bool EpollWatch::set(int fd, std::uint32_t events) noexcept {
    if (fd == fd_ && events == events_) return true;
    if (fd != fd_ && fd_ >= 0) remove();
    if (fd < 0) return true;
    epoll_event event{};
    event.events = events;
    event.data.u32 = source_;
    if (::epoll_ctl(epoll_.get(), fd_ < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0) return false;
    fd_ = fd;
    events_ = events;
    return true;
}

void EpollWatch::remove() noexcept {
    if (fd_ >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
    fd_ = -1;
}

Result<EpollEngine::Memory> EpollEngine::Memory::make(const TunQueue& tun) {
    auto pool = BufferPool::make();
    if (!pool) return tl::unexpected(pool.error());
    auto reader = TunReader::make(tun);
    if (!reader) return tl::unexpected(reader.error());
    auto datagrams = DatagramReader::make();
    if (!datagrams) return tl::unexpected(datagrams.error());
    return Memory{std::move(*pool), std::move(*reader), std::move(*datagrams)};
}

EpollEngine::EpollEngine(TunQueue& tun, Counters& counters, const EngineOptions& options,
                         Memory memory) noexcept
    : counters_(counters),
      egress_(std::move(memory.pool), tun, counters, faults_, options.udp_gso),
      tun_reader_(std::move(memory.tun_reader)),
      datagrams_(std::move(memory.datagrams)),
      tun_fd_(tun.fd.get()) {}

Result<void> EpollEngine::start(const UdpSockets& sockets) noexcept {
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    wake_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!epoll_ || !wake_) return fail_errno("making the engine's descriptors", errno);
    if (!wake_watch_.set(wake_.get(), EPOLLIN)) return fail_errno("epoll_ctl", errno);
    return set_sockets(sockets);
}

void EpollEngine::wake() noexcept {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the worker wakes anyway.
    [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void EpollEngine::clear_wake() noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof count);
}

Result<void> EpollEngine::set_sockets(const UdpSockets& sockets) noexcept {
    unwatch();
    egress_.set_sockets(sockets);
    if (!watch_all()) return fail_errno("epoll_ctl", errno);
    return {};
}

Turn EpollEngine::wait(std::optional<Duration> timeout) noexcept {
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

void EpollEngine::unwatch() noexcept {
    for (EpollWatch* watch : {&tun_watch_, &v4_watch_, &v6_watch_}) watch->remove();
}

bool EpollEngine::watch_all() noexcept {
    const auto socket_events = [](const SendQueue& queue) {
        return EPOLLIN | (queue.blocked() ? EPOLLOUT : 0U);
    };
    if (tun_gone_) tun_watch_.remove();
    return v4_watch_.set(egress_.v4().socket(), socket_events(egress_.v4())) &&
           v6_watch_.set(egress_.v6().socket(), socket_events(egress_.v6())) &&
           (tun_gone_ || tun_watch_.set(tun_fd_, egress_.blocked() ? 0U : EPOLLIN));
}

EpollEngine::Ready EpollEngine::poll(std::optional<Duration> timeout) noexcept {
    std::array<epoll_event, kSources> events;
    const int count = epoll_wait_for(events, timeout);
    Ready ready;
    for (int i = 0; i < count; ++i) {
        const auto& event = events[static_cast<std::size_t>(i)];
        ready[static_cast<Source>(event.data.u32)] = event.events;
    }
    return ready;
}

// To the nanosecond where the kernel can (5.11), else late by less than a millisecond.
int EpollEngine::epoll_wait_for(std::array<epoll_event, kSources>& events,
                                std::optional<Duration> timeout) noexcept {
    using std::chrono::ceil, std::chrono::milliseconds, std::chrono::seconds;
    const Duration left = std::max(timeout.value_or(Duration::zero()), Duration::zero());
    constexpr int kMax = static_cast<int>(kSources);
    if (has_pwait2_) {
        const auto whole = std::chrono::duration_cast<seconds>(left);
        const timespec limit{whole.count(), static_cast<long>((left - whole).count())};
        const int count =
            ::epoll_pwait2(epoll_.get(), events.data(), kMax, timeout ? &limit : nullptr, nullptr);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
        has_pwait2_ = false;  // EPERM: a seccomp profile that is older than the call
    }
    const auto limit =
        std::min<std::int64_t>(ceil<milliseconds>(left).count(), std::numeric_limits<int>::max());
    return ::epoll_wait(epoll_.get(), events.data(), kMax, timeout ? static_cast<int>(limit) : -1);
}

void EpollEngine::submit_writable(SendQueue& queue, std::uint32_t events) noexcept {
    if (queue.blocked() && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) queue.submit();
}

// The families take turns at being first, so that a flood on one leaves room for the other.
void EpollEngine::receive(const Ready& ready) noexcept {
    const auto first = v6_first_ ? Source::v6 : Source::v4;
    receive_from(first, ready[first]);
    const auto second = v6_first_ ? Source::v4 : Source::v6;
    receive_from(second, ready[second]);
    v6_first_ = !v6_first_;
}

void EpollEngine::receive_from(Source source, std::uint32_t events) noexcept {
    if ((events & (EPOLLIN | EPOLLERR)) != 0)
        datagrams_.receive((source == Source::v4 ? egress_.v4() : egress_.v6()).socket(), counters_);
}

void EpollEngine::read_tun(std::uint32_t events, Turn& turn) noexcept {
    if ((events & EPOLLIN) != 0 && !egress_.blocked()) turn.tun = tun_reader_.read(counters_);
    if ((events & (EPOLLERR | EPOLLHUP)) != 0 || tun_reader_.gone()) tun_gone_ = true;
}

Result<std::unique_ptr<Engine>> make_epoll_engine(TunQueue& tun, const UdpSockets& sockets,
                                                  Counters& counters, const EngineOptions& options) {
    auto memory = EpollEngine::Memory::make(tun);
    if (!memory) return tl::unexpected(memory.error());
    auto engine = std::make_unique<EpollEngine>(tun, counters, options, std::move(*memory));
    if (auto started = engine->start(sockets); !started) return tl::unexpected(started.error());
    return engine;
}

}  // namespace vern
