#include "dataplane/runtime/runtime.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>

#include <condition_variable>
#include <utility>

#include "dataplane/runtime/pacing.h"
#include "dataplane/runtime/quiescence.h"
#include "dataplane/runtime/system_random.h"

namespace vern {
namespace {

void signal(const Fd& event) noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written =
        ::write(event.get(), &one, sizeof one);  // fails only when it is signalled already
}

void clear(const Fd& event) noexcept {
    std::uint64_t value;
    [[maybe_unused]] const auto read = ::read(event.get(), &value, sizeof value);
}

WallTime wall_time_now() noexcept {
    return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
}

}  // namespace

Instant boot_time_now() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return Instant(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

struct Runtime::WorkerThread {
    WorkerThread(Device& device, unsigned number, TunQueue& queue, const Worker::Options& options)
        : id(number), worker(device, number, options), tun(queue) {}
    const unsigned id;
    Worker worker;
    TunQueue& tun;
    std::unique_ptr<Engine> engine;
    std::thread thread;
    ServiceTimes service_times;

    // Commands from other threads, looked at between two turns; engine->wake() makes that soon.
    std::atomic<bool> flush_staged{false};
    std::mutex lock;
    std::condition_variable answered;
    const UdpSockets* new_sockets = nullptr;
    Result<void> socket_answer;
    bool ended = false;
};

struct Runtime::HelperThread {
    explicit HelperThread(unsigned number) : member(number), event(::eventfd(0, EFD_CLOEXEC)) {}
    const unsigned member;  // in Helping
    const Fd event;
    std::thread thread;
};

// The slow path's way out: the first worker's sockets, which are as good as any.
class Runtime::Sink final : public DatagramSink {
  public:
    explicit Sink(Runtime& runtime) noexcept : runtime_(runtime) {}
    Sent send(const Endpoint& to, std::span<const std::byte> datagram, std::uint8_t tos) noexcept override {
        const std::lock_guard hold(runtime_.underlay_lock_);
        bool source_refused = false;
        // What is lost here is sent again by the protocol's own timers.
        if (!send_datagram(runtime_.underlay_.workers.front(), to, datagram, datagram.size(), tos,
                           source_refused))
            return source_refused ? Sent::refused_either_way : Sent::refused;
        return source_refused ? Sent::without_source : Sent::whole;
    }

  private:
    Runtime& runtime_;
};

Runtime::Runtime(TunDevice tun, const aead::Implementation& aead, const RuntimeOptions& options)
    : random_(std::make_unique<SystemRandom>()),
      tun_(std::move(tun)),
      device_(*random_, aead, static_cast<unsigned>(tun_.queues.size())),
      options_(options) {}

Runtime::~Runtime() { stop(); }

Result<std::unique_ptr<Runtime>> Runtime::create(TunDevice tun, const aead::Implementation& aead,
                                                 const RuntimeOptions& options) {
    std::unique_ptr<Runtime> runtime(new Runtime(std::move(tun), aead, options));
    if (auto opened = runtime->open(); !opened) return tl::unexpected(opened.error());
    return runtime;
}

Result<void> Runtime::open() {
    attention_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    gone_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    timer_.reset(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!attention_ || !gone_ || !timer_) return fail_errno("make an event descriptor", errno);

    options_.udp.workers = static_cast<unsigned>(tun_.queues.size());
    auto underlay = open_underlay(options_.udp);
    if (!underlay) return tl::unexpected(underlay.error());
    underlay_ = std::move(*underlay);
    device_.set_listen_port(underlay_.port);

    const Worker::Options coalescing{tun_.tso.on, tun_.uso.on};
    for (unsigned i = 0; i < tun_.queues.size(); ++i) {
        auto worker = std::make_unique<WorkerThread>(device_, i, tun_.queues[i], coalescing);
        auto engine = make_engine(*worker, underlay_.workers[i]);
        if (!engine) return tl::unexpected(engine.error());
        worker->engine = std::move(*engine);
        workers_.push_back(std::move(worker));
    }
    engine_name_ = workers_.front()->engine->name();
    if (options_.hand_over == HandOver::never) options_.helpers = 0;
    for (unsigned i = 0; i < options_.helpers; ++i) {
        helpers_.push_back(std::make_unique<HelperThread>(device_.workers() + i));
        if (!helpers_.back()->event) return fail_errno("make an event descriptor", errno);
    }
    helping_ =
        std::make_unique<Helping>(device_.board(), device_.aead(), device_.workers() + options_.helpers,
                                  options_.hand_over, [this](unsigned i) {
                                      if (i < workers_.size())
                                          workers_[i]->engine->wake();
                                      else
                                          signal(helpers_[i - workers_.size()]->event);
                                  });
    return {};
}

Result<std::unique_ptr<Engine>> Runtime::make_engine(WorkerThread& worker, const UdpSockets& sockets) {
    using Choice = RuntimeOptions::EngineChoice;
    if (options_.engine != Choice::epoll) {
        auto engine =
            make_uring_engine(worker.tun, sockets, worker.worker.counters(), options_.engine_options);
        if (engine || options_.engine == Choice::io_uring) return engine;
        engine_reason_ = engine.error().message;
        options_.engine = Choice::epoll;  // for the other workers too
    } else if (engine_reason_.empty()) {
        engine_reason_ = "chosen by --engine";
    }
    return make_epoll_engine(worker.tun, sockets, worker.worker.counters(), options_.engine_options);
}

void Runtime::start() {
    slow_path_ = std::thread([this] { run_slow_path(); });
    for (auto& helper : helpers_) helper->thread = std::thread([this, &helper] { run_helper(*helper); });
    for (auto& worker : workers_) worker->thread = std::thread([this, &worker] { run_worker(*worker); });
}

void Runtime::stop() noexcept {
    stopping_.store(true, std::memory_order_release);
    for (auto& worker : workers_) {
        worker->engine->wake();
        if (worker->thread.joinable()) worker->thread.join();
    }
    for (auto& helper : helpers_) {
        signal(helper->event);
        if (helper->thread.joinable()) helper->thread.join();
    }
    if (slow_path_.joinable()) {
        signal(attention_);
        slow_path_.join();
    }
}

void Runtime::run_worker(WorkerThread& self) {
    ::prctl(PR_SET_TIMERSLACK, 1UL);  // a pause of 50 us must not become one of 100
    Quiescence quiescence;
    Pacing pacing;
    helping_->begin_thread(self.id);
    Engine& engine = *self.engine;
    Worker& worker = self.worker;
    while (!stopping_.load(std::memory_order_acquire)) {
        const bool attentive = helping_->before_wait(self.id);
        const Turn turn = engine.wait(attentive ? std::optional(Duration::zero()) : std::nullopt);
        helping_->after_wait(self.id);
        quiescence.enter();
        helping_->begin_turn(self.id, turn.bytes());
        const Instant now = boot_time_now();
        worker.begin(now);
        if (turn.woken) take_commands(self);
        if (engine.faults().tun_gso.load(std::memory_order_relaxed)) worker.allow_coalescing(false, false);
        for (const UnderlayTrain& train : turn.underlay) worker.from_underlay(train, engine);
        for (const TunTrain& train : turn.tun) worker.from_tun(train, engine);
        worker.flush(engine);
        helping_->end_turn(self.id);
        engine.flush();
        // Two looks at the clock a turn, however much it moved, and one where it moved nothing.
        if (const std::size_t trains = turn.trains(); trains > 0)
            self.service_times.add(boot_time_now() - now, trains);
        const bool request = worker.take_request();
        quiescence.leave();

        if (turn.source_refused) device_.clear_sources();
        if (request) attend();
        wake_workers();
        if (turn.tun_gone) {
            signal(gone_);
            break;
        }
        if (turn.trains() == 0)
            helping_->attend(self.id);
        else if (const Duration pause = pacing.pause_after(turn.packets(), now); pause != Duration::zero()) {
            const timespec nap{0, pause.count()};
            ::clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
        }
    }
    engine.end();
    const std::lock_guard hold(self.lock);
    self.ended = true;
    self.answered.notify_all();
}

// Needs no quiescent states: what it works on lives as long as the turn of the worker that waits for it.
void Runtime::run_helper(HelperThread& self) {
    while (!stopping_.load(std::memory_order_acquire)) {
        if (!helping_->before_wait(self.member)) clear(self.event);
        helping_->after_wait(self.member);
        helping_->attend(self.member);
    }
}

void Runtime::take_commands(WorkerThread& self) {
    if (self.flush_staged.exchange(false, std::memory_order_acquire)) self.worker.flush_staged(*self.engine);
    const std::lock_guard hold(self.lock);
    if (!self.new_sockets) return;
    self.socket_answer = self.engine->set_sockets(*self.new_sockets);
    self.new_sockets = nullptr;
    self.answered.notify_all();
}

void Runtime::wake_workers() {
    std::uint32_t mask = device_.take_wakeups();
    for (; mask != 0; mask &= mask - 1) {
        WorkerThread& worker = *workers_[static_cast<std::size_t>(std::countr_zero(mask))];
        worker.flush_staged.store(true, std::memory_order_release);
        worker.engine->wake();
    }
}

// One system call for a burst of requests: whoever asks first after the slow path has looked makes it.
void Runtime::attend() noexcept {
    if (!attention_pending_.exchange(true, std::memory_order_acq_rel)) signal(attention_);
}

void Runtime::run_slow_path() {
    Sink sink(*this);
    while (!stopping_.load(std::memory_order_acquire)) {
        const bool more = device_.service(boot_time_now(), wall_time_now(), sink);
        wake_workers();
        if (auto retired = device_.take_retired(); !retired.empty()) {
            Quiescence::wait_for_workers();
            device_.dispose(std::move(retired));
        }
        if (!more) wait_for_attention(device_.next_deadline());
    }
}

void Runtime::wait_for_attention(std::optional<Instant> deadline) {
    itimerspec at{};
    if (deadline) {
        const auto since_boot = deadline->time_since_epoch();
        at.it_value.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(since_boot).count();
        at.it_value.tv_nsec = (since_boot % std::chrono::seconds(1)).count();
    }
    ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &at, nullptr);
    pollfd set[] = {{attention_.get(), POLLIN, 0}, {timer_.get(), POLLIN, 0}};
    ::poll(set, 2, -1);
    clear(attention_);
    // An exchange, not a store: what was queued before the flag was set must be seen by the service() that
    // follows.
    attention_pending_.exchange(false, std::memory_order_acq_rel);
}

