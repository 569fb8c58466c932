#include "dataplane/io/send_queue.h"

#include <cassert>
#include <cerrno>

namespace vern {

void SendQueue::set_socket(int fd, bool gso) noexcept {
    fd_ = fd;
    gso_ = gso;
    gso_refused_.store(false, std::memory_order_relaxed);
    submit();
}

void SendQueue::push(const OutgoingTrain& train) noexcept {
    assert(count_ < kCapacity);
    OutgoingTrain& last = at(count_++);
    last = train;
    last.segmented = gso_ && train.segment_bytes < train.bytes;
    bytes_ += train.bytes;
}

void SendQueue::submit() noexcept {
    blocked_ = false;
    while (count_ > 0 && !blocked_) {
        if (fd_ < 0) {
            recover(EAFNOSUPPORT);
            continue;
        }
        const int taken = ::sendmmsg(fd_, messages_.data(), fill_batch(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (taken > 0)
            sent(static_cast<unsigned>(taken));
        else
            recover(errno);
    }
}

// Messages for the trains from the front on: one each, or one a datagram when unsegmented.
unsigned SendQueue::fill_batch() noexcept {
    unsigned filled = 0;
    for (std::size_t i = 0; i < count_; ++i) {
        const OutgoingTrain& train = at(i);
        for (std::size_t offset = train.sent_bytes; offset < train.bytes;
             offset += train.send_bytes(offset)) {
            storage_[filled].fill(messages_[filled].msg_hdr, train, offset);
            if (++filled == kBatch) return filled;
        }
    }
    return filled;
}

void SendQueue::sent(unsigned messages) noexcept {
    for (unsigned i = 0; i < messages; ++i) {
        OutgoingTrain& front = at(0);
        front.sent_bytes += storage_[i].payload.iov_len;
        source_refused_ |= front.source_dropped;  // it was the source; else the endpoint is to blame
        if (front.done()) pop();
    }
}

// `code` is about the first message of the batch, so about the train in front.
void SendQueue::recover(int code) noexcept {
    OutgoingTrain& front = at(0);
    const auto remedy = remedy_for(code, front.segmented, front.to.source.family != Family::none);
    if (remedy == SendRemedy::wait) {
        blocked_ = true;
        return;
    }
    if (remedy == SendRemedy::unsegmented_from_now_on) {
        gso_ = false;
        gso_refused_.store(true, std::memory_order_relaxed);
        for (std::size_t i = 0; i < count_; ++i) at(i).segmented = false;
    }
    if (front.apply(remedy)) return;
    counters_.add(Counter::send_failed);
    pop();
}

void SendQueue::pop() noexcept {
    pool_.give_back(at(0).data);
    bytes_ -= at(0).bytes;
    head_ = (head_ + 1) % kCapacity;
    --count_;
}

}  // namespace vern
