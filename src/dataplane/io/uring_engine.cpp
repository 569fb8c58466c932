// The engine for Linux 6.0 and later: datagrams arrive by multishot receives into a ring of buffers, so that
// one system call a turn waits for all there is and brings it. Sends, TUN reads and TUN writes are the plain
// calls that the epoll engine makes: they never wait, so as entries of the ring they would do the same work
// plus a request and a completion each (2-6 % more CPU for a TUN read or write and 3-40 % for a send,
// measured on Linux 6.18), and what io_uring answers to a read of an empty non-blocking TUN device differs
// between kernels.
//
// While turns are small it waits and receives as the epoll engine does. The ring is for many packets a
// second: to a ping that nothing preceded for milliseconds it is more code and memory that is in no cache (5
// % slower).
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "dataplane/io/epoll_engine.h"
#include "dataplane/io/uring.h"

namespace vern {
namespace {

constexpr unsigned kEntries = 64;
// Two turns' worth of the largest trains, one of the smallest.
constexpr std::size_t kBuffers = kTurnTrainsMax;
constexpr std::size_t kBuffersForFullTrains = 2 * kTurnBytesMax / (kTrainBytesMax + 1);

// What a completion is about. In user_data, with the generation of the sockets: completions of sockets that
// were replaced meanwhile still bring datagrams, but tell nothing about the new ones.
enum class Kind : std::uint8_t { wake, tun_readable, receive_v4, receive_v6, writable_v4, writable_v6 };

constexpr std::uint64_t tag(Kind kind, std::uint32_t generation) noexcept {
    return std::uint64_t{generation} << 8 | static_cast<std::uint64_t>(kind);
}

// One socket's standing requests.
struct SocketRequests {
    Kind receive_kind;
    Kind writable_kind;
    bool receiving = false;
    bool awaiting_writable = false;
    bool broken = false;  // it does not receive, and never will
};

// The errors of a receive that come again at once when it is asked for again. None is to be expected.
bool is_lasting(int code) noexcept {
    return code == EBADF || code == ENOTSOCK || code == EINVAL || code == EOPNOTSUPP;
}

class UringEngine final : public EpollEngine {
  public:
    UringEngine(TunQueue& tun, Counters& counters, const EngineOptions& options, Memory memory,
                std::unique_ptr<Uring> ring) noexcept
        : EpollEngine(tun, counters, options, std::move(memory)),
          ring_(std::move(ring)),
          many_packets_(options.ring_from_packets),
          by_ring_(many_packets_ == 0) {
        receive_shape_.msg_namelen = kNameBytes;
        receive_shape_.msg_controllen = kReceiveControlBytes;
    }

    std::string_view name() const noexcept override { return "io_uring"; }
    void end() noexcept override { ring_->cancel_all(); }

    Result<void> set_sockets(const UdpSockets& sockets) noexcept override {
        for (SocketRequests* requests : {&v4_, &v6_}) {
            cancel_receive(*requests);
            if (requests->awaiting_writable) ring_->cancel(tag(requests->writable_kind, generation_));
            requests->receiving = requests->awaiting_writable = requests->broken = false;
        }
        ++generation_;
        if (!by_ring_) return EpollEngine::set_sockets(sockets);
        egress_.set_sockets(sockets);  // nothing is watched
        return {};
    }

    Turn wait(std::optional<Duration> timeout) noexcept override {
        if (by_ring_) return wait_by_ring(timeout);
        const Turn turn = EpollEngine::wait(timeout);
        if (turn.packets() >= many_packets_ && !datagrams_.holds_more()) begin_ring();
        return turn;
    }

  private:
    // Before the payload lie the kernel's header, room for a name and for control data: in all three cache
    // lines.
    static constexpr std::size_t kNameBytes = 48;
    static constexpr std::size_t kBeforePayload =
        sizeof(io_uring_recvmsg_out) + kNameBytes + kReceiveControlBytes;
    static_assert(kBeforePayload % 64 == 0 && kBeforePayload + kTrainBytesMax <= kSlotStrideBytes);
    static_assert(sizeof(SocketAddress) <= kNameBytes);

    // Turns with few packets after which the ring is left: beginning and ending it costs some system calls.
    static constexpr unsigned kSmallTurns = 64;

    void begin_ring() noexcept {
        unwatch();
        by_ring_ = true;
        tun_ready_ = true;  // it may be
        small_turns_ = 0;
    }

