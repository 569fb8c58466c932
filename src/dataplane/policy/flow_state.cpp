#include "dataplane/policy/flow_state.h"

#include "dataplane/base/inner_packet.h"
#include "dataplane/policy/transport.h"

namespace vern::policy {

const char* name_of(FlowState state) noexcept {
    switch (state) {
        case FlowState::none: return "none";
        case FlowState::syn_sent: return "syn-sent";
        case FlowState::syn_received: return "syn-received";
        case FlowState::established: return "established";
        case FlowState::fin_wait: return "fin-wait";
        case FlowState::close_wait: return "close-wait";
        case FlowState::last_ack: return "last-ack";
        case FlowState::time_wait: return "time-wait";
        case FlowState::closed: return "closed";
        case FlowState::picked_up: return "picked-up";
        case FlowState::unanswered: return "unanswered";
        case FlowState::answered: return "answered";
    }
    return "?";
}

bool tcp_flags_valid(std::uint8_t flags) noexcept {
    switch (flags & (tcp::kSyn | tcp::kAck | tcp::kFin | tcp::kRst)) {
        case tcp::kSyn:
        case tcp::kSyn | tcp::kAck:
        case tcp::kAck:
        case tcp::kFin | tcp::kAck:
        case tcp::kRst:
        case tcp::kRst | tcp::kAck: return true;
        default: return false;
    }
}

bool opens(std::uint8_t flags) noexcept {
    return (flags & (tcp::kSyn | tcp::kAck | tcp::kFin | tcp::kRst)) == tcp::kSyn;
}

TcpStep tcp_step(FlowState& state, bool by_initiator, std::uint8_t flags) noexcept {
    using enum FlowState;
    const bool syn = (flags & tcp::kSyn) != 0, ack = (flags & tcp::kAck) != 0, fin = (flags & tcp::kFin) != 0;
    if ((flags & tcp::kRst) != 0) {
        state = closed;
        return TcpStep::pass;
    }
    if (syn && !ack) {
        if (state == time_wait || state == closed) return TcpStep::begin_anew;
        // Sent again, or by a host that has forgotten: the far end answers either, and no new connection
        // comes of it.
        return by_initiator ? TcpStep::pass : TcpStep::other_opens;
    }
    if (syn) {  // and ACK
        if (!by_initiator && state == syn_sent) state = syn_received;
        return state == syn_received || (!by_initiator && state == established) ? TcpStep::pass
                                                                                : TcpStep::drop;
    }
    switch (state) {
        case syn_sent:
            // An ACK to a SYN comes from a host that still has the old connection; the initiator will reset
            // it. Its own ACK acknowledges nothing yet.
            return !by_initiator && !fin ? TcpStep::pass : TcpStep::drop;
        case syn_received:
            if (fin)
                state = by_initiator ? fin_wait : close_wait;
            else if (by_initiator)
                state = established;
            return TcpStep::pass;
        case picked_up:
            if (fin)
                state = by_initiator ? fin_wait : close_wait;
            else if (!by_initiator)
                state = established;
            return TcpStep::pass;
        case established:
            if (fin) state = by_initiator ? fin_wait : close_wait;
            return TcpStep::pass;
        case fin_wait:
        case close_wait:
            if (fin && by_initiator == (state == close_wait)) state = last_ack;
            return TcpStep::pass;
        case last_ack:
            if (!fin) state = time_wait;
            return TcpStep::pass;
        case time_wait:
        case closed: return TcpStep::pass;
        default: return TcpStep::drop;
    }
}

}  // namespace vern::policy
