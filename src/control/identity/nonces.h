// What a peer must sign, so that a statement that was seen once proves nothing again. A nonce is for the peer
// that it was given to, once, and not for long. Control thread only.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <iterator>
#include <list>
#include <map>

#include "control/trust/statement.h"
#include "crypto/instant.h"
#include "crypto/keys.h"
#include "dataplane/base/random.h"

namespace vern::identity {

class Nonces {
  public:
    using Nonce = std::array<std::byte, trust::kNonceBytes>;
    // One more takes the place of the peer's oldest: who asks in a loop shortens nobody's time but his own.
    static constexpr std::size_t kOfPeerMax = 4;
    static constexpr std::size_t kMost = 1 << 16;                 // of so many peers: the oldest of all goes
    static constexpr Duration kLife = std::chrono::seconds(120);  // somebody types a passphrase meanwhile

    explicit Nonces(Random& random) : random_(random) {}

    Nonce give(const PublicKey& peer, Instant now) {
        while (!open_.empty() && open_.front().ends <= now) forget(open_.begin());
        if (const auto own = of_peer_.find(peer); own != of_peer_.end() && own->second.size() >= kOfPeerMax)
            forget(own->second.front());
        else if (open_.size() >= kMost)
            forget(open_.begin());
        Nonce nonce;
        random_.fill(nonce);
        open_.push_back({peer, nonce, now + kLife});
        of_peer_[peer].push_back(std::prev(open_.end()));
        return nonce;
    }

    // True once for each that was given.
    bool take(const PublicKey& peer, const Nonce& nonce, Instant now) {
        const auto own = of_peer_.find(peer);
        if (own == of_peer_.end()) return false;
        const auto at = std::find_if(own->second.begin(), own->second.end(),
                                     [&](const auto& given) { return given->nonce == nonce; });
        if (at == own->second.end()) return false;
        const bool in_time = now < (*at)->ends;
        forget(*at);
        return in_time;
    }

  private:
    struct Given {
        PublicKey peer;
        Nonce nonce;
        Instant ends;
    };
    using Open = std::list<Given>;

    void forget(Open::iterator given) {
        const auto own = of_peer_.find(given->peer);
        std::erase(own->second, given);
        if (own->second.empty()) of_peer_.erase(own);
        open_.erase(given);
    }

    Random& random_;
    Open open_;                                                // oldest first
    std::map<PublicKey, std::deque<Open::iterator>> of_peer_;  // the same
};

}  // namespace vern::identity
