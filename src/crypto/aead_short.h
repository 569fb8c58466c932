// ChaCha20-Poly1305 of one short message, which comes by itself: an echo, an answer, the first packet after a
// pause. The code for trains would be as fast, but it is tens of kilobytes that lie far away by then, and
// fetching them takes longer than running them: this is small, and touches little. One block's rows are in
// the halves of two vectors, block 0 (the Poly1305 key) and up to three of data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "crypto/aead.h"
#include "crypto/aead_secrets.h"
#include "crypto/chacha20_lanes.h"
#include "crypto/poly1305_scalar.h"

namespace vern::aead {
namespace {

class ShortMessage {
  public:
    static constexpr std::uint32_t kBytesMax = 3 * kBlockBytes;

    static void seal(const SealJob& job) noexcept {
        seal_it(job);
        wipe_left_behind<kStackBytes>();
    }
    static void open(OpenJob& job) noexcept {
        open_it(job);
        wipe_left_behind<kStackBytes>();
    }

  private:
    // What seal_it() and open_it() have of the stack, where vectors have 16 bytes.
    static constexpr std::size_t kStackBytes = 1280;

    typedef std::uint32_t Rows __attribute__((vector_size(32)));  // one row of two blocks
    typedef std::uint8_t Bytes __attribute__((vector_size(32)));
    typedef std::uint64_t Words __attribute__((vector_size(16)));

    struct Secrets {
        alignas(32) std::byte stream[4][kBlockBytes];
        Poly1305Scalar poly;
        std::uint64_t tag[2];
    };
    struct Pair {  // of blocks
        Rows a, b, c, d;
    };

    [[gnu::noinline]] static void seal_it(const SealJob& job) noexcept {
        Secrets secret;
        start(secret, job.key, job.counter);
        apply(secret, job.plain, job.sealed, job.length);
        authenticate(secret, job.sealed, job.length);
        std::memcpy(job.sealed + job.length, secret.tag, kTagBytes);
        wipe_secrets(&secret, sizeof secret);
    }
    [[gnu::noinline]] static void open_it(OpenJob& job) noexcept {
        Secrets secret;
        start(secret, job.key, job.counter);
        authenticate(secret, job.sealed, job.length);
        std::uint64_t claimed[2];
        std::memcpy(claimed, job.sealed + job.length, kTagBytes);
        job.authentic = declassified(((secret.tag[0] ^ claimed[0]) | (secret.tag[1] ^ claimed[1])) == 0);
        if (job.authentic)
            apply(secret, job.sealed, job.sealed, job.length);
        else
            std::memset(job.sealed, 0, job.length);
        wipe_secrets(&secret, sizeof secret);
    }

    // Vectors go by reference: by value they would be part of an ABI that not every target has.
    template <int N>
    [[gnu::always_inline]] static void rotate(Rows& x) {
#ifdef __AVX2__
        const Bytes bytes = Bytes(x);
        if constexpr (N == 16) {
            x = Rows(__builtin_shufflevector(bytes, bytes, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12,
                                             13, 18, 19, 16, 17, 22, 23, 20, 21, 26, 27, 24, 25, 30, 31, 28,
                                             29));
            return;
        } else if constexpr (N == 8) {
            x = Rows(__builtin_shufflevector(bytes, bytes, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13,
                                             14, 19, 16, 17, 18, 23, 20, 21, 22, 27, 24, 25, 26, 31, 28, 29,
                                             30));
            return;
        }
#endif
        x = x << N | x >> (32 - N);
    }
    // Word w + N of a row becomes word w.
    template <int N>
    [[gnu::always_inline]] static void turn(Rows& x) {
        x = __builtin_shufflevector(x, x, N, (N + 1) % 4, (N + 2) % 4, (N + 3) % 4, N + 4, (N + 1) % 4 + 4,
                                    (N + 2) % 4 + 4, (N + 3) % 4 + 4);
    }

