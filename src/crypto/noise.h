// Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard uses it (WireGuard paper, section 5.4), as plain
// functions over a handshake's state. No I/O, no clock, no global state: ephemeral keys and timestamps come
// in as arguments. A function that fails changes nothing but its own output arguments, which then hold
// nothing usable. Macs are not filled in here: see cookie.h.
//
// Threads: no sharing; the caller has the state to itself. An initiator does 3 X25519 (2 with a cached
// static-static secret), a responder 4 (3), about 30-50 us each.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "crypto/keys.h"
#include "crypto/messages.h"

namespace vern::noise {

// What a handshake starts from: the hash of the construction's name, and the hash of that with WireGuard's
// identifier.
inline constexpr std::string_view kConstruction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
inline constexpr std::string_view kIdentifier = "WireGuard v1 zx2c4 Jason@zx2c4.com";
inline constexpr std::array<std::uint8_t, 32> kInitialChainingKey = {
    0x60, 0xe2, 0x6d, 0xae, 0xf3, 0x27, 0xef, 0xc0, 0x2e, 0xc3, 0x35, 0xe2, 0xa0, 0x25, 0xd2, 0xd0,
    0x16, 0xeb, 0x42, 0x06, 0xf8, 0x72, 0x77, 0xf5, 0x2d, 0x38, 0xd1, 0x98, 0x8b, 0x78, 0xcd, 0x36};
inline constexpr std::array<std::uint8_t, 32> kInitialHash = {
    0x22, 0x11, 0xb3, 0x61, 0x08, 0x1a, 0xc5, 0x66, 0x69, 0x12, 0x43, 0xdb, 0x45, 0x8a, 0xd5, 0x32,
    0x2d, 0x9c, 0x6c, 0x66, 0x22, 0x93, 0xe8, 0xb7, 0x0e, 0xe1, 0x9c, 0x65, 0xba, 0x07, 0x9e, 0xf3};

// TAI64N with the low 24 bits of the nanoseconds cleared ("whitened", about 16.8 ms a step), so it tells
// nothing about execution time. Bytes compare as the time does.
struct Timestamp {
    std::array<std::byte, kTimestampBytes> bytes{};
    friend auto operator<=>(const Timestamp&, const Timestamp&) = default;
};
Timestamp timestamp_at(WallTime now) noexcept;
// The smallest whitened timestamp that is greater: what to send when the wall clock stood still or went back.
Timestamp successor(const Timestamp& timestamp) noexcept;

// An interface's own key pair.
struct StaticIdentity {
    PrivateKey private_key;
    PublicKey public_key;
};
StaticIdentity identity_of(const PrivateKey& private_key) noexcept;
PublicKey public_key_of(const PrivateKey& private_key) noexcept;

// X25519. False when the result is all zero (a low-order point), which must be refused.
[[nodiscard]] bool x25519(SharedSecret& shared, const PrivateKey& ours, const PublicKey& theirs) noexcept;

// What both sides carry from one message to the next. Wiped when consumed or given up.
struct SymmetricState {
    Secret<32> hash;
    Secret<32> chaining_key;
    void wipe() noexcept;
};

// The keys of a session, from the point of view of the side that derived them.
struct SessionKeys {
    SymmetricKey sending;
    SymmetricKey receiving;
};

// The initiator's state between its initiation and the response.
struct Initiator {
    SymmetricState symmetric;
    PrivateKey ephemeral;
    void wipe() noexcept;
};

// `static_static` is X25519(our static, their static). Fills everything of `message` but the macs. False: the
// peer's key is of low order.
[[nodiscard]] bool create_initiation(MessageInitiation& message, Initiator& state, const StaticIdentity& us,
                                     const PublicKey& peer, const SharedSecret& static_static,
                                     const PrivateKey& ephemeral, const Timestamp& timestamp,
                                     std::uint32_t sender_index) noexcept;
// Also derives the session's keys. The state stays usable when this fails, so that a forged response cannot
// end a handshake.
[[nodiscard]] bool consume_response(const MessageResponse& message, const Initiator& state,
                                    const StaticIdentity& us, const PresharedKey& preshared_key,
                                    SessionKeys& keys) noexcept;

// The responder's state between opening an initiation and having answered it.
struct Responder {
    SymmetricState symmetric;
    PublicKey peer;  // who says it is speaking: authenticated by open_timestamp, not before
    PublicKey peer_ephemeral;
    std::uint32_t peer_index = 0;
    void wipe() noexcept;
};

// First half of an initiation: learns the peer's static key, at the price of one X25519.
[[nodiscard]] bool open_static(const MessageInitiation& message, Responder& state,
                               const StaticIdentity& us) noexcept;
// Second half: authenticates the peer and gives its timestamp. The caller refuses one that is not greater
// than the last it accepted.
[[nodiscard]] std::optional<Timestamp> open_timestamp(const MessageInitiation& message, Responder& state,
                                                      const SharedSecret& static_static) noexcept;
// Fills everything of `message` but the macs and derives the session's keys. Ends the state.
[[nodiscard]] bool create_response(MessageResponse& message, Responder& state,
                                   const PresharedKey& preshared_key, const PrivateKey& ephemeral,
                                   std::uint32_t sender_index, SessionKeys& keys) noexcept;

}  // namespace vern::noise
