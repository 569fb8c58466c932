// What the control API has done and refused, for the metrics. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

#include "control/api/router.h"

namespace vern::api {

struct Counts {
    std::map<std::pair<const Route*, unsigned>, std::uint64_t>
        requests;                           // by route (nullptr: none) and status
    std::uint64_t connections = 0;          // open now
    std::uint64_t event_clients = 0;        // connected now
    std::uint64_t connections_refused = 0;  // over a limit
    std::uint64_t handshakes_failed = 0;    // TLS: no certificate, or none that is good
    std::uint64_t handshakes_limited = 0;   // the source had too many under way, or had begun too many
    std::uint64_t timeouts = 0;             // clients too slow to send, or to take their answer
    std::uint64_t requests_delayed = 0;     // over the budget
    std::uint64_t events_published = 0;
    std::uint64_t event_clients_cut = 0;  // too slow to take their events
};

class Statistics {
  public:
    Counts read() const {
        const std::lock_guard held(lock_);
        return counts_;
    }
    void answered(const Route* route, unsigned status) {
        const std::lock_guard held(lock_);
        ++counts_.requests[{route, status}];
    }
    void add(std::uint64_t Counts::*what, std::int64_t n = 1) {
        const std::lock_guard held(lock_);
        counts_.*what += static_cast<std::uint64_t>(n);
    }

  private:
    mutable std::mutex lock_;
    Counts counts_;
};

}  // namespace vern::api
