// The threads that drive a device on a real host: one a worker, each with its engine, its TUN queue and its
// sockets, and one for the slow path (handshakes, timers, the freeing of what is out of use). Everything else
// (control socket, signals, netlink) is the caller's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "crypto/error.h"
#include "dataplane/core/device.h"
#include "dataplane/core/worker.h"
#include "dataplane/io/engine.h"
#include "dataplane/io/tun.h"
#include "dataplane/io/udp.h"
#include "dataplane/runtime/helping.h"
#include "dataplane/runtime/service_times.h"

namespace vern {

struct RuntimeOptions {
    enum class EngineChoice { best, io_uring, epoll };
    EngineChoice engine = EngineChoice::best;  // best: io_uring, or epoll where the host refuses it
    EngineOptions engine_options;
    unsigned helpers = 0;  // threads that only help workers with the AEAD
    HandOver hand_over = HandOver::automatic;
    UdpOptions udp;  // `workers` is set from the TUN device's queues
};

// AEAD work that workers gave one another.
struct HandOverCounts {
    std::uint64_t tasks = 0;   // trains sealed, or parts of batches opened, by another worker than their own
    std::uint64_t calls = 0;   // sleeping workers that were woken for it
    std::uint64_t stalls = 0;  // waits for a helper that had lost its CPU
};

// What waits, over all workers.
struct QueueDepths {
    std::size_t handshakes = 0;  // messages for the slow path
    std::size_t attention = 0;   // peers that it is asked to look at
    std::size_t staged = 0;      // packets for a session that is not there yet
    std::size_t aead = 0;        // tasks on the board that nobody has taken
};

class Runtime {
  public:
    // `tun` is the interface, one queue a worker. Takes sockets and makes engines; the threads begin with
    // start(). Signals should be blocked before, so that the threads leave them to the caller.
    static Result<std::unique_ptr<Runtime>> create(TunDevice tun, const aead::Implementation& aead,
                                                   const RuntimeOptions& options);
    ~Runtime();  // stops the threads, then wipes the device
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

    void start();

    Device& device() noexcept { return device_; }
    const TunDevice& tun() const noexcept { return tun_; }
    // After every change to the device, so that the slow path sees new deadlines and frees what is out of
    // use. Any thread.
    void attend() noexcept;

    // Control thread only, one at a time. Sessions live on; on an error everything is as before.
    Result<void> set_listen_port(std::uint16_t port);  // 0: any free one
    Result<void> set_fwmark(std::uint32_t fwmark);
    std::uint16_t listen_port() const noexcept { return underlay_.port; }

    // Becomes readable when the interface is gone.
    int gone_fd() const noexcept { return gone_.get(); }

    // For status; by the control thread, which alone changes what they tell.
    std::string_view engine_name() const noexcept { return engine_name_; }
    const std::string& engine_reason() const noexcept { return engine_reason_; }  // why not the better one
    const Underlay& underlay() const noexcept { return underlay_; }
    const OffloadFaults& faults(unsigned worker) const noexcept;
    unsigned helpers() const noexcept { return options_.helpers; }
    HandOverCounts hand_over() const noexcept;
    std::uint64_t count(Counter counter) const noexcept;  // over all workers and the slow path
    QueueDepths queue_depths() noexcept;
    ServiceTimeCounts service_times() const noexcept;

  private:
    struct WorkerThread;
    struct HelperThread;
    class Sink;
    Runtime(TunDevice tun, const aead::Implementation& aead, const RuntimeOptions& options);
    Result<void> open();
    Result<std::unique_ptr<Engine>> make_engine(WorkerThread& worker, const UdpSockets& sockets);
    void run_worker(WorkerThread& worker);
    void run_helper(HelperThread& helper);
    void take_commands(WorkerThread& worker);
    Result<void> give_sockets(Underlay& underlay);
    void run_slow_path();
    void wait_for_attention(std::optional<Instant> deadline);
    void wake_workers();
    void stop() noexcept;

    std::unique_ptr<Random> random_;
    TunDevice tun_;
    Device device_;
    RuntimeOptions options_;
    std::mutex underlay_lock_;  // the slow path sends while control changes sockets
    Underlay underlay_;
    std::string_view engine_name_;
    std::string engine_reason_;
    std::vector<std::unique_ptr<WorkerThread>> workers_;
    std::vector<std::unique_ptr<HelperThread>> helpers_;
    std::unique_ptr<Helping> helping_;
    std::thread slow_path_;
    Fd attention_;  // eventfd
    Fd timer_;      // timerfd on CLOCK_BOOTTIME: deadlines also pass during suspend
    Fd gone_;       // eventfd
    std::atomic<bool> attention_pending_{false};
    std::atomic<bool> stopping_{false};
};

Instant boot_time_now() noexcept;

}  // namespace vern
