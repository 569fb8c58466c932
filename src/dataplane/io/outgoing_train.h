// A train on its way out: what is left of it to send, and how. Engines keep them in their send queues, the
// slow path sends one at a time.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/core/train.h"
#include "dataplane/io/send_fault.h"
#include "dataplane/io/udp.h"

namespace vern {

struct OutgoingTrain {
    Endpoint to;
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    std::size_t segment_bytes = 0;
    std::size_t sent_bytes = 0;
    std::uint8_t tos = 0;
    bool segmented = false;       // one send with UDP_SEGMENT; else one send a datagram
    bool source_dropped = false;  // it had one, which may be why it was refused

    bool done() const noexcept { return sent_bytes >= bytes; }

    // The bytes of the send that begins at `offset`.
    std::size_t send_bytes(std::size_t offset) const noexcept {
        return segmented ? bytes - offset : std::min(segment_bytes, bytes - offset);
    }

    // Changes the train as the remedy says; true if it is to be sent again.
    bool apply(SendRemedy remedy) noexcept {
        switch (remedy) {
            case SendRemedy::retry: return true;
            case SendRemedy::unsegmented:
            case SendRemedy::unsegmented_from_now_on: segmented = false; return true;
            case SendRemedy::without_source:
                to.clear_source();
                source_dropped = true;
                return true;
            case SendRemedy::wait:
            case SendRemedy::give_up: break;
        }
        return false;
    }
};

// One message for sendmsg() with all that it points to. Never copied or moved once filled.
struct OutgoingMessage {
    iovec payload;
    SocketAddress address;
    alignas(8) std::array<std::byte, kSendControlBytes> control;

    void fill(msghdr& message, const OutgoingTrain& train, std::size_t offset) noexcept {
        payload = {train.data + offset, train.send_bytes(offset)};
        message = {};
        message.msg_name = &address;
        message.msg_namelen = to_socket_address(train.to, address);
        message.msg_iov = &payload;
        message.msg_iovlen = 1;
        message.msg_controllen =
            build_send_control(train.to, train.segment_bytes, train.segmented, train.tos, control);
        message.msg_control = message.msg_controllen == 0 ? nullptr : control.data();
    }
};

}  // namespace vern
