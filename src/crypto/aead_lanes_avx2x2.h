// The vector type of the AVX2 kernel that computes 16 blocks a pass: two vectors of 8 lanes, a state of
// ChaCha20 in each. Two states hide each other's latency on CPUs that have more vector units than one state
// keeps busy. See aead_lanes_avx512.h for what a kernel asks of such a type.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "crypto/aead_lanes_avx2.h"
#include "crypto/quarter_rounds_avx2x2.h"

namespace vern::aead {
namespace {

struct Avx2x2 {
    static constexpr int kLanes = 16;
    static constexpr int kWide = 8;
    static constexpr int kMinimumForLanes = 6;
    using Beside = Avx2::Beside;
    static constexpr std::uint32_t kBesideFromBytes = Avx2::kBesideFromBytes;
    using Along = Avx2::Along;
    static constexpr std::uint32_t kAlongFromBytes = Avx2::kAlongFromBytes;
    struct Halves {
        __m256i half[2];
    };
    // What passes, and what they call, have of the stack: 3.0 KB as GCC 12 compiles them, 4.0 as GCC 14 does.
    static constexpr std::size_t kStackBytes = 4608;
    using U32 = Halves;
    using U64 = Halves;
    using Mask = Halves;

    static U32 load32(const std::uint32_t* from) { return load(from); }
    static void store32(std::uint32_t* to, const U32& x) { store(to, x); }
    static U32 set32(std::uint32_t x) {
        return each([&](int) { return Avx2::set32(x); });
    }
    static U32 add32(const U32& a, const U32& b) {
        return each([&](int i) { return Avx2::add32(a.half[i], b.half[i]); });
    }
    static U32 xor32(const U32& a, const U32& b) {
        return each([&](int i) { return Avx2::xor32(a.half[i], b.half[i]); });
    }
    template <int N>
    static U32 rotate32(const U32& x) {
        return each([&](int i) { return Avx2::rotate32<N>(x.half[i]); });
    }
    template <int N>
    static U32 turn32(const U32& x) {
        return each([&](int i) { return Avx2::turn32<N>(x.half[i]); });
    }
    // Bit 3 of an index tells which half of the table.
    static U32 lookup32(const std::uint32_t (&table)[16], const U32& which) {
        return each([&](int i) {
            const __m256i low = _mm256_permutevar8x32_epi32(Avx2::load(table), which.half[i]),
                          high = _mm256_permutevar8x32_epi32(Avx2::load(table + 8), which.half[i]);
            return _mm256_castps_si256(
                _mm256_blendv_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high),
                                 _mm256_castsi256_ps(_mm256_slli_epi32(which.half[i], 28))));
        });
    }
    static U32 gather128(const std::byte* const* from) {
        return each([&](int i) { return Avx2::gather128(from + std::ptrdiff_t{2} * i); });
    }

    // Rows become columns: a quarter of them at a time.
    [[gnu::always_inline]] static void transpose32(U32 (&x)[16]) {
        U32 columns[16];
        for (int half = 0; half < 2; ++half)
            for (int words = 0; words < 2; ++words) {
                __m256i square[8];
                for (int i = 0; i < 8; ++i) square[i] = x[8 * words + i].half[half];
                Avx2::transpose32(square);
                for (int i = 0; i < 8; ++i) columns[8 * half + i].half[words] = square[i];
            }
        for (int i = 0; i < 16; ++i) x[i] = columns[i];
    }
    // Each half has two of the four blocks.
    static void transpose128(U32 (&x)[4]) {
        __m256i rows[2][4];
        for (int half = 0; half < 2; ++half) {
            for (int i = 0; i < 4; ++i) rows[half][i] = x[i].half[half];
            Avx2::transpose128(rows[half]);
        }
        for (std::size_t half = 0; half < 2; ++half)
            for (std::size_t i = 0; i < 2; ++i)
                x[2 * half + i] = {{rows[half][2 * i], rows[half][2 * i + 1]}};
    }

