// mac1, mac2 and cookies: what a handshake message must carry before it may cost the receiver an X25519
// (WireGuard paper, section 5.4.4 and 5.4.7). mac1 proves knowledge of the receiver's public key; mac2, asked
// for under load, that the source address is real. No clock and no randomness of its own. Threads: the caller
// has each object to itself (const functions may run side by side).
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>

#include "crypto/keys.h"
#include "crypto/messages.h"

namespace vern {

using Cookie = Secret<kCookieBytes>;

// A source as the cookie sees it: address *and* port (a cookie for one NAT client must not serve its
// neighbours): 4 or 16 address bytes in network order, then 2 port bytes.
struct CookieSource {
    std::array<std::byte, 18> bytes{};
    std::size_t length = 0;
};

// The two keys that come from a public key: H("mac1----" || key) and H("cookie--" || key).
struct MacKeys {
    Secret<32> mac1;
    Secret<32> cookie;
    static MacKeys of(const PublicKey& receiver) noexcept;
};

enum class MacState { invalid, valid_without_cookie, valid_with_cookie };

// Receiver's side.
class CookieChecker {
  public:
    explicit CookieChecker(const PublicKey& us) noexcept;

    // The message whole: an initiation, a response, macs at its end. mac2 is looked at only when mac1 is
    // right and a secret is live.
    MacState check(std::span<const std::byte> message, const CookieSource& source,
                   Instant now) const noexcept;

    // True when the secret behind the cookies is older than 120 s (or there is none): call renew with 32
    // random bytes, then reply.
    bool needs_renewal(Instant now) const noexcept;
    void renew(std::span<const std::byte, 32> randomness, Instant now) noexcept;

    // `message` is what is answered (its mac1 is the associated data), `index` its sender's index, `nonce` 24
    // random bytes.
    MessageCookieReply reply(std::span<const std::byte> message, std::uint32_t index,
                             const CookieSource& source,
                             std::span<const std::byte, kCookieNonceBytes> nonce) const noexcept;

  private:
    Cookie cookie_of(const CookieSource& source) const noexcept;
    MacKeys keys_;
    Secret<32> secret_;
    std::optional<Instant> secret_born_;
};

// Sender's side, one a peer: fills macs, keeps the cookie that the peer sent.
class CookieJar {
  public:
    // Writes mac1 and mac2 (zero without a live cookie) at the end of `message` and remembers mac1, which a
    // cookie reply must answer. `peer` are the keys of the receiver's public key.
    void add_macs(std::span<std::byte> message, const MacKeys& peer, Instant now) noexcept;

    // True when the reply answers the last message sent and is authentic. Each mac1 takes one reply. Changes
    // nothing else: no endpoint moves.
    bool consume(const MessageCookieReply& reply, const MacKeys& peer, Instant now) noexcept;

  private:
    std::array<std::byte, kMacBytes> last_mac1_{};
    bool awaiting_ = false;
    Cookie cookie_;
    std::optional<Instant> cookie_born_;
};

}  // namespace vern
