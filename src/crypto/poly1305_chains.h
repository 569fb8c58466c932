// Poly1305 (RFC 8439, 2.5) of one long message in the integer unit, as two chains of blocks. A block waits
// for the one ahead of it, so two chains together take little longer than one of them alone. What the first
// comes to is multiplied with the power of r that stands for the blocks of the second. Blocks can find time
// between the vector instructions that encipher the same message further on (quarter_rounds_avx2.h). For x86
// CPUs with BMI2.
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/aead_secrets.h"
#include "crypto/poly1305_scalar.h"
#include "crypto/quarter_rounds_avx2.h"

namespace vern::aead {
namespace {

// All of it is key material: the owner's to wipe.
class Poly1305Chains {
  public:
    struct Key {
        std::uint64_t r[2], s[2];
    };
    // A number modulo 2^130 - 5. The last limb is below 16, and below 5 where a block follows: wrap() sees to
    // it.
    struct Number {
        std::uint64_t limb[3];
    };

    // Of a text that is there as a whole.
    using Powers = Poly1305Chains;
    static void mac(const std::byte* text, std::uint32_t length, const Key& key, Powers& chains,
                    std::uint64_t (&tag)[2]) {
        chains.start(key, text);
        chains.offer(length / 16);
        chains.finish(length, tag);
    }

    // This and finish() are functions of their own, for what they put away on the stack to be where it is
    // wiped.
    [[gnu::noinline]] void start(const Key& key, const std::byte* text) {
        poly_.start(key.r[0], key.r[1]);
        s_[0] = key.s[0];
        s_[1] = key.s[1];
        text_ = text;
        offered_ = 0;
        const Number r = {{poly_.r0, poly_.r1, 0}};
        const Number r3 = product(product(r, r), r), r6 = product(r3, r3), r12 = product(r6, r6);
        powers_[0] = product(r12, r3);
        powers_[1] = r12;
        powers_[2] = r6;
        powers_[3] = r3;
    }
    // So many more whole blocks of the text are there.
    [[gnu::always_inline]] void offer(std::uint32_t blocks) { offered_ += blocks; }

    // As with Poly1305Beside: how many turns, of at most `most`, there are to be; in each of them,
    // kBlocksPerTurn blocks of either chain.
    [[gnu::always_inline]] int turns(int most) {
        int step = 0;
        while (step < kSteps && (kTurns[step] > most || 2 * chain_blocks(step) > offered_)) ++step;
        step_ = step;
        offered_ -= 2 * chain_blocks(step);
        return kTurns[step];
    }
    [[gnu::always_inline]] Poly1305Key key(int) const { return {poly_.r0, poly_.r1, poly_.s1}; }
    [[gnu::always_inline]] Poly1305Cursor cursor(int which) const {
        if (which == 0) return {poly_.h0, poly_.h1, poly_.h2, text_};
        return {0, 0, 0, text_ + QuarterRounds::kBlockOfText * chain_blocks(step_)};
    }
    // The first one's cursor, then the second one's.
    [[gnu::always_inline]] void keep(int which, const Poly1305Cursor& cursor) {
        if (which == 0) return put({{cursor.h0, cursor.h1, cursor.h2}});
        if (step_ == kSteps) return;
        Number sum = {{poly_.h0, poly_.h1, poly_.h2}};
        multiply(sum, powers_[step_]);
        add(sum, {{cursor.h0, cursor.h1, cursor.h2}}, 1);
        wrap(sum);
        put(sum);
        text_ = cursor.text;
    }

    // `length`: of all the text, whose whole blocks have been offered.
    [[gnu::noinline]] void finish(std::uint32_t length, std::uint64_t (&tag)[2]) {
        const Poly1305Key r = key(0);
        while (int count = turns(kTurns[0])) {
            Poly1305Cursor chains[2] = {cursor(0), cursor(1)};
            for (count *= kBlocksPerTurn; count > 0; --count)
                for (Poly1305Cursor& chain : chains) QuarterRounds::block_alone(r, chain);
            for (int i = 0; i < 2; ++i) keep(i, chains[i]);
        }
        for (; offered_ > 0; --offered_, text_ += QuarterRounds::kBlockOfText) poly_.block(text_);
        if (length % 16 > 0) poly_.last_bytes(text_, length % 16);
        poly_.block(0, length);
        poly_.finish(s_[0], s_[1], tag[0], tag[1]);
    }

    // a *= b. The last limb that comes out is below 5.
    static void multiply(Number& a, const Number& b) {
        const auto [a0, a1, a2] = a.limb;
        const auto [b0, b1, b2] = b.limb;
        const Uint128 p00 = product(a0, b0), p01 = product(a0, b1), p10 = product(a1, b0),
                      p11 = product(a1, b1);
        std::uint64_t n[5];
        n[0] = low(p00);
        Uint128 sum = Uint128{high(p00)} + low(p01) + low(p10);
        n[1] = low(sum);
        sum = (sum >> 64) + high(p01) + high(p10) + low(p11) + product(a0, b2) + product(a2, b0);
        n[2] = low(sum);
        sum = (sum >> 64) + high(p11) + product(a1, b2) + product(a2, b1);
        n[3] = low(sum);
        n[4] = high(sum) + a2 * b2;
        // 2^130 is 5: once for what is above, and once for what that comes to.
        a = {{n[0], n[1], n[2] & 3}};
        add(a, {{n[2] >> 2 | n[3] << 62, n[3] >> 2 | n[4] << 62, n[4] >> 2}}, 5);
        wrap(a);
    }

  private:
    // What turns there are at a time, and blocks of either chain in one of them.
    static constexpr int kSteps = 4, kTurns[kSteps + 1] = {5, 4, 2, 1, 0}, kBlocksPerTurn = 3;

    static constexpr std::uint32_t chain_blocks(int step) {
        return static_cast<std::uint32_t>(kTurns[step] * kBlocksPerTurn);
    }
    [[gnu::always_inline]] void put(const Number& sum) {
        poly_.h0 = sum.limb[0];
        poly_.h1 = sum.limb[1];
        poly_.h2 = sum.limb[2];
    }
    static Number product(Number a, const Number& b) {
        multiply(a, b);
        return a;
    }
    // Below 2^130, but for a little.
    static void wrap(Number& a) {
        const std::uint64_t above = a.limb[2] >> 2;
        a.limb[2] &= 3;
        add(a, {{above, 0, 0}}, 5);
    }
    // a += times b
    static void add(Number& a, const Number& b, std::uint32_t times) {
        Uint128 sum = 0;
        for (int i = 0; i < 3; ++i) {
            sum += product(b.limb[i], times) + a.limb[i];
            a.limb[i] = low(sum);
            sum >>= 64;
        }
    }
    static Uint128 product(std::uint64_t x, std::uint64_t y) { return Uint128{x} * y; }
    static std::uint64_t low(Uint128 x) { return static_cast<std::uint64_t>(x); }
    static std::uint64_t high(Uint128 x) { return static_cast<std::uint64_t>(x >> 64); }

    Poly1305Scalar poly_;  // its h is that of all blocks before text_
    std::uint64_t s_[2];
    Number powers_[kSteps];  // of r, by what blocks of a chain a step has
    const std::byte* text_;
    std::uint32_t offered_;  // blocks that have not had their turn
    int step_;               // what the present turns are
};

}  // namespace
}  // namespace vern::aead