    // Unless a datagram came meanwhile that the turn has no room for: the next turn tries again.
    void end_ring(Turn& turn) noexcept {
        cancel_receive(v4_);
        cancel_receive(v6_);
        take_completions(turn);
        by_ring_ = v4_.receiving || v6_.receiving || ring_->has_completions() || !watch_all();
        if (by_ring_) unwatch();  // no memory, or fs.epoll.max_user_watches
    }

    void cancel_receive(const SocketRequests& requests) noexcept {
        if (requests.receiving) ring_->cancel(tag(requests.receive_kind, generation_));
    }

    Turn wait_by_ring(std::optional<Duration> timeout) noexcept {
        begin_turn();
        Turn turn;
        // What the last turn had no room for, and the ends of receives that are then asked for again.
        take_completions(turn);
        arm();
        const bool tun_waits = tun_ready_ && !tun_gone_ && !egress_.blocked();
        ring_->enter(train_count_ > 0 || turn.woken || tun_waits ? Duration::zero() : timeout);
        take_completions(turn);
        read_tun(turn);
        if (turn.packets() >= many_packets_)
            small_turns_ = 0;
        else if (turn.trains() > 0 && ++small_turns_ >= kSmallTurns)
            end_ring(turn);
        turn.source_refused = egress_.take_source_refused();
        turn.tun_gone = tun_gone_ |= egress_.tun_gone();
        return turn;
    }

    // The kernel takes buffers in the order in which they were given: of many, a stream of full trains would
    // use the coldest each time. So it gets what two turns of such need (7.2 us of CPU a train, 9.5 with
    // all).
    void begin_turn() noexcept {
        if (train_count_ > 0) full_trains_ = train_bytes_ / train_count_ > kTurnBytesMax / kTurnTrainsMax;
        const std::size_t wanted = full_trains_ ? kBuffersForFullTrains : kBuffers;
        while (kBuffers - idle_count_ < wanted) ring_->give_buffer(idle_[--idle_count_]);
        ring_->publish_buffers();
        train_count_ = 0;
        train_bytes_ = 0;
    }

    // Asks for everything that is not asked for already.
    void arm() noexcept {
        if (!wake_armed_) wake_armed_ = arm_poll(wake_.get(), POLLIN, tag(Kind::wake, 0));
        arm_socket(v4_, egress_.v4());
        arm_socket(v6_, egress_.v6());
        if (!tun_armed_ && !tun_ready_ && !tun_gone_ && !egress_.blocked())
            tun_armed_ = arm_poll(tun_fd_, POLLIN, tag(Kind::tun_readable, 0));
    }

    bool arm_poll(int fd, unsigned events, std::uint64_t user_data) noexcept {
        io_uring_sqe* entry = ring_->entry();
        if (entry == nullptr) return false;
        io_uring_prep_poll_add(entry, fd, events);
        entry->user_data = user_data;
        return true;
    }

    void arm_socket(SocketRequests& requests, const SendQueue& queue) noexcept {
        if (queue.socket() < 0) return;
        if (!requests.receiving && !requests.broken)
            requests.receiving = arm_receive(queue.socket(), tag(requests.receive_kind, generation_));
        if (!requests.awaiting_writable && queue.blocked())
            requests.awaiting_writable =
                arm_poll(queue.socket(), POLLOUT, tag(requests.writable_kind, generation_));
    }

    bool arm_receive(int fd, std::uint64_t user_data) noexcept {
        io_uring_sqe* entry = ring_->entry();
        if (entry == nullptr) return false;
        io_uring_prep_recvmsg_multishot(entry, fd, &receive_shape_, 0);
        entry->flags |= IOSQE_BUFFER_SELECT;
        entry->buf_group = Uring::kBufferGroup;
        entry->user_data = user_data;
        return true;
    }

    // What does not fit the turn stays in the completion queue.
    void take_completions(Turn& turn) noexcept {
        while (train_count_ < kTurnTrainsMax && train_bytes_ < kTurnBytesMax) {
            io_uring_cqe* completion = ring_->peek();
            if (completion == nullptr) break;
            take(*completion, turn);
            ring_->consume(completion);
        }
        turn.underlay = std::span(trains_).first(train_count_);
    }

