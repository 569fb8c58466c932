// How long a worker waits before its next turn, so that small packets come in batches: what NICs do with
// interrupt moderation. Each system call, AEAD pass and UDP_SEGMENT send then serves many packets instead of
// one or two.
//
// The rule: wait only when the rate at which packets came promises at least four more within the longest
// wait, and only after a turn that was not full anyway. So an idle ping, a request and its answer, or a turn
// of one packet waits for nothing, and a stream of full superpackets does not either (its turns are full).
// The delay that this can add to a packet is bounded by kLongest, once at each end of the tunnel.
//
// Pure arithmetic over times that are handed in. One object a worker.
#pragma once

#include <algorithm>
#include <cstddef>

#include "crypto/instant.h"

namespace vern {

class Pacing {
  public:
    static constexpr Duration kLongest = std::chrono::microseconds(50);
    static constexpr std::size_t kFullTurn =
        32;  // packets, counted as they are on the wire: half of what one UDP_SEGMENT send takes
    static constexpr std::size_t kWorthWaitingFor = 4;

    // After a turn that moved `packets` and began at `now`. Zero: go on at once.
    Duration pause_after(std::size_t packets, Instant now) noexcept {
        const Duration since_last = std::max(now - last_turn_, Duration(1));
        last_turn_ = now;
        if (packets < 2 || packets >= kFullTurn) return Duration::zero();
        const auto expected = packets * static_cast<std::size_t>(kLongest.count()) /
                              static_cast<std::size_t>(since_last.count());
        return expected >= kWorthWaitingFor ? kLongest : Duration::zero();
    }

  private:
    Instant last_turn_{};
};

}  // namespace vern