    static U32 load_bytes(const std::byte* from) { return load(from); }
    static void store_bytes(std::byte* to, const U32& x) { store(to, x); }
    static U32 load_bytes(const std::byte* from, std::size_t count) {
        if (count < 32) return {{Avx2::load_bytes(from, count), _mm256_setzero_si256()}};
        return {{Avx2::load(from), Avx2::load_bytes(from + 32, count - 32)}};
    }
    static void store_bytes(std::byte* to, const U32& x, std::size_t count) {
        if (count < 32) return Avx2::store_bytes(to, x.half[0], count);
        Avx2::store(to, x.half[0]);
        Avx2::store_bytes(to + 32, x.half[1], count - 32);
    }

    static U64 words(const U32& x) { return x; }
    static void low_and_high(const U32& a, const U32& b, U64& low, U64& high) {
        for (int i = 0; i < 2; ++i) Avx2::low_and_high(a.half[i], b.half[i], low.half[i], high.half[i]);
    }
    static U64 load64(const std::uint64_t* from) { return load(from); }
    static void store64(std::uint64_t* to, const U64& x) { store(to, x); }
    static U64 set64(std::uint64_t x) {
        return each([&](int) { return Avx2::set64(x); });
    }
    static U64 add64(const U64& a, const U64& b) {
        return each([&](int i) { return Avx2::add64(a.half[i], b.half[i]); });
    }
    static U64 and64(const U64& a, const U64& b) {
        return each([&](int i) { return Avx2::and64(a.half[i], b.half[i]); });
    }
    static U64 or64(const U64& a, const U64& b) {
        return each([&](int i) { return Avx2::or64(a.half[i], b.half[i]); });
    }
    template <int N>
    static U64 right64(const U64& x) {
        return each([&](int i) { return Avx2::right64<N>(x.half[i]); });
    }
    template <int N>
    static U64 left64(const U64& x) {
        return each([&](int i) { return Avx2::left64<N>(x.half[i]); });
    }
    static U64 multiply32(const U64& a, const U64& b) {
        return each([&](int i) { return Avx2::multiply32(a.half[i], b.half[i]); });
    }
    static U64 widen(const std::uint32_t* from) {
        return each([&](int i) { return Avx2::widen(from + std::ptrdiff_t{4} * i); });
    }
    static Mask greater(const U64& a, const U64& b) {
        return each([&](int i) { return Avx2::greater(a.half[i], b.half[i]); });
    }
    static U64 select(const Mask& where, const U64& yes, const U64& no) {
        return each([&](int i) { return Avx2::select(where.half[i], yes.half[i], no.half[i]); });
    }
    // Each half has four of the rows.
    [[gnu::always_inline]] static void load_columns(U64 (&x)[8], const std::byte* const (&rows)[8],
                                                    std::size_t at) {
        for (int half = 0; half < 2; ++half) {
            const std::byte* four[4];
            for (int i = 0; i < 4; ++i) four[i] = rows[4 * half + i];
            for (int i = 0; i < 8; i += 4, at += 32) {
                __m256i columns[4];
                Avx2::load_columns(columns, four, at);
                for (int k = 0; k < 4; ++k) x[i + k].half[half] = columns[k];
            }
            at -= 64;
        }
    }

