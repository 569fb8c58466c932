// The trains that go out by one UDP socket, in order. Sends them in batches, repairs what offloads and
// routing refuse, and keeps what a full socket does not take. The worker's thread only.
#pragma once

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstddef>

#include "dataplane/base/counters.h"
#include "dataplane/io/buffer_pool.h"
#include "dataplane/io/outgoing_train.h"

namespace vern {

class SendQueue {
  public:
    // `gso_refused` is set when the socket turns out not to segment.
    SendQueue(BufferPool& pool, Counters& counters, std::atomic<bool>& gso_refused) noexcept
        : pool_(pool), counters_(counters), gso_refused_(gso_refused) {}
    SendQueue(const SendQueue&) = delete;
    SendQueue& operator=(const SendQueue&) = delete;

    // Trains that wait for the socket of before go out by this one. -1: none, what is pushed is given up.
    void set_socket(int fd, bool gso) noexcept;
    int socket() const noexcept { return fd_; }

    // Takes over train.data, a buffer of the pool. There is always room: a queue is as long as the pool.
    void push(const OutgoingTrain& train) noexcept;

    // Hands over what it can. Afterwards the queue is empty or blocked().
    void submit() noexcept;

    // The socket is full: call submit() when it is writable again.
    bool blocked() const noexcept { return blocked_; }
    std::size_t bytes() const noexcept { return bytes_; }
    std::size_t size() const noexcept { return count_; }

    // A source address was refused since the last call.
    bool take_source_refused() noexcept { return std::exchange(source_refused_, false); }

  private:
    static constexpr std::size_t kCapacity = BufferPool::kBuffers;
    static constexpr std::size_t kBatch =
        64;  // messages of one sendmmsg(): one unsegmented train of the longest

    OutgoingTrain& at(std::size_t i) noexcept { return trains_[(head_ + i) % kCapacity]; }
    unsigned fill_batch() noexcept;
    void sent(unsigned messages) noexcept;
    void recover(int code) noexcept;
    void pop() noexcept;

    BufferPool& pool_;
    Counters& counters_;
    std::atomic<bool>& gso_refused_;
    int fd_ = -1;
    bool gso_ = false;
    bool blocked_ = false;
    bool source_refused_ = false;
    std::size_t head_ = 0;
    std::size_t count_ = 0;
    std::size_t bytes_ = 0;
    std::array<OutgoingTrain, kCapacity> trains_{};
    std::array<mmsghdr, kBatch> messages_{};
    std::array<OutgoingMessage, kBatch> storage_;
};

}  // namespace vern
