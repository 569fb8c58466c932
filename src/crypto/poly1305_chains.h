// Poly1305 (RFC 8439, 2.5) of one long message in the integer unit, as two chains of blocks. A block waits
// for the one ahead of it, so two chains together take little longer than one of them alone. What the first
// comes to is multiplied with the power of r that stands for the blocks of the second. For x86 CPUs with
// BMI2.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "crypto/aead_secrets.h"
#include "crypto/poly1305_scalar.h"
#include "crypto/quarter_rounds_avx2.h"

namespace vern::aead {
namespace {

class Poly1305Chains {
  public:
    struct Key {
        std::uint64_t r[2], s[2];
    };
    // A number modulo 2^130 - 5. The last limb is below 16.
    struct Number {
        std::uint64_t limb[3];
    };
    // Key material: the caller's to wipe.
    struct Powers {
        Poly1305Scalar poly;
        Number of_r;
    };

    static void mac(const std::byte* text, std::uint32_t length, const Key& key, Powers& powers,
                    std::uint64_t (&tag)[2]) {
        Poly1305Scalar& poly = powers.poly;
        poly.start(key.r[0], key.r[1]);
        const std::uint32_t blocks = length / 16;
        const Number sum = whole_blocks(text, blocks, powers);
        poly.h0 = sum.limb[0];
        poly.h1 = sum.limb[1];
        poly.h2 = sum.limb[2];
        if (length % 16 > 0) poly.last_bytes(text + std::size_t{16} * blocks, length % 16);
        poly.block(0, length);
        poly.finish(key.s[0], key.s[1], tag[0], tag[1]);
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
        const std::uint64_t above = a.limb[2] >> 2;
        a.limb[2] &= 3;
        add(a, {{above, 0, 0}}, 5);
    }

  private:
    // The first chain has what is over when both are equally long.
    static Number whole_blocks(const std::byte* text, std::uint32_t blocks, Powers& powers) {
        const std::uint32_t turns = with_few_bits(blocks / 2), over = blocks - 2 * turns;
        Poly1305Cursor chains[2] = {{0, 0, 0, text}, {0, 0, 0, text + std::size_t{16} * (over + turns)}};
        const Poly1305Scalar& poly = powers.poly;
        for (std::uint32_t i = 0; i < over; ++i) QuarterRounds::block_alone(poly, chains[0]);
        // r to the power of `turns`, which is no secret, a factor or two a turn: beside the blocks. The turns
        // after that have a loop of their own, since factors leave too few registers.
        const Number r = {{poly.r0, poly.r1, 0}};
        powers.of_r = r;
        std::uint32_t turn = 0;
        for (int bit = static_cast<int>(std::bit_width(turns)) - 2; bit >= 0; --bit, ++turn) {
            for (Poly1305Cursor& chain : chains) QuarterRounds::block_alone(poly, chain);
            const Number power = powers.of_r;
            multiply(powers.of_r, power);
            if (turns >> bit & 1) multiply(powers.of_r, r);
        }
        for (; turn < turns; ++turn)
            for (Poly1305Cursor& chain : chains) QuarterRounds::block_alone(poly, chain);
        Number sum = number(chains[0]);
        if (turns > 0) {
            multiply(sum, powers.of_r);
            add(sum, number(chains[1]), 1);
        }
        wipe_secrets(chains, sizeof chains);
        return sum;
    }
    static Number number(const Poly1305Cursor& chain) { return {{chain.h0, chain.h1, chain.h2}}; }

    // Rounded down: each bit of an exponent may want a factor.
    static std::uint32_t with_few_bits(std::uint32_t count) {
        const int rest = static_cast<int>(std::bit_width(count)) - 4;
        return rest > 0 ? count >> rest << rest : count;
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
};

}  // namespace
}  // namespace vern::aead
