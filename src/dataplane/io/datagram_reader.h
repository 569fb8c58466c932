// Receiving from a worker's UDP sockets by recvmmsg(). The worker's thread only.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <span>

#include "crypto/error.h"
#include "dataplane/base/counters.h"
#include "dataplane/core/train.h"
#include "dataplane/io/engine.h"
#include "dataplane/io/mapping.h"
#include "dataplane/io/udp.h"

namespace vern {

class DatagramReader {
  public:
    static Result<DatagramReader> make();

    // Begins a turn: what was given before ends, and what was received beyond the last turn's budget comes
    // first.
    void begin_turn(Counters& counters) noexcept;

    // Receives from one socket until it is empty or the turn's budget is spent.
    void receive(int fd, Counters& counters) noexcept;

    std::span<UnderlayTrain> trains() noexcept { return std::span(trains_).first(count_); }
    // More was received than the turn may give: the next turn is not to block.
    bool holds_more() const noexcept { return next_ < received_; }

  private:
    // A buffer, a name and control data for every message of a turn: buffers of 64 KiB, because the kernel
    // cuts a GRO train to the buffer it finds. What is not touched is not resident.
    struct Message {
        SocketAddress from;
        iovec payload;
        alignas(8) std::array<std::byte, kReceiveControlBytes> control;
    };

    unsigned prepare() noexcept;
    void give(Counters& counters) noexcept;
    bool spent() const noexcept { return count_ == kTurnTrainsMax || bytes_ >= kTurnBytesMax; }

    // The first call of a turn asks for so many: enough for the bytes of a turn in trains of full length.
    static constexpr unsigned kFirstMessages = kTurnBytesMax / kSlotStrideBytes + 1;

    Mapping memory_;
    std::array<UnderlayTrain, kTurnTrainsMax> trains_{};
    std::array<mmsghdr, kTurnTrainsMax> headers_{};
    std::array<Message, kTurnTrainsMax> messages_{};
    std::size_t count_ = 0;     // trains of this turn
    std::size_t bytes_ = 0;     // in them
    std::size_t next_ = 0;      // the first message that was received and not given
    std::size_t received_ = 0;  // messages filled, in slots 0 to received_
};

}  // namespace vern
