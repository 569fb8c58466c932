#include "dataplane/io/datagram_reader.h"

#include <algorithm>
#include <cerrno>

namespace vern {

Result<DatagramReader> DatagramReader::make() {
    auto memory = Mapping::make(kTurnTrainsMax * kSlotStrideBytes);
    if (!memory) return tl::unexpected(memory.error());
    DatagramReader reader;
    reader.memory_ = std::move(*memory);
    return reader;
}

void DatagramReader::begin_turn(Counters& counters) noexcept {
    count_ = 0;
    bytes_ = 0;
    if (holds_more())
        give(counters);
    else
        next_ = received_ = 0;
}

void DatagramReader::receive(int fd, Counters& counters) noexcept {
    while (!spent() && !holds_more() && received_ < kTurnTrainsMax) {
        const unsigned asked = prepare();
        const int got = ::recvmmsg(fd, headers_.data() + received_, asked, MSG_DONTWAIT, nullptr);
        if (got < 0 && errno == EINTR) continue;
        // EAGAIN: empty. All else is a late ICMP error, which the call took off the socket.
        if (got <= 0) return;
        received_ += static_cast<std::size_t>(got);
        give(counters);
        if (static_cast<unsigned>(got) < asked) return;
    }
}

// Points the next free slots at the kernel. As few as hold the turn's bytes in the largest trains at first,
// and more when those came full of small ones: full trains then stay in few slots, and so in the cache.
unsigned DatagramReader::prepare() noexcept {
    const std::size_t left = kTurnTrainsMax - received_;
    const auto asked =
        static_cast<unsigned>(std::min<std::size_t>(left, received_ == 0               ? kFirstMessages
                                                          : bytes_ < kTurnBytesMax / 4 ? left
                                                                                       : kFirstMessages));
    for (std::size_t i = received_; i < received_ + asked; ++i) {
        Message& message = messages_[i];
        message.payload = {memory_.data() + i * kSlotStrideBytes, kTrainBytesMax};
        msghdr& header = headers_[i].msg_hdr;
        header = {};
        header.msg_name = &message.from;
        header.msg_namelen = sizeof message.from;
        header.msg_iov = &message.payload;
        header.msg_iovlen = 1;
        header.msg_control = message.control.data();
        header.msg_controllen = message.control.size();
    }
    return asked;
}

void DatagramReader::give(Counters& counters) noexcept {
    for (; next_ < received_ && !spent(); ++next_) {
        const msghdr& header = headers_[next_].msg_hdr;
        UnderlayTrain& train = trains_[count_];
        train.bytes = {static_cast<std::byte*>(messages_[next_].payload.iov_base), headers_[next_].msg_len};
        const auto control =
            std::span<const std::byte>(messages_[next_].control).first(header.msg_controllen);
        if (!parse_receive(messages_[next_].from, control, header.msg_flags, train)) {
            counters.add(Counter::underlay_truncated);
            continue;
        }
        ++count_;
        bytes_ += train.bytes.size();
    }
}

}  // namespace vern
