// The vector type of the AVX2 kernel: 8 lanes of 32 bits, or 4 of 64. See aead_lanes_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace vern::aead {
namespace {

struct Avx2 {
    static constexpr int kLanes = 8;
    static constexpr int kWide = 4;
    static constexpr int kMinimumForLanes = 3;
    // Length from which on a message by itself has its blocks in lanes.
    static constexpr std::uint32_t kAlongFromBytes = 1024;
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
        if constexpr (N == 16)
            return _mm256_shuffle_epi8(
                x, twice(_mm_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2)));
        else if constexpr (N == 8)
            return _mm256_shuffle_epi8(
                x, twice(_mm_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3)));
        else
            return _mm256_or_si256(_mm256_slli_epi32(x, N), _mm256_srli_epi32(x, 32 - N));
    }
    [[gnu::always_inline]] static U32 lookup32(const std::uint32_t (&table)[16], U32 which) {
        const U32 low = _mm256_permutevar8x32_epi32(load(table), which);
        const U32 high = _mm256_permutevar8x32_epi32(load(table + 8), which);
        return _mm256_blendv_epi8(low, high, _mm256_cmpgt_epi32(which, _mm256_set1_epi32(7)));
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
    static U32 load_bytes(const std::byte* from, std::size_t count) {
        alignas(32) std::byte bytes[32] = {};
        __builtin_memcpy(bytes, from, count);
        return load(bytes);
    }
    static void store_bytes(std::byte* to, U32 x, std::size_t count) {
        alignas(32) std::byte bytes[32];
        store(bytes, x);
        __builtin_memcpy(to, bytes, count);
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
    [[gnu::always_inline]] static __m256i twice(__m128i x) { return _mm256_broadcastsi128_si256(x); }
};

}  // namespace
}  // namespace vern::aead
