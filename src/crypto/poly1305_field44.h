// Numbers modulo 2^130 - 5 in the lanes of a vector type V that multiplies 52 by 52 bits (AVX-512 IFMA):
// limbs of 44, 44 and 42 bits. V adds `multiply52_low(sum, a, b)` and `multiply52_high`: sum plus the low or
// high 52 bits of the product of the low 52 bits of a and b; and `funnel_right64<N>(low, high)`: the low 64
// bits of high:low shifted right.
//
// Bounds. A reduced element has limbs below 2^44, 2^44 + 2^9, 2^42; an element plus a block's limbs stays
// below 2^46. Multipliers are reduced, so 20 * limb < 2^49. A high half is below 2^(46 + 49 - 52) and at most
// 3 * kTermsMax of them are summed: below 2^48, below 2^58 after the shift to the next limb's place. Low
// halves: 3 * kTermsMax * 2^52 < 2^57. Nothing overflows 64 bits.
#pragma once

#include <cstdint>

namespace vern::aead {
namespace {

template <class V>
struct Field44 {
    using Vector = V;
    using U64 = typename V::U64;
    static constexpr int kTermsMax = 4;  // products that may be summed before a reduction

    struct Element {
        U64 limb[3];
    };
    struct Multiplier {
        U64 r0, r1, r2, s1, s2;  // s: 20 r, for limbs that wrap around 2^132
    };
    struct Sum {
        U64 low[3], high[3];
    };

    [[gnu::always_inline]] static U64 low44() { return V::set64((std::uint64_t{1} << 44) - 1); }
    [[gnu::always_inline]] static U64 low42() { return V::set64((std::uint64_t{1} << 42) - 1); }

    [[gnu::always_inline]] static Element zero() {
        const U64 none = V::set64(0);
        return {{none, none, none}};
    }
    // 128 bits, without the block's final one.
    [[gnu::always_inline]] static Element number(U64 low, U64 high) {
        return {{V::and64(low, low44()), V::and64(V::template funnel_right64<44>(low, high), low44()),
                 V::template right64<24>(high)}};
    }
    [[gnu::always_inline]] static Element block(U64 low, U64 high) {
        Element e = number(low, high);
        e.limb[2] = V::or64(e.limb[2], V::set64(std::uint64_t{1} << 40));
        return e;
    }
    [[gnu::always_inline]] static Element add(const Element& a, const Element& b) {
        return {
            {V::add64(a.limb[0], b.limb[0]), V::add64(a.limb[1], b.limb[1]), V::add64(a.limb[2], b.limb[2])}};
    }
    [[gnu::always_inline]] static Element select(typename V::Mask where, const Element& yes,
                                                 const Element& no) {
        return {{V::select(where, yes.limb[0], no.limb[0]), V::select(where, yes.limb[1], no.limb[1]),
                 V::select(where, yes.limb[2], no.limb[2])}};
    }
    [[gnu::always_inline]] static Multiplier multiplier(const Element& e) {
        const auto twenty = [](U64 x) {
            return V::add64(V::template left64<4>(x), V::template left64<2>(x));
        };
        return {e.limb[0], e.limb[1], e.limb[2], twenty(e.limb[1]), twenty(e.limb[2])};
    }

    [[gnu::always_inline]] static Sum empty() {
        const U64 none = V::set64(0);
        return {{none, none, none}, {none, none, none}};
    }
    [[gnu::always_inline]] static void product(Sum& sum, int limb, U64 a, U64 b) {
        sum.low[limb] = V::multiply52_low(sum.low[limb], a, b);
        sum.high[limb] = V::multiply52_high(sum.high[limb], a, b);
    }
    [[gnu::always_inline]] static Sum join(Sum a, const Sum& b) {
        for (int i = 0; i < 3; ++i) {
            a.low[i] = V::add64(a.low[i], b.low[i]);
            a.high[i] = V::add64(a.high[i], b.high[i]);
        }
        return a;
    }
    // sum += a * m. Limb 0 comes last out of a reduction, so it goes in last.
    [[gnu::always_inline]] static void multiply_add(Sum& sum, const Element& a, const Multiplier& m) {
        product(sum, 0, a.limb[1], m.s2);
        product(sum, 1, a.limb[1], m.r0);
        product(sum, 2, a.limb[1], m.r1);
        product(sum, 0, a.limb[2], m.s1);
        product(sum, 1, a.limb[2], m.s2);
        product(sum, 2, a.limb[2], m.r0);
        product(sum, 0, a.limb[0], m.r0);
        product(sum, 1, a.limb[0], m.r1);
        product(sum, 2, a.limb[0], m.r2);
    }
    [[gnu::always_inline]] static Element reduce(const Sum& sum) {
        U64 d0 = sum.low[0];
        U64 d1 = V::add64(sum.low[1], V::template left64<8>(sum.high[0]));
        U64 d2 = V::add64(sum.low[2], V::template left64<8>(sum.high[1]));
        d1 = V::add64(d1, V::template right64<44>(d0));
        d0 = V::and64(d0, low44());
        d2 = V::add64(d2, V::template right64<44>(d1));
        d1 = V::and64(d1, low44());
        const U64 wrapped = V::add64(V::template right64<42>(d2), V::template left64<10>(sum.high[2]));
        d2 = V::and64(d2, low42());
        d0 = V::add64(d0, V::add64(wrapped, V::template left64<2>(wrapped)));
        d1 = V::add64(d1, V::template right64<44>(d0));
        d0 = V::and64(d0, low44());
        return {{d0, d1, d2}};
    }

    // The tag: the number modulo 2^130 - 5, plus s, modulo 2^128.
    [[gnu::always_inline]] static void finish(const Element& e, U64 s_low, U64 s_high, U64& low, U64& high) {
        U64 a = e.limb[0], b = e.limb[1], c = e.limb[2];
        for (int turn = 0; turn < 2; ++turn) {
            b = V::add64(b, V::template right64<44>(a));
            a = V::and64(a, low44());
            c = V::add64(c, V::template right64<44>(b));
            b = V::and64(b, low44());
            const U64 wrapped = V::template right64<42>(c);
            c = V::and64(c, low42());
            a = V::add64(a, V::add64(wrapped, V::template left64<2>(wrapped)));
        }
        b = V::add64(b, V::template right64<44>(a));
        a = V::and64(a, low44());
        // At or above the modulus: adding 5 carries out of 130 bits.
        U64 p = V::add64(a, V::set64(5));
        U64 q = V::add64(b, V::template right64<44>(p));
        p = V::and64(p, low44());
        const U64 r = V::add64(c, V::template right64<44>(q));
        q = V::and64(q, low44());
        const auto above = V::greater(V::template right64<42>(r), V::set64(0));
        a = V::select(above, p, a);
        b = V::select(above, q, b);
        c = V::select(above, V::and64(r, low42()), c);

        // 44-bit limbs plus s's, then packed; the carry out of 128 bits is dropped by the shift.
        const Element s = number(s_low, s_high);
        a = V::add64(a, s.limb[0]);
        b = V::add64(V::add64(b, s.limb[1]), V::template right64<44>(a));
        a = V::and64(a, low44());
        c = V::add64(V::add64(c, s.limb[2]), V::template right64<44>(b));
        b = V::and64(b, low44());
        low = V::or64(a, V::template left64<44>(b));
        high = V::or64(V::template right64<20>(b), V::template left64<24>(c));
    }
};

}  // namespace
}  // namespace vern::aead
