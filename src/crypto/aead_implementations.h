// The implementations that aead.cpp chooses from, and what tests want of them beyond trains.
#pragma once

#include <array>
#include <bit>
#include <cstring>

#include "crypto/aead.h"
#include "crypto/handshake_aead.h"

namespace vern::aead {

using Nonce = std::array<std::byte, kAeadNonceBytes>;

// Four zero bytes, then the counter.
inline Nonce nonce_of(std::uint64_t counter) noexcept {
    struct {
        Le32 zero;
        Le64 counter;
    } nonce{0, counter};
    static_assert(sizeof nonce == kAeadNonceBytes);
    return std::bit_cast<Nonce>(nonce);
}

// For implementations that take a message in one piece: where that is, put together if it has two.
inline const std::byte* whole_plaintext(const SealJob& job) noexcept {
    if (job.front == 0) return job.plain;
    std::byte* const rest = job.sealed + job.front;
    if (job.front < job.length && job.plain != rest) std::memcpy(rest, job.plain, job.length - job.front);
    return job.sealed;
}

// Own kernels (aead_train.h), for the CPUs that have them.
bool cpu_has_avx512ifma() noexcept;
bool cpu_has_avx512() noexcept;
bool cpu_has_avx2() noexcept;
bool cpu_prefers_two_states() noexcept;
extern const Implementation kAvx512Ifma;
extern const Implementation kAvx512IfmaX2;
extern const Implementation kAvx512;
extern const Implementation kAvx2;
extern const Implementation kAvx2x2;
extern const Implementation kNeon;
extern const Implementation kPortable;

extern const Implementation kOpenssl;
extern const Implementation kLibsodium;
#if defined(VERN_NULL_CIPHER)
extern const Implementation kNull;  // bench/net/null_cipher.cpp
#endif

// The message function under kOpenssl's trains, with any nonce and associated data, so that published vectors
// reach it. (kLibsodium's is in handshake_aead.h.) False: not authentic, and `plain` was wiped; or, when
// sealing, OpenSSL failed and `sealed` was wiped.
[[nodiscard]] bool openssl_seal(std::span<std::byte> sealed, KeyBytes key,
                                std::span<const std::byte, kAeadNonceBytes> nonce,
                                std::span<const std::byte> associated,
                                std::span<const std::byte> plain) noexcept;
[[nodiscard]] bool openssl_open(std::span<std::byte> plain, KeyBytes key,
                                std::span<const std::byte, kAeadNonceBytes> nonce,
                                std::span<const std::byte> associated,
                                std::span<const std::byte> sealed) noexcept;

}  // namespace vern::aead
