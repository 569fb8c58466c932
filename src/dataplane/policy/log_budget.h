// How many decisions a worker logs: so many of each peer in any case, and of all together as many as make a
// log and not a flood. So nobody who is denied often keeps others' denials out of the log.
//
// Each share is one number, the moment at which it is full again (GCRA, ITU-T I.371).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "crypto/instant.h"

namespace vern::policy {

inline constexpr unsigned kLogRecordsPerSecond = 100;  // of all peers, and as many at once
inline constexpr unsigned kLogRecordsOfPeer = 8;       // at once, before it takes from what is all peers'
inline constexpr std::size_t kLogShares = 256;         // peers whose serials are as many apart have one

class LogBudget {
  public:
    // False: one too many.
    bool take(std::uint64_t peer, Instant now) noexcept {
        constexpr Duration kSecond = std::chrono::seconds(1);
        return take(shares_[peer % kLogShares], kSecond, kLogRecordsOfPeer, now) ||
               take(all_, kSecond / kLogRecordsPerSecond, kLogRecordsPerSecond, now);
    }

  private:
    static bool take(Instant& full_at, Duration cost, unsigned burst, Instant now) noexcept {
        const Instant next = std::max(full_at, now) + cost;
        if (next - now > cost * burst) return false;
        full_at = next;
        return true;
    }
    Instant all_{};
    std::array<Instant, kLogShares> shares_{};
};

}  // namespace vern::policy
