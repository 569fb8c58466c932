#include "dataplane/io/egress.h"

#include <cassert>

namespace vern {

void Egress::set_sockets(const UdpSockets& sockets) noexcept {
    v4_.set_socket(sockets.v4.get(), gso_);
    v6_.set_socket(sockets.v6.get(), gso_);
}

std::span<std::byte> Egress::send_buffer() noexcept {
    if (current_ == nullptr) current_ = pool_.take();
    if (current_ == nullptr) {
        flush();
        current_ = pool_.take();
    }
    if (current_ == nullptr) return {};
    return {current_, kSlotStrideBytes - 64};
}

void Egress::send(const Endpoint& to, std::span<std::byte> train, std::size_t segment_bytes,
                  std::uint8_t tos) noexcept {
    assert(train.data() == current_ && !train.empty() && segment_bytes > 0);
    OutgoingTrain outgoing;
    outgoing.to = to;
    outgoing.data = std::exchange(current_, nullptr);
    outgoing.bytes = train.size();
    outgoing.segment_bytes = segment_bytes;
    outgoing.tos = tos;
    SendQueue& queue = to.address.family == Family::v6 ? v6_ : v4_;
    queue.push(outgoing);
    if (queue.bytes() >= kSubmitBytes) submit_unblocked(queue);
}

void Egress::flush() noexcept {
    submit_unblocked(v4_);
    submit_unblocked(v6_);
}

bool Egress::take_source_refused() noexcept {
    const bool v4 = v4_.take_source_refused();
    const bool v6 = v6_.take_source_refused();
    return v4 || v6;
}

}  // namespace vern
