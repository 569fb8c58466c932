#include "dataplane/io/egress.h"

#include <cassert>

namespace vern {

void Egress::set_sockets(const UdpSockets& sockets) noexcept {
    v4_.set_socket(sockets.v4.get(), gso_);
    v6_.set_socket(sockets.v6.get(), gso_);
}

std::span<std::byte> Egress::send_buffer() noexcept {
    std::byte* buffer = pool_.take();
    if (buffer == nullptr) {
        flush();
        buffer = pool_.take();
    }
    if (buffer == nullptr) return {};
    return {buffer, kSlotStrideBytes - 64};
}

void Egress::send(const Endpoint& to, std::span<std::byte> train, std::size_t segment_bytes,
                  std::uint8_t tos) noexcept {
    assert(pool_.owns(train.data()) && !train.empty() && segment_bytes > 0);
    OutgoingTrain outgoing;
    outgoing.to = to;
    outgoing.data = train.data();
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
