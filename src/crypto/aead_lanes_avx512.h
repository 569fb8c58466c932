// The vector type of the AVX-512 kernels: 16 lanes of 32 bits, or 8 of 64. See aead_train.h for what a kernel
// asks of such a type.
//
// Everything a kernel is made of lives in unnamed namespaces: files built with different -m flags must never
// share an inline function, or the linker may keep the one that this CPU cannot run.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace vern::aead {
namespace {

struct Avx512 {
    static constexpr int kLanes = 16;           // of 32 bits
    static constexpr int kWide = 8;             // of 64 bits
    static constexpr int kMinimumForLanes = 4;  // messages from which on Poly1305 runs in lanes
    // Length from which on a message by itself has its blocks in lanes.
    static constexpr std::uint32_t kAlongFromBytes = 448;
    // What passes, and what they call, have of the stack.
    static constexpr std::size_t kStackBytes = 1280;
    using U32 = __m512i;
    using U64 = __m512i;
    using Mask = __mmask8;

    [[gnu::always_inline]] static U32 load32(const std::uint32_t* from) { return _mm512_loadu_si512(from); }
    [[gnu::always_inline]] static void store32(std::uint32_t* to, U32 x) { _mm512_storeu_si512(to, x); }
    [[gnu::always_inline]] static U32 set32(std::uint32_t x) {
        return _mm512_set1_epi32(static_cast<int>(x));
    }
    [[gnu::always_inline]] static U32 add32(U32 a, U32 b) { return _mm512_add_epi32(a, b); }
    [[gnu::always_inline]] static U32 xor32(U32 a, U32 b) { return _mm512_xor_si512(a, b); }
    template <int N>
    [[gnu::always_inline]] static U32 rotate32(U32 x) {
        return _mm512_rol_epi32(x, N);
    }
    // Lane i of the result is table[which[i]]: of sixteen words, which are public.
    [[gnu::always_inline]] static U32 lookup32(const std::uint32_t (&table)[16], U32 which) {
        return _mm512_permutexvar_epi32(which, load32(table));
    }
    // Within each group of four lanes: lane i takes lane (i + N) mod 4.
    template <int N>
    [[gnu::always_inline]] static U32 turn32(U32 x) {
        return _mm512_shuffle_epi32(x, static_cast<_MM_PERM_ENUM>(N == 1 ? 0x39 : N == 2 ? 0x4e : 0x93));
    }
    // 16 bytes from each pointer.
    [[gnu::always_inline]] static U32 gather128(const std::byte* const* from) {
        const auto load = [](const std::byte* p) {
            return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        };
        const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(load(from[0])), load(from[1]), 1);
        const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load(from[2])), load(from[3]), 1);
        return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }

    // Rows become columns.
    [[gnu::always_inline]] static void transpose32(U32 (&x)[16]) {
        U32 t[16];
        for (int i = 0; i < 16; i += 4) {
            const U32 a = _mm512_unpacklo_epi32(x[i], x[i + 1]), b = _mm512_unpackhi_epi32(x[i], x[i + 1]);
            const U32 c = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]),
                      d = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);
            t[i] = _mm512_unpacklo_epi64(a, c);
            t[i + 1] = _mm512_unpackhi_epi64(a, c);
            t[i + 2] = _mm512_unpacklo_epi64(b, d);
            t[i + 3] = _mm512_unpackhi_epi64(b, d);
        }
        for (int i = 0; i < 4; ++i) {
            const U32 a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x44),
                      b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xee),
                      c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x44),
                      d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xee);
            x[i] = _mm512_shuffle_i32x4(a, c, 0x88);
            x[i + 4] = _mm512_shuffle_i32x4(a, c, 0xdd);
            x[i + 8] = _mm512_shuffle_i32x4(b, d, 0x88);
            x[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
        }
    }
    // Rows a, b, c, d of four blocks become the four blocks.
    [[gnu::always_inline]] static void transpose128(U32 (&x)[4]) {
        const U32 a = _mm512_shuffle_i32x4(x[0], x[1], 0x44), b = _mm512_shuffle_i32x4(x[0], x[1], 0xee),
                  c = _mm512_shuffle_i32x4(x[2], x[3], 0x44), d = _mm512_shuffle_i32x4(x[2], x[3], 0xee);
        x[0] = _mm512_shuffle_i32x4(a, c, 0x88);
        x[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
        x[2] = _mm512_shuffle_i32x4(b, d, 0x88);
        x[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }

    // A vector of message bytes; the partial forms touch nothing beyond `count` bytes, 0 to 64.
    [[gnu::always_inline]] static U32 load_bytes(const std::byte* from) { return _mm512_loadu_si512(from); }
    [[gnu::always_inline]] static void store_bytes(std::byte* to, U32 x) { _mm512_storeu_si512(to, x); }
    [[gnu::always_inline]] static __mmask64 first(std::size_t count) {
        return static_cast<__mmask64>(_bzhi_u64(~std::uint64_t{0}, static_cast<unsigned>(count)));
    }
    [[gnu::always_inline]] static U32 load_bytes(const std::byte* from, std::size_t count) {
        return _mm512_maskz_loadu_epi8(first(count), from);
    }
    [[gnu::always_inline]] static void store_bytes(std::byte* to, U32 x, std::size_t count) {
        _mm512_mask_storeu_epi8(to, first(count), x);
    }

    [[gnu::always_inline]] static U64 words(U32 x) { return x; }
    [[gnu::always_inline]] static void low_and_high(U32 a, U32 b, U64& low, U64& high) {
        low = _mm512_unpacklo_epi64(a, b);
        high = _mm512_unpackhi_epi64(a, b);
    }
    [[gnu::always_inline]] static U64 load64(const std::uint64_t* from) { return _mm512_loadu_si512(from); }
    [[gnu::always_inline]] static void store64(std::uint64_t* to, U64 x) { _mm512_storeu_si512(to, x); }
    [[gnu::always_inline]] static U64 set64(std::uint64_t x) {
        return _mm512_set1_epi64(static_cast<long long>(x));
    }
    [[gnu::always_inline]] static U64 add64(U64 a, U64 b) { return _mm512_add_epi64(a, b); }
    [[gnu::always_inline]] static U64 sub64(U64 a, U64 b) { return _mm512_sub_epi64(a, b); }
    [[gnu::always_inline]] static U64 and64(U64 a, U64 b) { return _mm512_and_si512(a, b); }
    [[gnu::always_inline]] static U64 or64(U64 a, U64 b) { return _mm512_or_si512(a, b); }
    template <int N>
    [[gnu::always_inline]] static U64 right64(U64 x) {
        return _mm512_srli_epi64(x, N);
    }
    template <int N>
    [[gnu::always_inline]] static U64 left64(U64 x) {
        return _mm512_slli_epi64(x, N);
    }
    // The product of the low 32 bits of each lane.
    [[gnu::always_inline]] static U64 multiply32(U64 a, U64 b) { return _mm512_mul_epu32(a, b); }
    [[gnu::always_inline]] static U64 widen(const std::uint32_t* from) {
        return _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    }
    [[gnu::always_inline]] static Mask greater(U64 a, U64 b) { return _mm512_cmpgt_epu64_mask(a, b); }
    [[gnu::always_inline]] static U64 select(Mask where, U64 yes, U64 no) {
        return _mm512_mask_blend_epi64(where, no, yes);
    }

    // Columns of 64-bit words of eight rows: x[i] is word i of each row's 64 bytes at `at`. Rows two apart
    // come together while they are loaded: shuffles have one port only, insertions from memory have two.
    [[gnu::always_inline]] static void load_columns(U64 (&x)[8], const std::byte* const (&rows)[8],
                                                    std::size_t at) {
        for (int half = 0; half < 2; ++half, at += 32) {
            const auto load = [&](int row) {
                return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[row] + at));
            };
            const auto pair = [&](int row) {
                return _mm512_inserti64x4(_mm512_castsi256_si512(load(row)), load(row + 2), 1);
            };
            const U64 a = pair(0), b = pair(1), c = pair(4), d = pair(5);
            const U64 even[2] = {_mm512_unpacklo_epi64(a, b), _mm512_unpacklo_epi64(c, d)};
            const U64 odd[2] = {_mm512_unpackhi_epi64(a, b), _mm512_unpackhi_epi64(c, d)};
            x[4 * half] = _mm512_shuffle_i64x2(even[0], even[1], 0x88);
            x[4 * half + 1] = _mm512_shuffle_i64x2(odd[0], odd[1], 0x88);
            x[4 * half + 2] = _mm512_shuffle_i64x2(even[0], even[1], 0xdd);
            x[4 * half + 3] = _mm512_shuffle_i64x2(odd[0], odd[1], 0xdd);
        }
    }
};

}  // namespace
}  // namespace vern::aead
