// Two quarter rounds of ChaCha20 whose rows a, c and d are in memory, and a block of Poly1305 beside them:
// for two states at a time, of which sixteen registers can hold no more than rows b (aead_lanes_avx2x2.h).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "crypto/quarter_rounds_avx2.h"

namespace vern::aead {
namespace {

// V, S and VERN_FEW_REGISTERS as in quarter_rounds_avx2.h. In the order in which they are written: on the
// CPUs that two states are for, none was found to be better. Registers: a, c, d and what is shifted left in
// ymm8 to ymm11 and, of the second quarter round, ymm12 to ymm15; those of the block are the same.
#define VERN_QUARTER_ROUNDS_AND_BLOCK(V, S)    \
    V("vpaddd %[a], %[b], %%ymm8")             \
    V("vpxor %[d], %%ymm8, %%ymm10")           \
    S("add %[text0], %[h0]")                   \
    V("vpaddd %[e], %[f], %%ymm12")            \
    S("adc %[text1], %[h1]")                   \
    V("vpxor %[h], %%ymm12, %%ymm14")          \
    V("vpshufb %[rotate16], %%ymm10, %%ymm10") \
    S("mov %[h1], %%rdx")                      \
    V("vpshufb %[rotate16], %%ymm14, %%ymm14") \
    S("mulx %[s1], %%r8, %%r11")               \
    V("vpaddd %[c], %%ymm10, %%ymm9")          \
    V("vpxor %%ymm9, %[b], %[b]")              \
    S("mulx %[r0], %[h1], %%rax")              \
    V("vpaddd %[g], %%ymm14, %%ymm13")         \
    S("mov %[h0], %%rdx")                      \
    V("vpxor %%ymm13, %[f], %[f]")             \
    S("mulx %[r1], %%r10, %%r9")               \
    V("vpslld $12, %[b], %%ymm11")             \
    V("vpsrld $20, %[b], %[b]")                \
    S("adc $1, %[h2]")                         \
    V("vpor %%ymm11, %[b], %[b]")              \
    S("add %%r10, %[h1]")                      \
    V("vpslld $12, %[f], %%ymm15")             \
    V("vpsrld $20, %[f], %[f]")                \
    S("adc %%r9, %%rax")                       \
    V("vpor %%ymm15, %[f], %[f]")              \
    S("mov %[s1], %%r10")                      \
    V("vpaddd %[b], %%ymm8, %%ymm8")           \
    S("imul %[h2], %%r10")                     \
    V("vpxor %%ymm8, %%ymm10, %%ymm10")        \
    V("vmovdqa %%ymm8, %[a]")                  \
    S("mulx %[r0], %[h0], %%rdx")              \
    V("vpaddd %[f], %%ymm12, %%ymm12")         \
    S("imul %[r0], %[h2]")                     \
    V("vpxor %%ymm12, %%ymm14, %%ymm14")       \
    V("vmovdqa %%ymm12, %[e]")                 \
    S("add %%r8, %[h0]")                       \
    V("vpshufb %[rotate8], %%ymm10, %%ymm10")  \
    S("adc %%rdx, %%r11")                      \
    V("vpshufb %[rotate8], %%ymm14, %%ymm14")  \
    S("add %%r11, %[h1]")                      \
    V("vpaddd %%ymm10, %%ymm9, %%ymm9")        \
    V("vmovdqa %%ymm10, %[d]")                 \
    S("adc %%rax, %[h2]")                      \
    V("vmovdqa %%ymm9, %[c]")                  \
    S("add %%r10, %[h1]")                      \
    V("vpxor %%ymm9, %[b], %[b]")              \
    V("vpaddd %%ymm14, %%ymm13, %%ymm13")      \
    S("adc $0, %[h2]")                         \
    V("vmovdqa %%ymm14, %[h]")                 \
    S("mov %[h2], %%r9")                       \
    V("vmovdqa %%ymm13, %[g]")                 \
    S("shr $2, %%r9")                          \
    V("vpxor %%ymm13, %[f], %[f]")             \
    V("vpslld $7, %[b], %%ymm11")              \
    S("lea (%%r9,%%r9,4), %%r8")               \
    V("vpsrld $25, %[b], %[b]")                \
    S("and $3, %[h2]")                         \
    V("vpor %%ymm11, %[b], %[b]")              \
    V("vpslld $7, %[f], %%ymm15")              \
    S("add %%r8, %[h0]")                       \
    V("vpsrld $25, %[f], %[f]")                \
    S("adc $0, %[h1]")                         \
    V("vpor %%ymm15, %[f], %[f]")              \
    S("adc $0, %[h2]")
#define VERN_KEEP(instruction) instruction "\n\t"
#define VERN_DROP(instruction)

struct QuarterRoundsInMemory {
    using U32 = __m256i;

    [[gnu::always_inline]] static void alone(U32& a, U32& b, U32& c, U32& d, U32& e, U32& f, U32& g, U32& h) {
        __asm__ volatile(VERN_QUARTER_ROUNDS_AND_BLOCK(VERN_KEEP, VERN_DROP)
                         : [a] "+m"(a), [b] "+x"(b), [c] "+m"(c), [d] "+m"(d), [e] "+m"(e), [f] "+x"(f),
                           [g] "+m"(g), [h] "+m"(h)
                         : [rotate16] "m"(QuarterRounds::kRotate16), [rotate8] "m"(QuarterRounds::kRotate8)
                         : "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    }
    template <class Key>
    [[gnu::always_inline]] static void with_block(const Key& key, Poly1305Cursor& at, U32& a, U32& b, U32& c,
                                                  U32& d, U32& e, U32& f, U32& g, U32& h) {
#if defined(VERN_FEW_REGISTERS)
        alone(a, b, c, d, e, f, g, h);
        QuarterRounds::block_alone(key, at);
#else
        __asm__ volatile(VERN_QUARTER_ROUNDS_AND_BLOCK(VERN_KEEP, VERN_KEEP)
                         : [a] "+m"(a), [b] "+x"(b), [c] "+m"(c), [d] "+m"(d), [e] "+m"(e), [f] "+x"(f),
                           [g] "+m"(g), [h] "+m"(h), [h0] "+&r"(at.h0), [h1] "+&r"(at.h1), [h2] "+&r"(at.h2)
                         : [r0] "m"(key.r0), [r1] "m"(key.r1), [s1] "m"(key.s1),
                           [text0] "m"(QuarterRounds::half(at, 0)), [text1] "m"(QuarterRounds::half(at, 1)),
                           [rotate16] "m"(QuarterRounds::kRotate16), [rotate8] "m"(QuarterRounds::kRotate8)
                         : "cc", "rax", "rdx", "r8", "r9", "r10", "r11", "xmm8", "xmm9", "xmm10", "xmm11",
                           "xmm12", "xmm13", "xmm14", "xmm15");
        at.text += QuarterRounds::kBlockOfText;
#endif
    }
};

#undef VERN_QUARTER_ROUNDS_AND_BLOCK
#undef VERN_KEEP
#undef VERN_DROP

}  // namespace
}  // namespace vern::aead
