// The vector type of the aarch64 kernel: 4 lanes of 32 bits, or 2 of 64. See aead_lanes_avx512.h.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace vern::aead {
namespace {

struct Neon {
    static constexpr int kLanes = 4;
    static constexpr int kWide = 2;
    // Two lanes of 26-bit limbs do not pay: the integer unit multiplies 64 by 64 bits.
    static constexpr int kMinimumForLanes = 1 << 16;
    // Length from which on a message by itself has its blocks in lanes.
    static constexpr std::uint32_t kAlongFromBytes = 1u << 31;
    // What passes, and what they call, have of the stack.
    static constexpr std::size_t kStackBytes = 2048;
    using U32 = uint32x4_t;
    using U64 = uint64x2_t;
    using Mask = uint64x2_t;  // all ones where set

    [[gnu::always_inline]] static U32 load32(const std::uint32_t* from) { return vld1q_u32(from); }
    [[gnu::always_inline]] static void store32(std::uint32_t* to, U32 x) { vst1q_u32(to, x); }
    [[gnu::always_inline]] static U32 set32(std::uint32_t x) { return vdupq_n_u32(x); }
    [[gnu::always_inline]] static U32 add32(U32 a, U32 b) { return vaddq_u32(a, b); }
    [[gnu::always_inline]] static U32 xor32(U32 a, U32 b) { return veorq_u32(a, b); }
    template <int N>
    [[gnu::always_inline]] static U32 rotate32(U32 x) {
        if constexpr (N == 16)
            return vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(x)));
        else
            return vsriq_n_u32(vshlq_n_u32(x, N), x, 32 - N);
    }
    [[gnu::always_inline]] static U32 lookup32(const std::uint32_t (&table)[16], U32 which) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(table);
        const uint8x16x4_t rows = {
            {vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
        const U32 places = vaddq_u32(vmulq_n_u32(which, 0x04040404), vdupq_n_u32(0x03020100));
        return vreinterpretq_u32_u8(vqtbl4q_u8(rows, vreinterpretq_u8_u32(places)));
    }
    template <int N>
    [[gnu::always_inline]] static U32 turn32(U32 x) {
        return vextq_u32(x, x, N);
    }
    [[gnu::always_inline]] static U32 gather128(const std::byte* const* from) { return load_bytes(from[0]); }
    [[gnu::always_inline]] static void transpose32(U32 (&x)[4]) {
        const U64 a = vreinterpretq_u64_u32(vtrn1q_u32(x[0], x[1])),
                  b = vreinterpretq_u64_u32(vtrn2q_u32(x[0], x[1])),
                  c = vreinterpretq_u64_u32(vtrn1q_u32(x[2], x[3])),
                  d = vreinterpretq_u64_u32(vtrn2q_u32(x[2], x[3]));
        x[0] = vreinterpretq_u32_u64(vtrn1q_u64(a, c));
        x[1] = vreinterpretq_u32_u64(vtrn1q_u64(b, d));
        x[2] = vreinterpretq_u32_u64(vtrn2q_u64(a, c));
        x[3] = vreinterpretq_u32_u64(vtrn2q_u64(b, d));
    }
    // One block: its rows are in order already.
    [[gnu::always_inline]] static void transpose128(U32 (&)[4]) {}

    [[gnu::always_inline]] static U32 load_bytes(const std::byte* from) {
        return vreinterpretq_u32_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(from)));
    }
    [[gnu::always_inline]] static void store_bytes(std::byte* to, U32 x) {
        vst1q_u8(reinterpret_cast<std::uint8_t*>(to), vreinterpretq_u8_u32(x));
    }
    static U32 load_bytes(const std::byte* from, std::size_t count) {
        std::byte bytes[16] = {};
        __builtin_memcpy(bytes, from, count);
        return load_bytes(bytes);
    }
    static void store_bytes(std::byte* to, U32 x, std::size_t count) {
        std::byte bytes[16];
        store_bytes(bytes, x);
        __builtin_memcpy(to, bytes, count);
    }

    [[gnu::always_inline]] static U64 words(U32 x) { return vreinterpretq_u64_u32(x); }
    [[gnu::always_inline]] static void low_and_high(U32 a, U32 b, U64& low, U64& high) {
        low = vtrn1q_u64(words(a), words(b));
        high = vtrn2q_u64(words(a), words(b));
    }
    [[gnu::always_inline]] static U64 load64(const std::uint64_t* from) { return vld1q_u64(from); }
    [[gnu::always_inline]] static void store64(std::uint64_t* to, U64 x) { vst1q_u64(to, x); }
    [[gnu::always_inline]] static U64 set64(std::uint64_t x) { return vdupq_n_u64(x); }
    [[gnu::always_inline]] static U64 add64(U64 a, U64 b) { return vaddq_u64(a, b); }
    [[gnu::always_inline]] static U64 and64(U64 a, U64 b) { return vandq_u64(a, b); }
    [[gnu::always_inline]] static U64 or64(U64 a, U64 b) { return vorrq_u64(a, b); }
    template <int N>
    [[gnu::always_inline]] static U64 right64(U64 x) {
        return vshrq_n_u64(x, N);
    }
    template <int N>
    [[gnu::always_inline]] static U64 left64(U64 x) {
        return vshlq_n_u64(x, N);
    }
    [[gnu::always_inline]] static U64 multiply32(U64 a, U64 b) {
        return vmull_u32(vmovn_u64(a), vmovn_u64(b));
    }
    [[gnu::always_inline]] static U64 widen(const std::uint32_t* from) { return vmovl_u32(vld1_u32(from)); }
    [[gnu::always_inline]] static Mask greater(U64 a, U64 b) { return vcgtq_u64(a, b); }
    [[gnu::always_inline]] static U64 select(Mask where, U64 yes, U64 no) {
        return vbslq_u64(where, yes, no);
    }
    [[gnu::always_inline]] static void load_columns(U64 (&x)[2], const std::byte* const (&rows)[2],
                                                    std::size_t at) {
        low_and_high(load_bytes(rows[0] + at), load_bytes(rows[1] + at), x[0], x[1]);
    }
};

}  // namespace
}  // namespace vern::aead