    template <int First, int Second>
    [[gnu::always_inline]] static void half_quarter(Pair& x) {
        x.a += x.b;
        x.d ^= x.a;
        rotate<First>(x.d);
        x.c += x.d;
        x.b ^= x.c;
        rotate<Second>(x.b);
    }
    [[gnu::always_inline]] static void round(Pair& x) {
        half_quarter<16, 12>(x);
        half_quarter<8, 7>(x);
    }
    [[gnu::always_inline]] static void double_round(Pair& x) {
        round(x);
        turn<1>(x.b);
        turn<2>(x.c);
        turn<3>(x.d);
        round(x);
        turn<3>(x.b);
        turn<2>(x.c);
        turn<1>(x.d);
    }
    // Both blocks' words, in their order.
    [[gnu::always_inline]] static void put(const Pair& x, std::byte* to) {
        const Rows first[4] = {__builtin_shufflevector(x.a, x.b, 0, 1, 2, 3, 8, 9, 10, 11),
                               __builtin_shufflevector(x.c, x.d, 0, 1, 2, 3, 8, 9, 10, 11),
                               __builtin_shufflevector(x.a, x.b, 4, 5, 6, 7, 12, 13, 14, 15),
                               __builtin_shufflevector(x.c, x.d, 4, 5, 6, 7, 12, 13, 14, 15)};
        std::memcpy(to, first, sizeof first);
    }

    // The keystream, and the Poly1305 key from its first block.
    [[gnu::always_inline]] static void start(Secrets& secret, const std::byte* key, std::uint64_t counter) {
        std::uint32_t k[8];
        std::memcpy(k, key, sizeof k);
        const auto low = static_cast<std::uint32_t>(counter),
                   high = static_cast<std::uint32_t>(counter >> 32);
        const Pair begin = {
            {kSigma[0], kSigma[1], kSigma[2], kSigma[3], kSigma[0], kSigma[1], kSigma[2], kSigma[3]},
            {k[0], k[1], k[2], k[3], k[0], k[1], k[2], k[3]},
            {k[4], k[5], k[6], k[7], k[4], k[5], k[6], k[7]},
            {0, 0, low, high, 1, 0, low, high}};
        const Rows two = {2, 0, 0, 0, 2, 0, 0, 0};
        Pair x = begin, y = begin;
        y.d += two;
#pragma GCC unroll 1
        for (int i = 0; i < 10; ++i) {
            double_round(x);
            double_round(y);
        }
        put({x.a + begin.a, x.b + begin.b, x.c + begin.c, x.d + begin.d}, secret.stream[0]);
        put({y.a + begin.a, y.b + begin.b, y.c + begin.c, y.d + begin.d + two}, secret.stream[2]);
        std::uint64_t r[2];
        std::memcpy(r, secret.stream[0], sizeof r);
        secret.poly.start(r[0], r[1]);
    }

    [[gnu::always_inline]] static void apply(const Secrets& secret, const std::byte* from, std::byte* to,
                                             std::uint32_t length) {
        const std::byte* stream = secret.stream[1];
        std::uint32_t at = 0;
#pragma GCC unroll 1
        for (; at + 16 <= length; at += 16) {
            Words text, mask;
            std::memcpy(&text, from + at, 16);
            std::memcpy(&mask, stream + at, 16);
            text ^= mask;
            std::memcpy(to + at, &text, 16);
        }
#pragma GCC unroll 1
        for (; at < length; ++at) to[at] = from[at] ^ stream[at];
    }

    [[gnu::always_inline]] static void authenticate(Secrets& secret, const std::byte* text,
                                                    std::uint32_t length) {
        Poly1305Scalar poly = secret.poly;
        const std::byte* const end = text + length;
#pragma GCC unroll 1
        for (; end - text >= 16; text += 16) poly.block(text);
        if (end != text) poly.last_bytes(text, static_cast<std::size_t>(end - text));
        poly.block(0, length);
        std::uint64_t s[2];
        std::memcpy(s, secret.stream[0] + 16, sizeof s);
        poly.finish(s[0], s[1], secret.tag[0], secret.tag[1]);
    }
};

}  // namespace
}  // namespace vern::aead
