// What a peer must sign, so that a statement that was seen once proves nothing again. A nonce is for the peer
// that it was given to, once, and not for long. Control thread only.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <map>

#include "control/trust/statement.h"
#include "crypto/instant.h"
#include "crypto/keys.h"
#include "dataplane/core/random.h"

namespace vern::identity {

class Nonces {
  public:
    using Nonce = std::array<std::byte, trust::kNonceBytes>;
    static constexpr std::size_t kOfPeerMax = 4;  // one more takes the place of the peer's oldest
    static constexpr std::size_t kMost = 1 << 16;
    static constexpr Duration kLife = std::chrono::seconds(120);  // somebody types a passphrase meanwhile

    explicit Nonces(Random& random) : random_(random) {}

    Nonce give(const PublicKey& peer, Instant now) {
        forget(now);
        if (given_.size() >= kMost) forget_oldest();
        auto& own = of_peer_[peer];
        Nonce nonce;
        random_.fill(nonce);
        own.push_back(nonce);
        given_.push_back({peer, nonce, now + kLife});
        if (own.size() > kOfPeerMax) own.pop_front();
        return nonce;
    }

    // True once for each that was given.
    bool take(const PublicKey& peer, const Nonce& nonce, Instant now) {
        forget(now);
        const auto own = of_peer_.find(peer);
        if (own == of_peer_.end()) return false;
        const auto at = std::find(own->second.begin(), own->second.end(), nonce);
        if (at == own->second.end()) return false;
        own->second.erase(at);
        if (own->second.empty()) of_peer_.erase(own);
        return true;
    }

  private:
    struct Given {
        PublicKey peer;
        Nonce nonce;
        Instant ends;
    };
    void forget(Instant now) {
        while (!given_.empty() && given_.front().ends <= now) forget_oldest();
    }
    void forget_oldest() {
        const Given& oldest = given_.front();
        if (const auto own = of_peer_.find(oldest.peer); own != of_peer_.end()) {
            std::erase(own->second, oldest.nonce);
            if (own->second.empty()) of_peer_.erase(own);
        }
        given_.pop_front();
    }

    Random& random_;
    std::map<PublicKey, std::deque<Nonce>> of_peer_;  // not used yet
    std::deque<Given> given_;                         // oldest first; used ones too
};

}  // namespace vern::identity
