#include "crypto/cookie.h"

#include <algorithm>
#include <cassert>
#include <string_view>

#include "crypto/blake2s.h"
#include "crypto/handshake_aead.h"

namespace vern {
namespace {

using Bytes = std::span<const std::byte>;
using Mac = std::array<std::byte, kMacBytes>;

// Where the macs are in a message of any type: mac1 covers what is before it, mac2 also covers mac1.
struct MacFields {
    Bytes before_mac1;
    Bytes mac1;
    Bytes before_mac2;
    Bytes mac2;
};
MacFields mac_fields(Bytes message) noexcept {
    assert(message.size() >= sizeof(MessageMacs));
    return {.before_mac1 = message.first(message.size() - 2 * kMacBytes),
            .mac1 = message.last(2 * kMacBytes).first(kMacBytes),
            .before_mac2 = message.first(message.size() - kMacBytes),
            .mac2 = message.last(kMacBytes)};
}

Mac mac_of(Bytes key, Bytes message) noexcept {
    Mac mac;
    blake2s::mac(mac, key, message);
    return mac;
}

bool same(Bytes a, Bytes b) noexcept {
    assert(a.size() == kMacBytes && b.size() == kMacBytes);
    return sodium_memcmp(a.data(), b.data(), kMacBytes) == 0;
}

Secret<32> labelled(std::string_view label, const PublicKey& key) noexcept {
    Secret<32> result;
    blake2s::hash(result.writable(), {std::as_bytes(std::span(label)), key.bytes});
    return result;
}

}  // namespace

MacKeys MacKeys::of(const PublicKey& receiver) noexcept {
    return {.mac1 = labelled("mac1----", receiver), .cookie = labelled("cookie--", receiver)};
}

CookieChecker::CookieChecker(const PublicKey& us) noexcept : keys_(MacKeys::of(us)) {}

Cookie CookieChecker::cookie_of(const CookieSource& source) const noexcept {
    assert(source.length > 0 && source.length <= source.bytes.size());
    Cookie cookie;
    blake2s::mac(cookie.writable(), secret_.span(), Bytes(source.bytes).first(source.length));
    return cookie;
}

MacState CookieChecker::check(Bytes message, const CookieSource& source, Instant now) const noexcept {
    if (message.size() < sizeof(MessageMacs)) return MacState::invalid;
    const MacFields fields = mac_fields(message);
    if (!same(mac_of(keys_.mac1.span(), fields.before_mac1), fields.mac1)) return MacState::invalid;
    if (needs_renewal(now)) return MacState::valid_without_cookie;
    const Cookie cookie = cookie_of(source);
    return same(mac_of(cookie.span(), fields.before_mac2), fields.mac2) ? MacState::valid_with_cookie
                                                                        : MacState::valid_without_cookie;
}

bool CookieChecker::needs_renewal(Instant now) const noexcept {
    return !secret_born_ || now - *secret_born_ > kCookieSecretLifetime;
}

void CookieChecker::renew(std::span<const std::byte, 32> randomness, Instant now) noexcept {
    secret_.assign(randomness);
    secret_born_ = now;
}

MessageCookieReply CookieChecker::reply(Bytes message, std::uint32_t index, const CookieSource& source,
                                        std::span<const std::byte, kCookieNonceBytes> nonce) const noexcept {
    // Without a secret, every source's cookie would be known to all.
    assert(secret_born_);
    MessageCookieReply reply{};
    reply.header.type = static_cast<std::uint32_t>(MessageType::cookie_reply);
    reply.receiver_index = index;
    std::copy(nonce.begin(), nonce.end(), reply.nonce.begin());
    const Cookie cookie = cookie_of(source);
    xchacha20poly1305_seal(reply.encrypted_cookie, keys_.cookie.span(), nonce, mac_fields(message).mac1,
                           cookie.span());
    return reply;
}

void CookieJar::add_macs(std::span<std::byte> message, const MacKeys& peer, Instant now) noexcept {
    assert(message.size() >= sizeof(MessageMacs));
    const auto mac1 = message.last(2 * kMacBytes).first<kMacBytes>();
    const auto mac2 = message.last<kMacBytes>();
    last_mac1_ = mac_of(peer.mac1.span(), mac_fields(message).before_mac1);
    awaiting_ = true;
    std::copy(last_mac1_.begin(), last_mac1_.end(), mac1.begin());

    // The receiver's secret may have been as old as it gets when it made this cookie: the latency is for the
    // way.
    if (cookie_born_ && now - *cookie_born_ >= kCookieSecretLifetime - kCookieSecretLatency) {
        cookie_.wipe();
        cookie_born_.reset();
    }
    Mac with_cookie{};
    if (cookie_born_) with_cookie = mac_of(cookie_.span(), mac_fields(message).before_mac2);
    std::copy(with_cookie.begin(), with_cookie.end(), mac2.begin());
}

bool CookieJar::consume(const MessageCookieReply& reply, const MacKeys& peer, Instant now) noexcept {
    if (!awaiting_ || reply.header.type != static_cast<std::uint32_t>(MessageType::cookie_reply))
        return false;
    Cookie cookie;
    if (!xchacha20poly1305_open(cookie.writable(), peer.cookie.span(), reply.nonce, last_mac1_,
                                reply.encrypted_cookie))
        return false;
    awaiting_ = false;
    cookie_ = std::move(cookie);
    cookie_born_ = now;
    return true;
}

}  // namespace vern
