// The key types of the protocol and their text forms: base64 for people and files, hex for the UAPI. Text
// forms are encoded and decoded in constant time, because private and preshared keys pass through them.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/secret.h"

namespace vern {

inline constexpr std::size_t kKeyBytes = 32;

struct PublicKey {
    std::array<std::byte, kKeyBytes> bytes{};
    bool is_zero() const noexcept { return *this == PublicKey{}; }
    friend auto operator<=>(const PublicKey&, const PublicKey&) = default;
};
// Of keys that an operator has given: nobody else chooses what meets in a table.
struct PublicKeyHash {
    std::size_t operator()(const PublicKey& key) const noexcept {
        std::size_t hash;
        std::memcpy(&hash, key.bytes.data(), sizeof hash);
        return hash;
    }
};

using PrivateKey = Secret<kKeyBytes>;    // X25519 scalar, clamped
using PresharedKey = Secret<kKeyBytes>;  // all zero: none
using SharedSecret = Secret<kKeyBytes>;  // X25519 result
using SymmetricKey = Secret<kKeyBytes>;  // ChaCha20-Poly1305

// 44 characters with '=' at the end / 64 lower-case digits. Decoding takes exactly that many characters (hex
// of either case), and for base64 refuses non-canonical trailing bits, so a key has one spelling.
std::string to_base64(std::span<const std::byte, kKeyBytes> key);
std::string to_hex(std::span<const std::byte, kKeyBytes> key);
bool from_base64(std::string_view text, std::span<std::byte, kKeyBytes> key) noexcept;
bool from_hex(std::string_view text, std::span<std::byte, kKeyBytes> key) noexcept;

// RFC 7748 clamping, in place.
void clamp(PrivateKey& key) noexcept;

}  // namespace vern
