// ChaCha20-Poly1305 (RFC 8439) by the train: one call seals or opens many messages, of one key or of several.
// The nonce is WireGuard's: 32 zero bits, then the 64-bit little-endian counter. No associated data: data
// messages have none (handshakes use noise.h).
//
// Threads: an Implementation is immutable and may be used from every thread at once. Nothing here allocates
// after a thread's first call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "crypto/messages.h"

namespace vern::aead {

// A train's key. 32 bytes, owned by the session, alive for the call.
using KeyBytes = std::span<const std::byte, 32>;

struct SealJob {
    const std::byte* key;   // 32 bytes
    std::uint64_t counter;  // never used twice under one key: the caller's promise
    // The plaintext from byte `front` on. What is in front of that the caller has put where it is sealed:
    // headers that were written for this message, say, of bytes that stay where they are. May be
    // sealed + front (all in place), and must not overlap what is sealed otherwise.
    const std::byte* plain;
    std::byte* sealed;        // `length` + kTagBytes bytes: ciphertext, then tag
    std::uint32_t length;     // bytes of plaintext, 0 to 65535
    std::uint32_t front = 0;  // bytes; a multiple of 64, at most `length`
};

struct OpenJob {
    const std::byte* key;  // 32 bytes
    std::uint64_t counter;
    std::byte* sealed;     // `length` + kTagBytes bytes; opened in place: on success the first `length` bytes
                           // are the plaintext
    std::uint32_t length;  // bytes of plaintext, 0 to 65535
    bool authentic;        // out: the tag was right. If not, the first `length` bytes were wiped.
};

struct Implementation {
    std::string_view name;         // "openssl", "libsodium", ...: what `vern show` prints and --aead takes
    std::string_view description;  // one line for people
    bool (*supported)() noexcept;  // by this CPU
    void (*seal)(std::span<const SealJob> train) noexcept;
    void (*open)(std::span<OpenJob> train) noexcept;
};

// Every implementation in this build, best first.
std::span<const Implementation* const> implementations() noexcept;
// By name, or nullptr; also nullptr when this CPU cannot run it.
const Implementation* find(std::string_view name) noexcept;
// The first one that this CPU supports; the build option `aead` may put one in front.
const Implementation& best() noexcept;

}  // namespace vern::aead
