// What a run has met: which faults happened, what the core counted, how much was done. A simulation that
// never meets a fault proves nothing about it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/counters.h"

namespace vern::sim {

// clang-format off
#define VERN_SIM_FAULTS(X) \
    /* the network */ \
    X(loss) X(duplication) X(reordering) X(corruption) X(truncation) X(congestion_mark) X(stall) X(partition) X(heal) \
    /* hosts */ \
    X(roam_address) X(roam_port) X(restart) X(boot_jump) X(wall_back) X(wall_forward) X(interface_down) X(sources_cleared) \
    X(source_refused) X(no_send_buffer) X(send_refused) X(tun_write_refused) X(oversized_datagram) X(socket_overflow) \
    /* interleavings */ \
    X(preempted_by_service) X(preempted_by_worker) X(preempted_by_configuration) X(late_service) X(late_disposal) X(clock_skew) \
    X(sealed_by_helper) X(opened_by_helper) X(waited_for_helper) \
    /* attackers */ \
    X(replay) X(stale_replay) X(race_replay) X(bit_flip) X(cut) X(extended) X(garbage) X(empty_datagram) X(forged_counter) \
    X(forged_initiation) X(unknown_initiator) X(forged_timestamp) X(forged_response) X(forged_cookie) X(authentic_cookie) \
    X(flood) X(cookie_flood) X(malformed_peer) X(spoofed_source) \
    /* configuration */ \
    X(allowed_ip_moved) X(psk_changed) X(endpoint_set) X(endpoint_unknown) X(keepalive_toggled) X(peer_removed) X(peer_barred) X(key_changed) \
    X(key_removed) X(mtu_changed) X(counter_leap) \
    /* traffic */ \
    X(tcp_superpacket) X(udp_superpacket) X(sent_train) X(received_train) X(coalesced) X(ip_options) X(malformed_tun) X(malformed_gso) \
    X(unroutable) X(too_large) X(burst)
// clang-format on

enum class Fault : unsigned {
#define X(name) name,
    VERN_SIM_FAULTS(X)
#undef X
        count
};
inline constexpr std::size_t kFaultCount = static_cast<std::size_t>(Fault::count);
inline constexpr std::array<std::string_view, kFaultCount> kFaultNames{
#define X(name) #name,
    VERN_SIM_FAULTS(X)
#undef X
};

struct Coverage {
    std::uint64_t worlds = 0;
    std::uint64_t events = 0;
    std::uint64_t virtual_seconds = 0;
    std::uint64_t packets_sent = 0;
    std::uint64_t packets_delivered = 0;
    std::uint64_t datagrams = 0;
    std::uint64_t handshakes = 0;  // responses that led to a session at the initiator
    std::uint64_t rekeys = 0;      // of these, while an older session was live
    std::uint64_t endpoint_moves = 0;
    std::uint64_t keepalives = 0;
    std::uint64_t recoveries = 0;    // directions that carried traffic again after the network healed
    std::uint64_t order_checks = 0;  // packets compared with the one before them in their flow
    std::array<std::uint64_t, kFaultCount> faults{};
    std::array<std::uint64_t, kCounterCount> counters{};

    void add(Fault fault, std::uint64_t n = 1) noexcept { faults[static_cast<std::size_t>(fault)] += n; }
    void add(const Counters& of) noexcept {
        for (std::size_t i = 0; i < kCounterCount; ++i) counters[i] += of[static_cast<Counter>(i)];
    }
    void merge(const Coverage& other) noexcept;
    std::string report() const;
    // The names of what never happened, and should have.
    std::vector<std::string> missing() const;
};

}  // namespace vern::sim