Result<void> Runtime::set_listen_port(std::uint16_t port) {
    if (port == underlay_.port) return {};
    options_.udp.port = port;
    auto fresh = open_underlay(options_.udp);
    if (!fresh) {
        options_.udp.port = underlay_.port;
        return tl::unexpected(fresh.error());
    }
    if (auto given = give_sockets(*fresh); !given) {
        options_.udp.port = underlay_.port;
        (void)give_sockets(underlay_);  // the others are closed on return
        return given;
    }
    {
        const std::lock_guard hold(underlay_lock_);
        std::swap(underlay_, *fresh);
    }
    device_.set_listen_port(underlay_.port);
    return {};
}

// To every worker, whatever the ones before it said. The first error.
Result<void> Runtime::give_sockets(Underlay& underlay) {
    Result<void> answer;
    for (std::size_t i = 0; i < workers_.size(); ++i) {
        WorkerThread& worker = *workers_[i];
        Result<void> set;
        if (!worker.thread.joinable()) {
            set = worker.engine->set_sockets(underlay.workers[i]);
        } else {
            std::unique_lock hold(worker.lock);
            worker.new_sockets = &underlay.workers[i];
            worker.engine->wake();
            worker.answered.wait(hold, [&] { return worker.new_sockets == nullptr || worker.ended; });
            set = worker.socket_answer;
            if (worker.ended) set = fail("the interface is gone", ENODEV);
        }
        if (!set && answer) answer = set;
    }
    return answer;
}