    // The ten double rounds of ChaCha20, of one state after the other. Rows b, which are read or written in
    // every step, are in registers.
    template <class Meanwhile>
    [[gnu::always_inline]] static void chacha20_rounds(U32 (&x)[16], Meanwhile& meanwhile) {
        __m256i b0 = x[4].half[0], b1 = x[5].half[0], b2 = x[6].half[0], b3 = x[7].half[0];
        __m256i f0 = x[4].half[1], f1 = x[5].half[1], f2 = x[6].half[1], f3 = x[7].half[1];
        const auto double_round = [&](auto pair) __attribute__((always_inline)) {
            pair(0, x[0].half[0], b0, x[8].half[0], x[12].half[0], x[1].half[0], b1, x[9].half[0],
                 x[13].half[0]);
            pair(1, x[2].half[0], b2, x[10].half[0], x[14].half[0], x[3].half[0], b3, x[11].half[0],
                 x[15].half[0]);
            pair(2, x[0].half[1], f0, x[8].half[1], x[12].half[1], x[1].half[1], f1, x[9].half[1],
                 x[13].half[1]);
            pair(3, x[2].half[1], f2, x[10].half[1], x[14].half[1], x[3].half[1], f3, x[11].half[1],
                 x[15].half[1]);
            pair(4, x[0].half[0], b1, x[10].half[0], x[15].half[0], x[1].half[0], b2, x[11].half[0],
                 x[12].half[0]);
            pair(5, x[2].half[0], b3, x[8].half[0], x[13].half[0], x[3].half[0], b0, x[9].half[0],
                 x[14].half[0]);
            pair(6, x[0].half[1], f1, x[10].half[1], x[15].half[1], x[1].half[1], f2, x[11].half[1],
                 x[12].half[1]);
            pair(7, x[2].half[1], f3, x[8].half[1], x[13].half[1], x[3].half[1], f0, x[9].half[1],
                 x[14].half[1]);
        };
        int done = 0;
        if constexpr (requires { meanwhile.turns(10); }) {
            const int turns = meanwhile.turns(10);
            auto first = meanwhile.cursor(0), second = meanwhile.cursor(1);
            // Copies, to be found by the stack pointer.
            Poly1305Key keys[] = {meanwhile.key(0), meanwhile.key(1)};
            for (; done < turns; ++done)
                double_round([&](int i, auto&... words) __attribute__((always_inline)) {
                    const int which = (i - i / 4) % 2;
                    if (i % 4 < 3)
                        QuarterRoundsInMemory::with_block(keys[which], which == 0 ? first : second, words...);
                    else
                        QuarterRoundsInMemory::alone(words...);
                });
            meanwhile.keep(0, first);
            meanwhile.keep(1, second);
            wipe_secrets(keys, sizeof keys);
        }
        for (; done < 10; ++done)
            double_round([](int, auto&... words)
                             __attribute__((always_inline)) { QuarterRoundsInMemory::alone(words...); });
        x[4].half[0] = b0, x[5].half[0] = b1, x[6].half[0] = b2, x[7].half[0] = b3;
        x[4].half[1] = f0, x[5].half[1] = f1, x[6].half[1] = f2, x[7].half[1] = f3;
    }

    // The keystream, which is the state after the rounds plus the one before them, onto the blocks: a quarter
    // of it at a time, as much as fits into the registers.
    template <class Start>
    [[gnu::always_inline]] static void apply_rounds(const U32 (&x)[16], Start start,
                                                    const std::byte* const* from, std::byte* const* to) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half)
#pragma GCC unroll 2
            for (int words = 0; words < 2; ++words) {
                __m256i square[8];
                for (int i = 0; i < 8; ++i)
                    square[i] = Avx2::add32(x[8 * words + i].half[half], start(8 * words + i).half[half]);
                Avx2::transpose32(square);
                for (int i = 0; i < 8; ++i) {
                    const int lane = 8 * half + i;
                    const std::ptrdiff_t at = std::ptrdiff_t{32} * words;
                    Avx2::store(to[lane] + at, Avx2::xor32(Avx2::load(from[lane] + at), square[i]));
                }
            }
    }

  private:
    template <class Function>
    [[gnu::always_inline]] static Halves each(Function function) {
        return {{function(0), function(1)}};
    }
    static Halves load(const void* from) {
        return each(
            [&](int i) { return Avx2::load(static_cast<const std::byte*>(from) + std::ptrdiff_t{32} * i); });
    }
    static void store(void* to, const Halves& x) {
        for (int i = 0; i < 2; ++i)
            Avx2::store(static_cast<std::byte*>(to) + std::ptrdiff_t{32} * i, x.half[i]);
    }
};

}  // namespace
}  // namespace vern::aead
