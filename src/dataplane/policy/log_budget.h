// How many decisions a worker logs: so many of whoever sent the packets in any case, and of all together as
// many as make a log and not a flood. So nobody who is denied often keeps others' denials out of the log.
//
// Each share is one number, the moment at which it is full again (GCRA, ITU-T I.371). Up to 256 peers have
// one each; where there are more, those whose serials are 256 apart have one together.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "crypto/instant.h"

namespace vern::policy {

inline constexpr unsigned kLogRecordsPerSecond = 100;  // of all peers, and as many at once
inline constexpr unsigned kLogRecordsOfPeer = 3;       // at once, before it takes from what is all peers'
inline constexpr std::size_t kLogShares = 256;

class LogBudget {
  public:
    // `sender`: the serial of the peer that the packet's source is of; 0: of this side. False: one too many.
    bool take(std::uint64_t sender, Instant now) noexcept {
        constexpr Duration kSecond = std::chrono::seconds(1);
        Instant& share = sender == 0 ? own_ : shares_[sender % kLogShares];
        return take(share, kSecond, kLogRecordsOfPeer, now) ||
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
    Instant own_{};
    std::array<Instant, kLogShares> shares_{};
};

}  // namespace vern::policy