Result<void> Runtime::set_fwmark(std::uint32_t fwmark) {
    if (fwmark == options_.udp.fwmark) return {};
    if (auto set = vern::set_fwmark(underlay_, fwmark); !set) {
        (void)vern::set_fwmark(underlay_, options_.udp.fwmark);  // some may have it
        return set;
    }
    options_.udp.fwmark = fwmark;
    return {};
}

const OffloadFaults& Runtime::faults(unsigned worker) const noexcept {
    return workers_[worker]->engine->faults();
}

HandOverCounts Runtime::hand_over() const noexcept {
    HandOverCounts sum;
    for (unsigned i = 0; i < device_.workers(); ++i) {
        sum.tasks += device_.board().desk(i).handed_over();
        sum.stalls += device_.board().desk(i).stalls();
    }
    sum.calls = helping_->calls();
    return sum;
}

std::uint64_t Runtime::count(Counter counter) const noexcept {
    std::uint64_t sum = device_.slow_counters()[counter];
    for (const auto& worker : workers_) sum += worker->worker.counters()[counter];
    return sum;
}

QueueDepths Runtime::queue_depths() noexcept {
    QueueDepths depths;
    for (unsigned i = 0; i < device_.workers(); ++i) {
        const WorkerQueues& queues = device_.queues(i);
        depths.handshakes += queues.handshakes.size();
        depths.attention += queues.attention.size();
        depths.staged += workers_[i]->worker.staged();
        const AeadBoard::Desk& desk = device_.board().desk(i);
        depths.aead += desk.seals.depth() + desk.opens.depth();
    }
    return depths;
}

ServiceTimeCounts Runtime::service_times() const noexcept {
    ServiceTimeCounts sum;
    for (const auto& worker : workers_) worker->service_times.add_to(sum);
    return sum;
}

}  // namespace vern
