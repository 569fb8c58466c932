// The engine for every Linux: waits by epoll, receives by recvmmsg(), reads and writes the TUN device one
// packet a call. The io_uring engine is this one with another way to receive while there is much.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>

#include "dataplane/io/datagram_reader.h"
#include "dataplane/io/egress.h"
#include "dataplane/io/engine.h"
#include "dataplane/io/fd.h"
#include "dataplane/io/tun_io.h"

namespace vern {

// What the worker waits for on one descriptor, told to the kernel only when it changes.
class EpollWatch {
  public:
    EpollWatch(const Fd& epoll, std::uint32_t source) noexcept : epoll_(epoll), source_(source) {}

    bool set(int fd, std::uint32_t events) noexcept;
    // A descriptor in a state that epoll reports for ever.
    void remove() noexcept;

  private:
    const Fd& epoll_;
    std::uint32_t source_;  // data of its events
    int fd_ = -1;
    std::uint32_t events_ = 0;
};

class EpollEngine : public Engine {
  public:
    // What may fail to be made.
    struct Memory {
        BufferPool pool;
        TunReader tun_reader;
        DatagramReader datagrams;
        static Result<Memory> make(const TunQueue& tun);
    };

    EpollEngine(TunQueue& tun, Counters& counters, const EngineOptions& options, Memory memory) noexcept;
    Result<void> start(const UdpSockets& sockets) noexcept;

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
    void wake() noexcept override;
    Result<void> set_sockets(const UdpSockets& sockets) noexcept override;
    Turn wait(std::optional<Duration> timeout) noexcept override;

  protected:
    void clear_wake() noexcept;
    // What EpollEngine::wait() waits for; false when the kernel has no room to watch it all.
    bool watch_all() noexcept;
    // Watches only for wake() until then.
    void unwatch() noexcept;

    Counters& counters_;
    Egress egress_;
    TunReader tun_reader_;
    DatagramReader datagrams_;
    Fd wake_;
    int tun_fd_;
    bool tun_gone_ = false;  // it was deleted

  private:
    enum class Source : std::uint32_t { wake, tun, v4, v6 };
    static constexpr std::size_t kSources = 4;

    // The events of one poll, by source.
    struct Ready {
        std::array<std::uint32_t, kSources> events{};
        std::uint32_t& operator[](Source source) noexcept { return events[static_cast<std::size_t>(source)]; }
        std::uint32_t operator[](Source source) const noexcept {
            return events[static_cast<std::size_t>(source)];
        }
    };

    EpollWatch watch(Source source) const noexcept { return {epoll_, static_cast<std::uint32_t>(source)}; }
    Ready poll(std::optional<Duration> timeout) noexcept;
    int epoll_wait_for(std::array<epoll_event, kSources>& events, std::optional<Duration> timeout) noexcept;
    static void submit_writable(SendQueue& queue, std::uint32_t events) noexcept;
    void receive(const Ready& ready) noexcept;
    void receive_from(Source source, std::uint32_t events) noexcept;
    void read_tun(std::uint32_t events, Turn& turn) noexcept;

    Fd epoll_;
    EpollWatch wake_watch_ = watch(Source::wake);
    EpollWatch tun_watch_ = watch(Source::tun);
    EpollWatch v4_watch_ = watch(Source::v4);
    EpollWatch v6_watch_ = watch(Source::v6);
    bool v6_first_ = false;
    bool has_pwait2_ = true;
};

}  // namespace vern
