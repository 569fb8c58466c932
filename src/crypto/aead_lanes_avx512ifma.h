// The vector type of the AVX-512 kernels with IFMA (and VBMI2, which every CPU with IFMA but the first had
// too): what Poly1305 in 44-bit limbs asks for (poly1305_field44.h).
#pragma once

#include "crypto/aead_lanes_avx512.h"

namespace vern::aead {
namespace {

struct Avx512Ifma : Avx512 {
    [[gnu::always_inline]] static U64 multiply52_low(U64 sum, U64 a, U64 b) {
        return _mm512_madd52lo_epu64(sum, a, b);
    }
    [[gnu::always_inline]] static U64 multiply52_high(U64 sum, U64 a, U64 b) {
        return _mm512_madd52hi_epu64(sum, a, b);
    }
    template <int N>
    [[gnu::always_inline]] static U64 funnel_right64(U64 low, U64 high) {
        return _mm512_shrdi_epi64(low, high, N);
    }
};

}  // namespace
}  // namespace vern::aead
