// Two quarter rounds of ChaCha20 in vectors of 8 lanes, a block of Poly1305, and both beside each other: one
// list of instructions, in an order that was searched for.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace vern::aead {
namespace {

// V: an instruction of the quarter rounds (a, b, c, d) and (e, f, g, h). S: one of the block. Either kind by
// itself is in the order in which it is written in RFC 8439 (2.1) and in Poly1305Scalar::block:
//   a += b; d = (d ^ a) <<< 16; c += d; b = (b ^ c) <<< 12; then the same with 8 and 7
//   h += text; carry1:h1 = h1 r0 + h0 r1; carry0:h0 = h1 s1 + h0 r0; h2:h1 with h2 r0, h2 s1 and the carries;
//   2^128 = 2^130 / 4 wraps to 5/4
// Registers: c and g, which are in memory before and after, in ymm12 and ymm13; what rotations shift left in
// ymm14 and ymm15; what mulx multiplies in rdx; carry1 in rax, carry0 in r11; halves of products, then what
// wraps, in r8 to r10.
//
// How the two are mingled, and how far (a, b, c, d) is ahead of (e, f, g, h), is what a search by measuring
// found (docs/performance.md): a CPU decides by which port an instruction goes before it knows which will be
// free, so that orders which look alike differ by a tenth. Any order that keeps the two is as correct.
#define VERN_QUARTER_ROUNDS_AND_BLOCK(V, S) \
    S("add %[text0], %[h0]")                \
    S("adc %[text1], %[h1]")                \
    S("mov %[h1], %%rdx")                   \
    V("vpaddd %[b], %[a], %[a]")            \
    V("vpxor %[a], %[d], %[d]")             \
    S("mulx %[s1], %%r8, %%r11")            \
    V("vpaddd %[f], %[e], %[e]")            \
    V("vpshufb %[rotate16], %[d], %[d]")    \
    S("mulx %[r0], %[h1], %%rax")           \
    S("mov %[h0], %%rdx")                   \
    V("vpaddd %[c], %[d], %%ymm12")         \
    V("vpxor %%ymm12, %[b], %[b]")          \
    S("mulx %[r1], %%r10, %%r9")            \
    V("vpslld $12, %[b], %%ymm14")          \
    S("adc $1, %[h2]")                      \
    V("vpsrld $20, %[b], %[b]")             \
    S("add %%r10, %[h1]")                   \
    V("vpxor %[e], %[h], %[h]")             \
    S("adc %%r9, %%rax")                    \
    S("mov %[s1], %%r10")                   \
    V("vpshufb %[rotate16], %[h], %[h]")    \
    S("imul %[h2], %%r10")                  \
    V("vpaddd %[g], %[h], %%ymm13")         \
    V("vpor %%ymm14, %[b], %[b]")           \
    V("vpaddd %[b], %[a], %[a]")            \
    S("mulx %[r0], %[h0], %%rdx")           \
    V("vpxor %[a], %[d], %[d]")             \
    V("vpxor %%ymm13, %[f], %[f]")          \
    V("vpshufb %[rotate8], %[d], %[d]")     \
    V("vpslld $12, %[f], %%ymm15")          \
    S("imul %[r0], %[h2]")                  \
    S("add %%r8, %[h0]")                    \
    V("vpsrld $20, %[f], %[f]")             \
    V("vpor %%ymm15, %[f], %[f]")           \
    S("adc %%rdx, %%r11")                   \
    S("add %%r11, %[h1]")                   \
    V("vpaddd %[d], %%ymm12, %%ymm12")      \
    V("vpaddd %[f], %[e], %[e]")            \
    S("adc %%rax, %[h2]")                   \
    V("vpxor %[e], %[h], %[h]")             \
    V("vpxor %%ymm12, %[b], %[b]")          \
    S("add %%r10, %[h1]")                   \
    V("vpshufb %[rotate8], %[h], %[h]")     \
    S("adc $0, %[h2]")                      \
    V("vpaddd %[h], %%ymm13, %%ymm13")      \
    V("vpxor %%ymm13, %[f], %[f]")          \
    V("vmovdqa %%ymm12, %[c]")              \
    S("mov %[h2], %%r9")                    \
    S("shr $2, %%r9")                       \
    V("vpslld $7, %[f], %%ymm15")           \
    V("vpsrld $25, %[f], %[f]")             \
    V("vpslld $7, %[b], %%ymm14")           \
    V("vmovdqa %%ymm13, %[g]")              \
    V("vpsrld $25, %[b], %[b]")             \
    S("lea (%%r9,%%r9,4), %%r8")            \
    V("vpor %%ymm15, %[f], %[f]")           \
    S("and $3, %[h2]")                      \
    V("vpor %%ymm14, %[b], %[b]")           \
    S("add %%r8, %[h0]")                    \
    S("adc $0, %[h1]")                      \
    S("adc $0, %[h2]")
#define VERN_KEEP(instruction) instruction "\n\t"
#define VERN_DROP(instruction)

// Sanitizers, and compilers that do not optimise, want a register for each operand in memory, and leave too
// few for both at once: one goes after the other.
#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VERN_FEW_REGISTERS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define VERN_FEW_REGISTERS
#endif
#endif

// Poly1305 on its way through a text.
struct Poly1305Cursor {
    std::uint64_t h0, h1, h2;
    const std::byte* text;
};
struct Poly1305Key {
    std::uint64_t r0, r1, s1;  // as in Poly1305Scalar
};

struct QuarterRounds {
    using U32 = __m256i;

