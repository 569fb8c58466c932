// What a flow is doing: TCP as a state machine without sequence numbers (a tunnel authenticates who sends;
// windows are the end's business), everything else as a timed pseudo-flow.
//
// Timeouts are those of Linux' conntrack but for established TCP, which lasts 24 h instead of 5 days:
//   TCP  SYN sent 120 s, SYN received 60 s, established 24 h, FIN seen 120 s, both FINs 30 s, TIME_WAIT 120
//   s, reset 10 s,
//        picked up 60 s until the other side is heard
//   UDP  30 s until answered, then 120 s       ICMP echo  30 s       other protocols  30 s until answered,
//   then 600 s
#pragma once

#include <array>
#include <cstdint>

#include "crypto/instant.h"
#include "dataplane/policy/transport.h"

namespace vern::policy {

enum class FlowState : std::uint8_t {
    none,
    syn_sent,
    syn_received,
    established,
    fin_wait,    // the side that began has sent its FIN
    close_wait,  // the other side has
    last_ack,    // both have
    time_wait,
    closed,      // by RST
    picked_up,   // found in midstream: one side is heard
    unanswered,  // UDP, echo, other protocols
    answered,
};

const char* name_of(FlowState state) noexcept;

// Asked for each packet and each place that is swept: a table instead of branches.
inline Duration timeout_of(FlowState state, std::uint8_t protocol) noexcept {
    using std::chrono::seconds;
    static constexpr std::array<Duration, 12> kTimeouts{
        Duration{},   seconds(120), seconds(60), std::chrono::hours(24),
        seconds(120), seconds(120), seconds(30), seconds(120),
        seconds(10),  seconds(60),  seconds(30), seconds(600),
    };
    if (state != FlowState::answered) return kTimeouts[static_cast<std::size_t>(state)];
    return protocol == kUdp                          ? seconds(120)
           : protocol == kIcmp || protocol == kIcmp6 ? seconds(30)
                                                     : kTimeouts.back();
}

// Nobody has answered yet: the first to go when room is needed.
constexpr bool half_open(FlowState state) noexcept {
    return state == FlowState::syn_sent || state == FlowState::syn_received ||
           state == FlowState::picked_up || state == FlowState::unanswered;
}

// What a TCP packet does to its flow.
enum class TcpStep : std::uint8_t {
    pass,
    drop,
    begin_anew,   // a new connection by the old one's names: matched again, in the direction of the packet
    other_opens,  // a SYN from the side that did not begin: passes only where a rule lets that side begin
                  // (simultaneous open)
};

// The combinations that mean something (RFC 9293, section 3.10.7); PSH, ECE, CWR and URG change nothing.
bool tcp_flags_valid(std::uint8_t flags) noexcept;
bool opens(std::uint8_t flags) noexcept;  // SYN alone

// `by_initiator`: from the side that began the flow. Moves `state` on when the packet passes.
TcpStep tcp_step(FlowState& state, bool by_initiator, std::uint8_t flags) noexcept;

}  // namespace vern::policy
