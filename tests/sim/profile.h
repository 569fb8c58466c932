// What kind of world a seed makes. Each world has a few kinds of trouble, not all at once: some faults hide
// others.
#pragma once

#include <optional>

#include "coverage.h"
#include "rng.h"
#include "virtual_time.h"

namespace vern::sim {

// Deliberate defects, to show that the invariants see them.
enum class Sabotage {
    none,
    deliver_twice,       // the stack gets a packet a second time
    alter_plaintext,     // one bit of a delivered packet changes
    reuse_counter,       // a data message leaves with the counter of the one before
    accept_everything,   // the AEAD finds every message authentic
    swap_order,          // two packets of one flow change places
    swap_trains,         // a train is sent after the one that was built after it
    forget_datagram,     // a datagram vanishes between engine and counters
    forget_requests,     // the slow path is never woken by workers
    stuck_deadline,      // the slow path is told an old time
    chatter,             // a keepalive nobody asked for, again and again
    skip_configuration,  // a changed owner of a prefix is not told to the core
    skip_padding,        // messages are cut to the inner packet's length
    hijack_endpoint,     // an endpoint moves without an authentic message
    skip_policy,         // a changed policy is not told to the core
    stop_worker_clock,   // a worker's time stands still: old keys live on
    count
};

struct Profile {
    unsigned hosts = 2;
    Nanos turmoil = 0;     // how long the trouble lasts
    bool ordered = false;  // the network keeps the order of every path
    bool superpackets = false;
    bool v6_underlay = false;
    double loss = 0, duplication = 0, reordering = 0, corruption = 0, truncation = 0, congestion = 0;
    Nanos delay_min = 0, delay_max = 0;
    double preemption = 0;  // at each of a worker's calls out
    Nanos turn_delay_max = 0, service_delay_max = 0, disposal_delay_max = 0;
    double helpers = 0;        // turns in which other workers take AEAD tasks
    double engine_faults = 0;  // full send buffers, refused sends and writes
    Nanos fault_interval = 0;  // mean; 0: none
    Nanos attack_interval = 0;
    Nanos traffic_interval = 0;  // mean, a flow
    bool floods = false;
    std::uint64_t host_faults = 0;  // bit of each kind that may happen
    bool may(Fault fault) const noexcept {
        return (host_faults >> (static_cast<unsigned>(fault) % 64) & 1) != 0;
    }
};

struct Options {
    std::uint64_t seed = 0;
    bool verbose = false;
    Sabotage sabotage = Sabotage::none;
    std::optional<unsigned> hosts;
    std::optional<unsigned> minutes;
};

Profile make_profile(Rng& rng, const Options& options);

}  // namespace vern::sim
