// Which peers may hold sessions: every peer, or, where a proof of identity is asked of them, those that have
// given one; and until when that holds. Control makes them anew whenever a proof comes or ends. Values; any
// thread.
#pragma once

#include <algorithm>
#include <vector>

#include "crypto/instant.h"
#include "crypto/keys.h"

namespace vern {

struct Admission {
    bool asks_all = false;            // of every peer; else of those in `asked`
    std::vector<PublicKey> asked;     // sorted (set_admission() does)
    std::vector<PublicKey> admitted;  // sorted: those that have given it

    bool admits(const PublicKey& peer) const noexcept {
        return (!asks_all && !std::ranges::binary_search(asked, peer)) ||
               std::ranges::binary_search(admitted, peer);
    }
};

// Until when a peer's identity may be taken for granted; Instant::max(): no such time.
struct IdentityLimit {
    PublicKey peer;
    Instant until{};
};

}  // namespace vern
