// Numbers modulo 2^130 - 5 in the lanes of a vector type V that multiplies 32 by 32 bits: five limbs of 26.
//
// Bounds. A reduced element has limbs below 2^26, but the second below 2^26 + 2^11; an element plus a block's
// stays below 2^28. Multipliers are reduced, so 5 * limb < 2^29. A sum holds at most 5 * kTermsMax products
// below 2^57: below 2^62.
#pragma once

#include <cstdint>

namespace vern::aead {
namespace {

template <class V>
struct Field26 {
    using Vector = V;
    using U64 = typename V::U64;
    static constexpr int kTermsMax = 4;  // products that may be summed before a reduction

    struct Element {
        U64 limb[5];
    };
    struct Multiplier {
        U64 r[5], s[5];  // s: 5 r, for limbs that wrap around 2^130; s[0] is never used
    };
    struct Sum {
        U64 limb[5];
    };

    [[gnu::always_inline]] static U64 low26() { return V::set64((std::uint64_t{1} << 26) - 1); }
    [[gnu::always_inline]] static U64 times5(U64 x) { return V::add64(x, V::template left64<2>(x)); }

    [[gnu::always_inline]] static Element zero() {
        const U64 none = V::set64(0);
        return {{none, none, none, none, none}};
    }
    // 128 bits, without the block's final one.
    [[gnu::always_inline]] static Element number(U64 low, U64 high) {
        const U64 middle = V::or64(V::template right64<52>(low), V::template left64<12>(high));
        return {{V::and64(low, low26()), V::and64(V::template right64<26>(low), low26()),
                 V::and64(middle, low26()), V::and64(V::template right64<14>(high), low26()),
                 V::template right64<40>(high)}};
    }
    [[gnu::always_inline]] static Element block(U64 low, U64 high) {
        Element e = number(low, high);
        e.limb[4] = V::or64(e.limb[4], V::set64(std::uint64_t{1} << 24));
        return e;
    }
    [[gnu::always_inline]] static Element add(const Element& a, const Element& b) {
        Element sum;
        for (int i = 0; i < 5; ++i) sum.limb[i] = V::add64(a.limb[i], b.limb[i]);
        return sum;
    }
    [[gnu::always_inline]] static Element select(typename V::Mask where, const Element& yes,
                                                 const Element& no) {
        Element chosen;
        for (int i = 0; i < 5; ++i) chosen.limb[i] = V::select(where, yes.limb[i], no.limb[i]);
        return chosen;
    }
    [[gnu::always_inline]] static Multiplier multiplier(const Element& e) {
        Multiplier m;
        for (int i = 0; i < 5; ++i) {
            m.r[i] = e.limb[i];
            m.s[i] = times5(e.limb[i]);
        }
        return m;
    }

    [[gnu::always_inline]] static Sum empty() {
        const U64 none = V::set64(0);
        return {{none, none, none, none, none}};
    }
    [[gnu::always_inline]] static Sum join(Sum a, const Sum& b) {
        for (int i = 0; i < 5; ++i) a.limb[i] = V::add64(a.limb[i], b.limb[i]);
        return a;
    }
    // sum += a * m.
    [[gnu::always_inline]] static void multiply_add(Sum& sum, const Element& a, const Multiplier& m) {
        for (int i = 0; i < 5; ++i)
            for (int j = 0; j < 5; ++j) {
                const U64 factor = i + j < 5 ? m.r[j] : m.s[j];
                U64& limb = sum.limb[(i + j) % 5];
                limb = V::add64(limb, V::multiply32(a.limb[i], factor));
            }
    }
    // Two chains of carries at once, 0 to 1 and 3 to 4 and so on: half the latency of one.
    [[gnu::always_inline]] static Element reduce(const Sum& sum) {
        Element e;
        for (int i = 0; i < 5; ++i) e.limb[i] = sum.limb[i];
        const auto carry = [&](int from, int to) {
            const U64 over = V::template right64<26>(e.limb[from]);
            e.limb[from] = V::and64(e.limb[from], low26());
            e.limb[to] = V::add64(e.limb[to], to == 0 ? times5(over) : over);
        };
        carry(0, 1);
        carry(3, 4);
        carry(1, 2);
        carry(4, 0);
        carry(2, 3);
        carry(0, 1);
        carry(3, 4);
        return e;
    }

    // The tag: the number modulo 2^130 - 5, plus s, modulo 2^128.
    [[gnu::always_inline]] static void finish(const Element& e, U64 s_low, U64 s_high, U64& low, U64& high) {
        U64 x[5], y[5];
        for (int i = 0; i < 5; ++i) x[i] = e.limb[i];
        const auto carry_all = [](U64(&limb)[5]) {
            for (int i = 0; i < 4; ++i) {
                limb[i + 1] = V::add64(limb[i + 1], V::template right64<26>(limb[i]));
                limb[i] = V::and64(limb[i], low26());
            }
        };
        for (int turn = 0; turn < 2; ++turn) {
            carry_all(x);
            x[0] = V::add64(x[0], times5(V::template right64<26>(x[4])));
            x[4] = V::and64(x[4], low26());
        }
        carry_all(x);
        // At or above the modulus: adding 5 carries out of 130 bits.
        for (int i = 0; i < 5; ++i) y[i] = x[i];
        y[0] = V::add64(y[0], V::set64(5));
        carry_all(y);
        const auto above = V::greater(V::template right64<26>(y[4]), V::set64(0));
        const Element s = number(s_low, s_high);
        for (int i = 0; i < 5; ++i) x[i] = V::add64(V::select(above, y[i], x[i]), s.limb[i]);
        carry_all(x);
        // Packed; what is above 128 bits is dropped by the shifts.
        low = V::or64(x[0], V::or64(V::template left64<26>(x[1]), V::template left64<52>(x[2])));
        high = V::or64(V::template right64<12>(x[2]),
                       V::or64(V::template left64<14>(x[3]), V::template left64<40>(x[4])));
    }
};

}  // namespace
}  // namespace vern::aead
