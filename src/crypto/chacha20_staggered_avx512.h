// ChaCha20 (RFC 8439, 2.3) of many blocks with AVX-512: two states of 16 blocks, half a pass
// apart. While one has its rounds, the other is added to what it began with, transposed, applied to the text
// and begun anew: shuffles, loads and stores find time between rounds, and twice as many chains hide each
// other's latency. The states fill all 32 registers, and compilers would put some of them away in every
// round, so this is one piece of assembly in the order that is meant.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "crypto/chacha20_lanes.h"

namespace vern::aead {
namespace {

// clang-format off

// The words of the two states.
#define VERN_X0  "%%zmm0"
#define VERN_X1  "%%zmm1"
#define VERN_X2  "%%zmm2"
#define VERN_X3  "%%zmm3"
#define VERN_X4  "%%zmm4"
#define VERN_X5  "%%zmm5"
#define VERN_X6  "%%zmm6"
#define VERN_X7  "%%zmm7"
#define VERN_X8  "%%zmm8"
#define VERN_X9  "%%zmm9"
#define VERN_X10 "%%zmm10"
#define VERN_X11 "%%zmm11"
#define VERN_X12 "%%zmm12"
#define VERN_X13 "%%zmm13"
#define VERN_X14 "%%zmm14"
#define VERN_X15 "%%zmm15"
#define VERN_Y0  "%%zmm16"
#define VERN_Y1  "%%zmm17"
#define VERN_Y2  "%%zmm18"
#define VERN_Y3  "%%zmm19"
#define VERN_Y4  "%%zmm20"
#define VERN_Y5  "%%zmm21"
#define VERN_Y6  "%%zmm22"
#define VERN_Y7  "%%zmm23"
#define VERN_Y8  "%%zmm24"
#define VERN_Y9  "%%zmm25"
#define VERN_Y10 "%%zmm26"
#define VERN_Y11 "%%zmm27"
#define VERN_Y12 "%%zmm28"
#define VERN_Y13 "%%zmm29"
#define VERN_Y14 "%%zmm30"
#define VERN_Y15 "%%zmm31"

#define VERN_LINE(instruction) instruction "\n\t"

// From here on S and T are VERN_X and VERN_Y, or the other way round; small letters are numbers of words.
//
// a += b; d = (d ^ a) <<< n: half of a quarter round, of four at once.
#define VERN_ADD_XOR(S, a, b, d) \
    VERN_LINE("vpaddd " S##b "," S##a "," S##a) \
    VERN_LINE("vpxord " S##a "," S##d "," S##d)
#define VERN_ROTATE(S, n, d) \
    VERN_LINE("vprold $" #n "," S##d "," S##d)
#define VERN_HALF(S, n, a, b, d,  p, q, r,  s, t, u,  x, y, z) \
    VERN_ADD_XOR(S, a, b, d) \
    VERN_ADD_XOR(S, p, q, r) \
    VERN_ADD_XOR(S, s, t, u) \
    VERN_ADD_XOR(S, x, y, z) \
    VERN_ROTATE(S, n, d) \
    VERN_ROTATE(S, n, r) \
    VERN_ROTATE(S, n, u) \
    VERN_ROTATE(S, n, z)

// The halves of a double round.
#define VERN_R0(S) VERN_HALF(S, 16, 0, 4, 12,   1, 5, 13,   2, 6, 14,   3, 7, 15)
#define VERN_R1(S) VERN_HALF(S, 12, 8, 12, 4,   9, 13, 5,   10, 14, 6,  11, 15, 7)
#define VERN_R2(S) VERN_HALF(S, 8,  0, 4, 12,   1, 5, 13,   2, 6, 14,   3, 7, 15)
#define VERN_R3(S) VERN_HALF(S, 7,  8, 12, 4,   9, 13, 5,   10, 14, 6,  11, 15, 7)
#define VERN_R4(S) VERN_HALF(S, 16, 0, 5, 15,   1, 6, 12,   2, 7, 13,   3, 4, 14)
#define VERN_R5(S) VERN_HALF(S, 12, 10, 15, 5,  11, 12, 6,  8, 13, 7,   9, 14, 4)
#define VERN_R6(S) VERN_HALF(S, 8,  0, 5, 15,   1, 6, 12,   2, 7, 13,   3, 4, 14)
#define VERN_R7(S) VERN_HALF(S, 7,  10, 15, 5,  11, 12, 6,  8, 13, 7,   9, 14, 4)

#define VERN_DOUBLE_ROUND(S) \
    VERN_R0(S) VERN_R1(S) VERN_R2(S) VERN_R3(S) VERN_R4(S) VERN_R5(S) VERN_R6(S) VERN_R7(S)
#define VERN_DOUBLE_ROUNDS(S, T) \
    VERN_R0(S) VERN_R0(T) \
    VERN_R1(S) VERN_R1(T) \
    VERN_R2(S) VERN_R2(T) \
    VERN_R3(S) VERN_R3(T) \
    VERN_R4(S) VERN_R4(T) \
    VERN_R5(S) VERN_R5(T) \
    VERN_R6(S) VERN_R6(T) \
    VERN_R7(S) VERN_R7(T)
#define VERN_FOUR_TIMES(label, body) \
    VERN_LINE("mov $4,%k[turns]") \
    VERN_LINE(".p2align 6") \
    VERN_LINE(label ":") \
    body \
    VERN_LINE("dec %k[turns]") \
    VERN_LINE("jnz " label "b")

// What a pass begins with, and what is added again at its end. Words 0 to 3 are every pass's. Of 4 to 11, the
// key, rcx has the address when a pass begins, and rax when it ends. 12, 14 and 15 are each lane's own, 13 is
// zero; `pass` is a register that points to the pass.
#define VERN_SIGMA(a)      "64*" #a "(%[sigma])"
#define VERN_KEY(a, where) "64*(" #a "-4)(" where ")"
#define VERN_OWN(a, pass)  "%c[word" #a "](" pass ")"
#define VERN_LOAD(S, a, from) VERN_LINE("vmovdqa64 " from "," S##a)
#define VERN_ADD(S, a, from)  VERN_LINE("vpaddd " from "," S##a "," S##a)
#define VERN_CLEAR(S, a)      VERN_LINE("vpxord " S##a "," S##a "," S##a)
#define VERN_LOAD_KEY(S, a)   VERN_LOAD(S, a, VERN_KEY(a, "%%rcx"))
#define VERN_ADD_KEY(S, a)    VERN_ADD(S, a, VERN_KEY(a, "%%rax"))

#define VERN_BEGIN0(S) \
    VERN_LOAD(S, 0, VERN_SIGMA(0)) VERN_LOAD(S, 1, VERN_SIGMA(1)) \
    VERN_LOAD(S, 2, VERN_SIGMA(2)) VERN_LOAD(S, 3, VERN_SIGMA(3))
#define VERN_BEGIN1(S) VERN_LOAD_KEY(S, 4) VERN_LOAD_KEY(S, 5) VERN_LOAD_KEY(S, 6) VERN_LOAD_KEY(S, 7)
#define VERN_BEGIN2(S) VERN_LOAD_KEY(S, 8) VERN_LOAD_KEY(S, 9) VERN_LOAD_KEY(S, 10) VERN_LOAD_KEY(S, 11)
#define VERN_BEGIN3(S, pass) \
    VERN_LOAD(S, 12, VERN_OWN(12, pass)) \
    VERN_CLEAR(S, 13) \
    VERN_LOAD(S, 14, VERN_OWN(14, pass)) \
    VERN_LOAD(S, 15, VERN_OWN(15, pass))
#define VERN_BEGIN(S, pass) VERN_BEGIN0(S) VERN_BEGIN1(S) VERN_BEGIN2(S) VERN_BEGIN3(S, pass)

#define VERN_END0(S) \
    VERN_ADD(S, 0, VERN_SIGMA(0)) VERN_ADD(S, 1, VERN_SIGMA(1)) \
    VERN_ADD(S, 2, VERN_SIGMA(2)) VERN_ADD(S, 3, VERN_SIGMA(3)) \
    VERN_ADD_KEY(S, 4) VERN_ADD_KEY(S, 5) VERN_ADD_KEY(S, 6) VERN_ADD_KEY(S, 7)
#define VERN_END1(S, pass) \
    VERN_ADD_KEY(S, 8) VERN_ADD_KEY(S, 9) VERN_ADD_KEY(S, 10) VERN_ADD_KEY(S, 11) \
    VERN_ADD(S, 12, VERN_OWN(12, pass)) \
    VERN_ADD(S, 14, VERN_OWN(14, pass)) \
    VERN_ADD(S, 15, VERN_OWN(15, pass))

// Words become blocks. Of each pair, the first gets the even pieces of both and the second the odd ones:
// pieces of 4, 8, 16 and 16 bytes. By way of memory, since there is no register for a third.
#define VERN_PAIR(even, odd, S, a, b, slot) \
    VERN_LINE("vmovdqa64 " S##b ",64*" #slot "(%[away])") \
    VERN_LINE(odd " 64*" #slot "(%[away])," S##a "," S##b) \
    VERN_LINE(even " 64*" #slot "(%[away])," S##a "," S##a)
#define VERN_PAIR4(S, a, b, slot)  VERN_PAIR("vpunpckldq", "vpunpckhdq", S, a, b, slot)
#define VERN_PAIR8(S, a, b, slot)  VERN_PAIR("vpunpcklqdq", "vpunpckhqdq", S, a, b, slot)
#define VERN_PAIR16(S, a, b, slot) VERN_PAIR("vshufi32x4 $0x88,", "vshufi32x4 $0xdd,", S, a, b, slot)
#define VERN_PAIRS(pair, S, a, b,  c, d,  p, q,  r, s) \
    pair(S, a, b, 0) pair(S, c, d, 1) pair(S, p, q, 2) pair(S, r, s, 3)
#define VERN_END2(S) VERN_PAIRS(VERN_PAIR4,  S, 0, 1,   2, 3,    4, 5,    6, 7)
#define VERN_END3(S) VERN_PAIRS(VERN_PAIR4,  S, 8, 9,   10, 11,  12, 13,  14, 15)
#define VERN_END4(S) VERN_PAIRS(VERN_PAIR8,  S, 0, 2,   1, 3,    4, 6,    5, 7)
#define VERN_END5(S) VERN_PAIRS(VERN_PAIR8,  S, 8, 10,  9, 11,   12, 14,  13, 15)
#define VERN_END6(S) VERN_PAIRS(VERN_PAIR16, S, 0, 4,   1, 5,    2, 6,    3, 7)
#define VERN_END7(S) VERN_PAIRS(VERN_PAIR16, S, 8, 12,  9, 13,   10, 14,  11, 15)
// a is the block of `lane`.
#define VERN_APPLY(S, a, lane, pass) \
    VERN_LINE("mov %c[from]+8*(" lane ")(" pass "),%%rax") \
    VERN_LINE("mov %c[to]+8*(" lane ")(" pass "),%%rcx") \
    VERN_LINE("vpxord (%%rax)," S##a "," S##a) \
    VERN_LINE("vmovdqu64 " S##a ",(%%rcx)")
// The last step, after which b is the block of `lane` + 8.
#define VERN_BLOCKS(S, a, b, lane, pass, slot) \
    VERN_PAIR16(S, a, b, slot) \
    VERN_APPLY(S, a, #lane, pass) \
    VERN_APPLY(S, b, #lane "+8", pass)
#define VERN_END8(S, pass)  VERN_BLOCKS(S, 0, 8, 0, pass, 0)  VERN_BLOCKS(S, 1, 9, 2, pass, 1)
#define VERN_END9(S, pass)  VERN_BLOCKS(S, 2, 10, 1, pass, 2) VERN_BLOCKS(S, 3, 11, 3, pass, 3)
#define VERN_END10(S, pass) VERN_BLOCKS(S, 4, 12, 4, pass, 0) VERN_BLOCKS(S, 5, 13, 6, pass, 1)
#define VERN_END11(S, pass) VERN_BLOCKS(S, 6, 14, 5, pass, 2) VERN_BLOCKS(S, 7, 15, 7, pass, 3)
#define VERN_END(S, pass) \
    VERN_END0(S) VERN_END1(S, pass) VERN_END2(S) VERN_END3(S) VERN_END4(S) VERN_END5(S) VERN_END6(S) \
    VERN_END7(S) VERN_END8(S, pass) VERN_END9(S, pass) VERN_END10(S, pass) VERN_END11(S, pass)

// Ends a pass in S and begins the one after the next there, beside two double rounds of the next one in T.
#define VERN_CHANGE(S, T) \
    VERN_LINE("mov (%[passes]),%[ending]") \
    VERN_LINE("mov 8(%[passes]),%%rax") \
    VERN_LINE("add $16,%[passes]") \
    VERN_R0(T) VERN_END0(S) \
    VERN_R1(T) VERN_END1(S, "%[ending]") \
    VERN_R2(T) VERN_END2(S) \
    VERN_R3(T) VERN_END3(S) \
    VERN_R4(T) VERN_END4(S) \
    VERN_R5(T) VERN_END5(S) \
    VERN_R6(T) VERN_END6(S) \
    VERN_R7(T) VERN_END7(S) \
    VERN_R0(T) VERN_END8(S, "%[ending]") \
    VERN_R1(T) VERN_END9(S, "%[ending]") \
    VERN_R2(T) VERN_END10(S, "%[ending]") \
    VERN_R3(T) VERN_END11(S, "%[ending]") \
    VERN_LINE("mov 16(%[passes]),%[beginning]") \
    VERN_LINE("mov 24(%[passes]),%%rcx") \
    VERN_R4(T) VERN_BEGIN0(S) \
    VERN_R5(T) VERN_BEGIN1(S) \
    VERN_R6(T) VERN_BEGIN2(S) \
    VERN_R7(T) VERN_BEGIN3(S, "%[beginning]")

// What has begun and has had no round still has its key.
#define VERN_CLEAR_KEY(S) \
    VERN_CLEAR(S, 4) VERN_CLEAR(S, 5) VERN_CLEAR(S, 6) VERN_CLEAR(S, 7) \
    VERN_CLEAR(S, 8) VERN_CLEAR(S, 9) VERN_CLEAR(S, 10) VERN_CLEAR(S, 11)

// A pass, and the words 4 to 11 that its lanes begin with. Of a Pass: `lanes`, with blocks and counters;
// from[i] and to[i], where lane i's 64 bytes of text are read and written.
template <class Pass>
struct KeyedPass {
    const Pass* pass;
    const std::uint32_t* key;
};

// There are `count` passes, at least two, and one more entry of `passes`, which is any of them: what begins
// when there is nothing left to begin, and has no end. `keys`: sigma is set; `away` is where words are put
// away. V: the vector type.
template <class V, class Pass>
[[gnu::noinline]] void staggered_passes(Keys& keys, const KeyedPass<Pass>* passes, long count) {
    static_assert(sizeof *passes == 16 && offsetof(KeyedPass<Pass>, key) == 8);
    static_assert(V::kLanes == 16 && kGroup == 16, "rows of 64 bytes");
    constexpr std::size_t kLanesAt = offsetof(Pass, lanes);
    static_assert(kLanesAt % 64 == 0 && offsetof(Lanes<V>, block) % 64 == 0 &&
                  offsetof(Lanes<V>, counter) % 64 == 0 && offsetof(Lanes<V>, key) % 64 == 0);
    long turns;
    const Pass *ending, *beginning;
    // Even passes are in X. Before a change, S has had ten double rounds and T four; after it, none and six.
    __asm__ volatile(
        VERN_LINE("mov (%[passes]),%[beginning]")
        VERN_LINE("mov 8(%[passes]),%%rcx")
        VERN_BEGIN(VERN_X, "%[beginning]")
        VERN_FOUR_TIMES("1", VERN_DOUBLE_ROUND(VERN_X))
        VERN_LINE("mov 16(%[passes]),%[beginning]")
        VERN_LINE("mov 24(%[passes]),%%rcx")
        VERN_BEGIN(VERN_Y, "%[beginning]")
        VERN_DOUBLE_ROUND(VERN_X)
        VERN_DOUBLE_ROUND(VERN_X)
        VERN_LINE("dec %[count]")
        VERN_LINE("2:")
        VERN_FOUR_TIMES("3", VERN_DOUBLE_ROUNDS(VERN_X, VERN_Y))
        VERN_CHANGE(VERN_X, VERN_Y)
        VERN_LINE("dec %[count]")
        VERN_LINE("jz 5f")
        VERN_FOUR_TIMES("4", VERN_DOUBLE_ROUNDS(VERN_X, VERN_Y))
        VERN_CHANGE(VERN_Y, VERN_X)
        VERN_LINE("dec %[count]")
        VERN_LINE("jnz 2b")
        VERN_FOUR_TIMES("6", VERN_DOUBLE_ROUND(VERN_X))
        VERN_LINE("mov (%[passes]),%[ending]")
        VERN_LINE("mov 8(%[passes]),%%rax")
        VERN_END(VERN_X, "%[ending]")
        VERN_CLEAR_KEY(VERN_Y)
        VERN_LINE("jmp 8f")
        VERN_LINE("5:")
        VERN_FOUR_TIMES("7", VERN_DOUBLE_ROUND(VERN_Y))
        VERN_LINE("mov (%[passes]),%[ending]")
        VERN_LINE("mov 8(%[passes]),%%rax")
        VERN_END(VERN_Y, "%[ending]")
        VERN_CLEAR_KEY(VERN_X)
        VERN_LINE("8:")
        VERN_LINE("vzeroupper")
        : [passes] "+&r"(passes), [count] "+&r"(count), [turns] "=&r"(turns), [ending] "=&r"(ending),
          [beginning] "=&r"(beginning)
        : [sigma] "r"(keys.sigma), [away] "r"(&keys.away), [from] "i"(offsetof(Pass, from)),
          [to] "i"(offsetof(Pass, to)), [word12] "i"(kLanesAt + offsetof(Lanes<V>, block)),
          [word14] "i"(kLanesAt + offsetof(Lanes<V>, counter)),
          [word15] "i"(kLanesAt + offsetof(Lanes<V>, counter) + sizeof(Lanes<V>::counter[0]))
        : "rax", "rcx", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
          "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18",
          "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29",
          "xmm30", "xmm31");
}

// clang-format on

}  // namespace
}  // namespace vern::aead