    void take(const io_uring_cqe& completion, Turn& turn) noexcept {
        const bool current = completion.user_data >> 8 == generation_;
        switch (static_cast<Kind>(completion.user_data & 0xff)) {
            case Kind::wake:
                turn.woken = true;
                wake_armed_ = false;
                clear_wake();
                return;
            case Kind::tun_readable:
                tun_armed_ = false;
                tun_ready_ = true;
                if (completion.res < 0 || (completion.res & (POLLERR | POLLHUP | POLLNVAL)) != 0)
                    tun_gone_ = true;
                return;
            case Kind::receive_v4: return take_datagram(completion, current ? &v4_ : nullptr);
            case Kind::receive_v6: return take_datagram(completion, current ? &v6_ : nullptr);
            case Kind::writable_v4:
                if (current) take_writable(v4_, egress_.v4());
                return;
            case Kind::writable_v6:
                if (current) take_writable(v6_, egress_.v6());
                return;
        }
    }

    // `requests` is null for a socket that was replaced.
    void take_datagram(const io_uring_cqe& completion, SocketRequests* requests) noexcept {
        if (requests != nullptr && (completion.flags & IORING_CQE_F_MORE) == 0) {
            // No buffer left (ENOBUFS), or a late ICMP error: asked for again next turn, when there are
            // buffers.
            requests->receiving = false;
            requests->broken = completion.res < 0 && is_lasting(-completion.res);
        }
        if ((completion.flags & IORING_CQE_F_BUFFER) == 0) return;
        const auto id = static_cast<std::uint16_t>(completion.flags >> IORING_CQE_BUFFER_SHIFT);
        idle_[idle_count_++] = id;
        if (completion.res < static_cast<int>(kBeforePayload)) return;
        if (!parse(ring_->buffer(id), static_cast<std::size_t>(completion.res) - kBeforePayload,
                   trains_[train_count_])) {
            counters_.add(Counter::underlay_truncated);
            return;
        }
        train_bytes_ += trains_[train_count_++].bytes.size();
    }

    static bool parse(std::byte* buffer, std::size_t payload_bytes, UnderlayTrain& train) noexcept {
        io_uring_recvmsg_out header;
        std::memcpy(&header, buffer, sizeof header);
        SocketAddress from{};
        std::memcpy(&from, buffer + sizeof header, std::min<std::size_t>(header.namelen, sizeof from));
        const std::span<const std::byte> control(
            buffer + sizeof header + kNameBytes,
            std::min<std::size_t>(header.controllen, kReceiveControlBytes));
        train.bytes = {buffer + kBeforePayload, payload_bytes};
        return parse_receive(from, control, static_cast<int>(header.flags), train);
    }

    static void take_writable(SocketRequests& requests, SendQueue& queue) noexcept {
        requests.awaiting_writable = false;
        if (queue.blocked()) queue.submit();
    }

    void read_tun(Turn& turn) noexcept {
        if (!tun_ready_ || tun_gone_ || egress_.blocked()) return;
        turn.tun = tun_reader_.read(counters_);
        tun_ready_ = !tun_reader_.drained();
        tun_gone_ = tun_reader_.gone();
    }

    std::unique_ptr<Uring> ring_;
    const std::size_t many_packets_;
    bool by_ring_;
    unsigned small_turns_ = 0;  // in a row, those that brought nothing not counted
    SocketRequests v4_{Kind::receive_v4, Kind::writable_v4};
    SocketRequests v6_{Kind::receive_v6, Kind::writable_v6};
    std::uint32_t generation_ = 0;
    bool wake_armed_ = false;
    bool tun_armed_ = false;
    bool tun_ready_ = false;  // it has more than was read
    msghdr receive_shape_{};  // the room that receives are to leave for name and control data

    std::array<UnderlayTrain, kTurnTrainsMax> trains_{};
    std::array<std::uint16_t, kBuffers>
        idle_{};  // buffers that the kernel does not have; this turn looks at the last ones
    std::size_t idle_count_ = 0;
    bool full_trains_ = false;
    std::size_t train_count_ = 0;
    std::size_t train_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<Engine>> make_uring_engine(TunQueue& tun, const UdpSockets& sockets,
                                                  Counters& counters, const EngineOptions& options) {
    if (auto works = probe_uring(); !works) return tl::unexpected(works.error());
    auto ring = Uring::make(kEntries, static_cast<unsigned>(kBuffers));
    if (!ring) return tl::unexpected(ring.error());
    auto memory = EpollEngine::Memory::make(tun);
    if (!memory) return tl::unexpected(memory.error());
    auto engine = std::make_unique<UringEngine>(tun, counters, options, std::move(*memory), std::move(*ring));
    if (auto started = engine->start(sockets); !started) return tl::unexpected(started.error());
    return engine;
}

}  // namespace vern