    [[gnu::always_inline]] static void alone(U32& a, U32& b, U32& c, U32& d, U32& e, U32& f, U32& g, U32& h) {
        __asm__ volatile(VERN_QUARTER_ROUNDS_AND_BLOCK(VERN_KEEP, VERN_DROP)
                         : [a] "+x"(a), [b] "+x"(b), [c] "+m"(c), [d] "+x"(d), [e] "+x"(e), [f] "+x"(f),
                           [g] "+m"(g), [h] "+x"(h)
                         : [rotate16] "m"(kRotate16), [rotate8] "m"(kRotate8)
                         : "xmm12", "xmm13", "xmm14", "xmm15");
    }
    // Key: what has r0, r1 and s1 (Poly1305Scalar).
    template <class Key>
    [[gnu::always_inline]] static void with_block(const Key& key, Poly1305Cursor& at, U32& a, U32& b, U32& c,
                                                  U32& d, U32& e, U32& f, U32& g, U32& h) {
#if defined(VERN_FEW_REGISTERS)
        alone(a, b, c, d, e, f, g, h);
        block_alone(key, at);
#else
        __asm__ volatile(VERN_QUARTER_ROUNDS_AND_BLOCK(VERN_KEEP, VERN_KEEP)
                         : [a] "+x"(a), [b] "+x"(b), [c] "+m"(c), [d] "+x"(d), [e] "+x"(e), [f] "+x"(f),
                           [g] "+m"(g), [h] "+x"(h), [h0] "+&r"(at.h0), [h1] "+&r"(at.h1), [h2] "+&r"(at.h2)
                         : [r0] "m"(key.r0), [r1] "m"(key.r1), [s1] "m"(key.s1), [text0] "m"(half(at, 0)),
                           [text1] "m"(half(at, 1)), [rotate16] "m"(kRotate16), [rotate8] "m"(kRotate8)
                         : "cc", "rax", "rdx", "r8", "r9", "r10", "r11", "xmm12", "xmm13", "xmm14", "xmm15");
        at.text += kBlockOfText;
#endif
    }
    // As Poly1305Scalar::block, of which compilers make half as many instructions again, moving halves of
    // 128-bit numbers about.
    template <class Key>
    [[gnu::always_inline]] static void block_alone(const Key& key, Poly1305Cursor& at) {
        __asm__ volatile(VERN_QUARTER_ROUNDS_AND_BLOCK(VERN_DROP, VERN_KEEP)
                         : [h0] "+&r"(at.h0), [h1] "+&r"(at.h1), [h2] "+&r"(at.h2)
                         : [r0] "m"(key.r0), [r1] "m"(key.r1), [s1] "m"(key.s1), [text0] "m"(half(at, 0)),
                           [text1] "m"(half(at, 1))
                         : "cc", "rax", "rdx", "r8", "r9", "r10", "r11");
        at.text += kBlockOfText;
    }

    // Where each byte of a rotated word comes from.
    alignas(32) static constexpr std::uint8_t kRotate16[32] = {2,  3,  0, 1, 6,  7,  4,  5,   //
                                                               10, 11, 8, 9, 14, 15, 12, 13,  //
                                                               2,  3,  0, 1, 6,  7,  4,  5,   //
                                                               10, 11, 8, 9, 14, 15, 12, 13};
    alignas(32) static constexpr std::uint8_t kRotate8[32] = {3,  0, 1, 2,  7,  4,  5,  6,   //
                                                              11, 8, 9, 10, 15, 12, 13, 14,  //
                                                              3,  0, 1, 2,  7,  4,  5,  6,   //
                                                              11, 8, 9, 10, 15, 12, 13, 14};

    struct Half {
        std::byte bytes[8];
    };
    static constexpr std::size_t kBlockOfText = 2 * sizeof(Half);
    [[gnu::always_inline]] static const Half& half(const Poly1305Cursor& at, std::size_t which) {
        return reinterpret_cast<const Half*>(at.text)[which];
    }
};

#undef VERN_QUARTER_ROUNDS_AND_BLOCK
#undef VERN_KEEP
#undef VERN_DROP

}  // namespace
}  // namespace vern::aead
