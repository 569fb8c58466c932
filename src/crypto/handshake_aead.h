// AEADs with associated data, one message a call, for handshakes and cookies; data messages go through
// aead.h. By libsodium: no context, no allocation, nothing that can fail but the tag, and no worse than
// OpenSSL at these sizes.
//
// Threads: any. `sealed` is as long as `plain` and a tag; `plain` may be the front of `sealed`, and must not
// overlap it otherwise.
#pragma once

#include <cstddef>
#include <span>

#include "crypto/messages.h"
#include "crypto/secret.h"

namespace vern {

// ChaCha20-Poly1305 (RFC 8439).
inline constexpr std::size_t kAeadNonceBytes = 12;
void chacha20poly1305_seal(std::span<std::byte> sealed, std::span<const std::byte, 32> key,
                           std::span<const std::byte, kAeadNonceBytes> nonce,
                           std::span<const std::byte> associated, std::span<const std::byte> plain) noexcept;
// False: not authentic (also when `sealed` is shorter than a tag), and `plain` was wiped.
[[nodiscard]] bool chacha20poly1305_open(std::span<std::byte> plain, std::span<const std::byte, 32> key,
                                         std::span<const std::byte, kAeadNonceBytes> nonce,
                                         std::span<const std::byte> associated,
                                         std::span<const std::byte> sealed) noexcept;

// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): a nonce long enough to be random.
void xchacha20poly1305_seal(std::span<std::byte> sealed, std::span<const std::byte, 32> key,
                            std::span<const std::byte, kCookieNonceBytes> nonce,
                            std::span<const std::byte> associated, std::span<const std::byte> plain) noexcept;
[[nodiscard]] bool xchacha20poly1305_open(std::span<std::byte> plain, std::span<const std::byte, 32> key,
                                          std::span<const std::byte, kCookieNonceBytes> nonce,
                                          std::span<const std::byte> associated,
                                          std::span<const std::byte> sealed) noexcept;

}  // namespace vern
