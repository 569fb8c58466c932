// How many TLS handshakes one source may begin: each takes a millisecond of CPU, and next to nothing of who
// asks for it. Who begins more is turned away before it costs anything; waiting would hold a place that
// others need. The API's own thread only.
#pragma once

#include <map>
#include <string>

#include "control/api/budget.h"
#include "control/api/limits.h"

namespace vern::api {

class HandshakeBudget {
  public:
    static constexpr std::size_t kSourcesMax = 4096;  // that have begun some lately
    // Between two looks at all of them for those that rest: a flood must not pay for one with each
    // connection.
    static constexpr std::chrono::milliseconds kSweepEvery{100};

    explicit HandshakeBudget(const Limits& limits)
        : whole_(limits.tls_handshakes_a_second, limits.tls_handshakes_at_once) {}

    // `source`: see source.h.
    bool take(const std::string& source, Budget::Clock::time_point now) {
        if (sources_.size() >= kSourcesMax && now >= next_sweep_) {
            std::erase_if(sources_, [&](const auto& one) { return one.second.is_whole(now); });
            next_sweep_ = now + kSweepEvery;
        }
        if (sources_.size() >= kSourcesMax && !sources_.contains(source)) return false;
        return sources_.try_emplace(source, whole_).first->second.take_if_free(now);
    }

  private:
    const Budget whole_;
    std::map<std::string, Budget> sources_;
    Budget::Clock::time_point next_sweep_{};
};

}  // namespace vern::api
