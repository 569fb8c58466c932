// The vector type of the AVX2 kernel: 8 lanes of 32 bits, or 4 of 64. See aead_lanes_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "crypto/aead_secrets.h"
#include "crypto/poly1305_beside.h"
#include "crypto/poly1305_chains.h"
#include "crypto/quarter_rounds_avx2.h"

namespace vern::aead {
namespace {

struct Avx2 {
    static constexpr int kLanes = 8;
    static constexpr int kWide = 4;
    static constexpr int kMinimumForLanes = 3;
    // Poly1305 beside ChaCha20, of messages at least so long: for shorter ones the start and the end weigh
    // more, and lanes share these.
    using Beside = Poly1305Beside;
    static constexpr std::uint32_t kBesideFromBytes = 256;
    // Of a message by itself, from this length on: faster than its blocks in four lanes of 26-bit limbs.
    using Along = Poly1305Chains;
    static constexpr std::uint32_t kAlongFromBytes = 400;
    // What passes, and what they call, have of the stack.
    static constexpr std::size_t kStackBytes = 2048;
    using U32 = __m256i;
    using U64 = __m256i;
    using Mask = __m256i;  // all ones where set

    [[gnu::always_inline]] static __m256i load(const void* from) {
        return _mm256_loadu_si256(static_cast<const __m256i*>(from));
    }
    [[gnu::always_inline]] static void store(void* to, __m256i x) {
        _mm256_storeu_si256(static_cast<__m256i*>(to), x);
    }

    [[gnu::always_inline]] static U32 load32(const std::uint32_t* from) { return load(from); }
    [[gnu::always_inline]] static void store32(std::uint32_t* to, U32 x) { store(to, x); }
    [[gnu::always_inline]] static U32 set32(std::uint32_t x) {
        return _mm256_set1_epi32(static_cast<int>(x));
    }
    [[gnu::always_inline]] static U32 add32(U32 a, U32 b) { return _mm256_add_epi32(a, b); }
    [[gnu::always_inline]] static U32 xor32(U32 a, U32 b) { return _mm256_xor_si256(a, b); }
    // By whole bytes one shuffle does it.
    template <int N>
    [[gnu::always_inline]] static U32 rotate32(U32 x) {
        if constexpr (N == 16 || N == 8)
            return _mm256_shuffle_epi8(x, load(N == 16 ? QuarterRounds::kRotate16 : QuarterRounds::kRotate8));
        else
            return _mm256_or_si256(_mm256_slli_epi32(x, N), _mm256_srli_epi32(x, 32 - N));
    }
    // A group has no more than kLanes messages.
    [[gnu::always_inline]] static U32 lookup32(const std::uint32_t (&table)[16], U32 which) {
        return _mm256_permutevar8x32_epi32(load(table), which);
    }
    // The ten double rounds of ChaCha20: columns, then diagonals. Row c of the state is in memory: it would
    // be in registers for two additions a quarter round only, and without it there are four for what quarter
    // rounds hold meanwhile. A compiler asked to fit 16 words and what rotations need into 16 registers puts
    // words away in the middle of chains, also where these are in an array: hence the names.
    //
    // The vector units are busy for three quarters of the time: dependent instructions meet at the same port.
    // Blocks of Poly1305 beside them fill some of the rest: three a double round, spread over all ten, since
    // each one more costs more than the one before.
    template <class Meanwhile>
    [[gnu::always_inline]] static void chacha20_rounds(U32 (&x)[16], Meanwhile& meanwhile) {
        U32 a0 = x[0], a1 = x[1], a2 = x[2], a3 = x[3];
        U32 b0 = x[4], b1 = x[5], b2 = x[6], b3 = x[7];
        U32 c0 = x[8], c1 = x[9], c2 = x[10], c3 = x[11];
        U32 d0 = x[12], d1 = x[13], d2 = x[14], d3 = x[15];
        const auto double_round = [&](auto pair) __attribute__((always_inline)) {
            pair(0, a1, b1, c1, d1, a0, b0, c0, d0);
            pair(1, a3, b3, c3, d3, a2, b2, c2, d2);
            pair(2, a1, b2, c3, d0, a0, b1, c2, d3);
            pair(3, a3, b0, c1, d2, a2, b3, c0, d1);
        };
        int done = 0;
        if constexpr (requires { meanwhile.turns(5); }) {
            const int turns = meanwhile.turns(5);
            auto first = meanwhile.cursor(0), second = meanwhile.cursor(1);
            // Copies, to be found by the stack pointer: no register is left for a pointer to them.
            Poly1305Key keys[] = {meanwhile.key(0), meanwhile.key(1)};
            const auto with_blocks = [&](int begin) __attribute__((always_inline)) {
                double_round([&](int i, auto&... words) __attribute__((always_inline)) {
                    const int which = (begin + i) % 2;
                    if (i < 3)
                        QuarterRounds::with_block(keys[which], which == 0 ? first : second, words...);
                    else
                        QuarterRounds::alone(words...);
                });
            };
            for (; done < 2 * turns; done += 2) {
                with_blocks(0);
                with_blocks(1);
            }
            meanwhile.keep(0, first);
            meanwhile.keep(1, second);
            wipe_secrets(keys, sizeof keys);
        }
        for (; done < 10; ++done)
            double_round([](int, auto&... words)
                             __attribute__((always_inline)) { QuarterRounds::alone(words...); });
        x[0] = a0, x[1] = a1, x[2] = a2, x[3] = a3;
        x[4] = b0, x[5] = b1, x[6] = b2, x[7] = b3;
        x[8] = c0, x[9] = c1, x[10] = c2, x[11] = c3;
        x[12] = d0, x[13] = d1, x[14] = d2, x[15] = d3;
    }
    template <int N>
    [[gnu::always_inline]] static U32 turn32(U32 x) {
        return _mm256_shuffle_epi32(x, N == 1 ? 0x39 : N == 2 ? 0x4e : 0x93);
    }
    [[gnu::always_inline]] static U32 gather128(const std::byte* const* from) {
        const auto half = [](const std::byte* p) {
            return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        };
        return _mm256_inserti128_si256(_mm256_castsi128_si256(half(from[0])), half(from[1]), 1);
    }
    [[gnu::always_inline]] static void transpose32(U32 (&x)[8]) {
        U32 t[8];
        for (int i = 0; i < 8; i += 4) {
            const U32 a = _mm256_unpacklo_epi32(x[i], x[i + 1]), b = _mm256_unpackhi_epi32(x[i], x[i + 1]);
            const U32 c = _mm256_unpacklo_epi32(x[i + 2], x[i + 3]),
                      d = _mm256_unpackhi_epi32(x[i + 2], x[i + 3]);
            t[i] = _mm256_unpacklo_epi64(a, c);
            t[i + 1] = _mm256_unpackhi_epi64(a, c);
            t[i + 2] = _mm256_unpacklo_epi64(b, d);
            t[i + 3] = _mm256_unpackhi_epi64(b, d);
        }
        for (int i = 0; i < 4; ++i) {
            x[i] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x20);
            x[i + 4] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x31);
        }
    }
    [[gnu::always_inline]] static void transpose128(U32 (&x)[4]) {
        const U32 a = _mm256_permute2x128_si256(x[0], x[1], 0x20),
                  b = _mm256_permute2x128_si256(x[2], x[3], 0x20),
                  c = _mm256_permute2x128_si256(x[0], x[1], 0x31),
                  d = _mm256_permute2x128_si256(x[2], x[3], 0x31);
        x[0] = a;
        x[1] = b;
        x[2] = c;
        x[3] = d;
    }

