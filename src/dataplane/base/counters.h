// Every reason for which something is dropped, refused or repaired, by name. What the core does not pass on
// it counts here, once. One Counters object a worker (and one for the slow path); each is written by its own
// thread only, read by any.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vern {

// X(name, meaning): `name` is what operators see in `vern show --json` and in the metrics.
#define VERN_COUNTERS(X)                                                                              \
    X(underlay_empty, "datagram with no bytes")                                                       \
    X(underlay_truncated, "datagram larger than any buffer, cut by the kernel")                       \
    X(underlay_short, "datagram shorter than its message type needs")                                 \
    X(underlay_length, "handshake message of a wrong length")                                         \
    X(underlay_type, "unknown message type or reserved bytes set")                                    \
    X(underlay_port, "datagram from port 0, which nobody can answer")                                 \
    X(endpoint_held, "new address of a peer that moves too often, not followed")                      \
    X(unknown_index, "data message for a session we do not have")                                     \
    X(session_expired, "data message for a session past its time or message limit")                   \
    X(replayed, "data message whose counter was seen or is older than the window")                    \
    X(bad_tag, "data message that is not authentic")                                                  \
    X(inner_malformed, "inner packet that is not IPv4/IPv6 or lies about its length")                 \
    X(inner_source, "inner packet from an address that is not the peer's")                            \
    X(inner_ecn, "inner packet without ECN that the underlay marked congested (RFC 6040)")            \
    X(tun_malformed, "packet from the TUN device that is not IPv4/IPv6 or lies about its length")     \
    X(tun_gso, "superpacket whose segmentation fields make no sense")                                 \
    X(tun_no_route, "packet from the TUN device to an address of no peer")                            \
    X(tun_no_endpoint, "packet for a peer whose endpoint is not known")                               \
    X(tun_loop, "our own datagram, sent back into the tunnel: a peer's endpoint is inside of it")     \
    X(tun_too_large, "packet from the TUN device that is larger than a message can carry")            \
    X(staged_overflow, "oldest packet given up while a handshake runs: too many wait")                \
    X(staged_given_up, "packet given up because the handshake did not succeed")                       \
    X(no_send_buffer, "train given up because the underlay does not take more")                       \
    X(session_exhausted, "message given up because its session has used all its counters")            \
    X(send_failed, "train, handshake or keepalive that the kernel refused to send")                   \
    X(tun_write_failed, "packet that the TUN device refused")                                         \
    X(handshake_queue_full, "handshake message given up because too many wait")                       \
    X(handshake_bad_mac1, "handshake message with a wrong mac1")                                      \
    X(handshake_cookie_sent, "handshake message answered with a cookie (under load)")                 \
    X(handshake_rate_limited, "handshake message over the rate of its source (under load)")           \
    X(handshake_bad_static, "initiation whose static key does not decrypt")                           \
    X(handshake_unknown_peer, "initiation from a key that is no peer's")                              \
    X(handshake_bad_timestamp, "initiation whose timestamp does not decrypt")                         \
    X(handshake_replayed, "initiation whose timestamp is not newer than the last")                    \
    X(handshake_flood, "initiation within 20 ms of the peer's last")                                  \
    X(handshake_bad_response, "response that answers nothing or is not authentic")                    \
    X(handshake_bad_cookie, "cookie reply that answers nothing or is not authentic")                  \
    X(handshake_barred, "initiation from a peer that has not proven the identity asked of it")        \
    X(handshake_no_identity, "handshake message while the interface has no private key")              \
    X(handshake_no_memory, "handshake given up for lack of a session slot")                           \
    X(policy_transport_short, "packet denied: its transport header is cut short")                     \
    X(policy_extension, "packet denied: IPv6 extension headers out of place, too many or too long")   \
    X(policy_source_route, "packet denied: it names its own route")                                   \
    X(policy_fragment_malformed, "fragment denied: its place in the datagram cannot be")              \
    X(policy_fragment_stray, "fragment denied: no first fragment was let in before it")               \
    X(policy_fragment_overlap, "fragment denied: it overlaps another")                                \
    X(policy_fragments_full, "first fragment denied: no room to remember it")                         \
    X(policy_icmp_unrelated, "ICMP error or redirect denied: it belongs to no live flow of its peer") \
    X(policy_tcp_flags, "TCP packet denied: flags that mean nothing")                                 \
    X(policy_tcp_state, "TCP packet denied: its flow is not in a state for it")                       \
    X(policy_no_flow, "packet denied: it begins nothing and belongs to no flow")                      \
    X(policy_denied, "packet denied by a rule")                                                       \
    X(policy_no_rule, "packet denied: no rule allows it")                                             \
    X(policy_rate_limited, "packet denied: the rule that allows it had no token left")                \
    X(policy_rates_full, "packet denied: no room for its source among the rates")                     \
    X(policy_flows_full, "packet denied: there are as many flows as there may be")                    \
    X(policy_peer_flows_full, "packet denied: its peer has as many flows as a peer may have")         \
    X(policy_flow_cut, "packet of a flow that the policy no longer allows")                           \
    X(policy_identity_over, "packet denied: its peer's identity is over, which no rule says yet")     \
    X(policy_flow_evicted, "half-open flow given up for a new one")                                   \
    X(policy_picked_up, "TCP flow picked up in midstream after the start")                            \
    X(policy_would_deny, "packet that passed since the rule or the policy only observes")             \
    X(policy_rejected, "denied packet answered with a reset or an ICMP error")                        \
    X(policy_reject_limited, "denied packet not answered: too many answers")                          \
    X(policy_log_suppressed, "decision not logged: too many at once")

enum class Counter : std::size_t {
#define X(name, meaning) name,
    VERN_COUNTERS(X)
#undef X
        count
};
inline constexpr std::size_t kCounterCount = static_cast<std::size_t>(Counter::count);

struct CounterInfo {
    std::string_view name;
    std::string_view meaning;
};
inline constexpr std::array<CounterInfo, kCounterCount> kCounterInfo{{
#define X(name, meaning) {#name, meaning},
    VERN_COUNTERS(X)
#undef X
}};

class Counters {
  public:
    // Single writer: a plain load and store, no locked instruction.
    void add(Counter counter, std::uint64_t n = 1) noexcept {
        auto& cell = cells_[static_cast<std::size_t>(counter)];
        cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    std::uint64_t operator[](Counter counter) const noexcept {
        return cells_[static_cast<std::size_t>(counter)].load(std::memory_order_relaxed);
    }

  private:
    std::array<std::atomic<std::uint64_t>, kCounterCount> cells_{};
};

}  // namespace vern
