// BLAKE2s (RFC 7693) and what the handshake builds of it: hash, keyed mac, HMAC and the key derivation of the
// WireGuard paper, section 5.4.
//
// Threads: any; each has contexts of its own, allocated by its first call and freed (and wiped) when it ends.
// The contexts forget what they hashed after every call; a mac context keeps its last key, so macs are for
// cookies, and long-lived secrets go through hmac and kdf. Failure: none, except that a thread's first call
// ends the process when OpenSSL has no BLAKE2s or no memory: there is no wrong hash. An output may overlap
// any input.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <span>

#include "crypto/secret.h"

namespace vern::blake2s {

inline constexpr std::size_t kHashBytes = 32;
inline constexpr std::size_t kBlockBytes = 64;

// Inputs that are hashed one behind the other, as if joined.
using Parts = std::initializer_list<std::span<const std::byte>>;

void hash(std::span<std::byte, kHashBytes> out, Parts parts) noexcept;

// BLAKE2s's own keyed mode, 1 to 32 bytes of key. The length of the mac goes into it: the short one is not a
// prefix of the long one.
void mac(std::span<std::byte, 16> out, std::span<const std::byte> key,
         std::span<const std::byte> message) noexcept;
void mac(std::span<std::byte, 32> out, std::span<const std::byte> key,
         std::span<const std::byte> message) noexcept;

// RFC 2104 with BLAKE2s-256. The key has at most 64 bytes: every key of the protocol has 32.
void hmac(std::span<std::byte, kHashBytes> out, std::span<const std::byte> key, Parts parts) noexcept;

// KDF1, KDF2 and KDF3 of the paper: HKDF (RFC 5869) with `key` as salt and no info. An output may be `key`
// itself.
void kdf(const Secret<32>& key, std::span<const std::byte> input, Secret<32>& first) noexcept;
void kdf(const Secret<32>& key, std::span<const std::byte> input, Secret<32>& first,
         Secret<32>& second) noexcept;
void kdf(const Secret<32>& key, std::span<const std::byte> input, Secret<32>& first, Secret<32>& second,
         Secret<32>& third) noexcept;

}  // namespace vern::blake2s