    [[gnu::always_inline]] static U32 load_bytes(const std::byte* from) { return load(from); }
    [[gnu::always_inline]] static void store_bytes(std::byte* to, U32 x) { store(to, x); }
    // By halves: messages are mostly padded to whole blocks of Poly1305.
    static U32 load_bytes(const std::byte* from, std::size_t count) {
        if (count < 16) return _mm256_zextsi128_si256(load_some(from, count));
        const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
        return count == 16 ? _mm256_zextsi128_si256(low)
                           : _mm256_set_m128i(load_some(from + 16, count - 16), low);
    }
    static void store_bytes(std::byte* to, U32 x, std::size_t count) {
        if (count < 16) return store_some(to, _mm256_castsi256_si128(x), count);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(x));
        if (count > 16) store_some(to + 16, _mm256_extracti128_si256(x, 1), count - 16);
    }

    [[gnu::always_inline]] static U64 words(U32 x) { return x; }
    [[gnu::always_inline]] static void low_and_high(U32 a, U32 b, U64& low, U64& high) {
        low = _mm256_unpacklo_epi64(a, b);
        high = _mm256_unpackhi_epi64(a, b);
    }
    [[gnu::always_inline]] static U64 load64(const std::uint64_t* from) { return load(from); }
    [[gnu::always_inline]] static void store64(std::uint64_t* to, U64 x) { store(to, x); }
    [[gnu::always_inline]] static U64 set64(std::uint64_t x) {
        return _mm256_set1_epi64x(static_cast<long long>(x));
    }
    [[gnu::always_inline]] static U64 add64(U64 a, U64 b) { return _mm256_add_epi64(a, b); }
    [[gnu::always_inline]] static U64 and64(U64 a, U64 b) { return _mm256_and_si256(a, b); }
    [[gnu::always_inline]] static U64 or64(U64 a, U64 b) { return _mm256_or_si256(a, b); }
    template <int N>
    [[gnu::always_inline]] static U64 right64(U64 x) {
        return _mm256_srli_epi64(x, N);
    }
    template <int N>
    [[gnu::always_inline]] static U64 left64(U64 x) {
        return _mm256_slli_epi64(x, N);
    }
    [[gnu::always_inline]] static U64 multiply32(U64 a, U64 b) { return _mm256_mul_epu32(a, b); }
    [[gnu::always_inline]] static U64 widen(const std::uint32_t* from) {
        return _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    }
    // Of numbers below 2^63.
    [[gnu::always_inline]] static Mask greater(U64 a, U64 b) { return _mm256_cmpgt_epi64(a, b); }
    [[gnu::always_inline]] static U64 select(Mask where, U64 yes, U64 no) {
        return _mm256_blendv_epi8(no, yes, where);
    }
    [[gnu::always_inline]] static void load_columns(U64 (&x)[4], const std::byte* const (&rows)[4],
                                                    std::size_t at) {
        for (int half = 0; half < 2; ++half, at += 16) {
            const auto load = [&](int row) {
                return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + at));
            };
            const auto pair = [&](int row) {
                return _mm256_inserti128_si256(_mm256_castsi128_si256(load(row)), load(row + 2), 1);
            };
            const U64 even = pair(0), odd = pair(1);
            x[2 * half] = _mm256_unpacklo_epi64(even, odd);
            x[2 * half + 1] = _mm256_unpackhi_epi64(even, odd);
        }
    }

  private:
    static __m128i load_some(const std::byte* from, std::size_t count) {
        alignas(16) std::byte bytes[16] = {};
        __builtin_memcpy(bytes, from, count);
        return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
    }
    static void store_some(std::byte* to, __m128i x, std::size_t count) {
        alignas(16) std::byte bytes[16];
        _mm_store_si128(reinterpret_cast<__m128i*>(bytes), x);
        __builtin_memcpy(to, bytes, count);
    }
};

}  // namespace
}  // namespace vern::aead
