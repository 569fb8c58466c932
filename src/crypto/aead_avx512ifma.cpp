// The AVX-512 kernel with IFMA (and VBMI2, which every CPU with IFMA but the first had too): 16 blocks a
// pass, Poly1305 in 8 lanes of 44-bit limbs.
#include "crypto/aead_implementations.h"
#include "crypto/aead_lanes_avx512.h"
#include "crypto/aead_train.h"
#include "crypto/poly1305_field44.h"

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
using Kernel = Train<Avx512Ifma, Field44<Avx512Ifma>>;

void seal(std::span<const SealJob> train) noexcept { Kernel::seal(train.data(), train.size()); }
void open(std::span<OpenJob> train) noexcept { Kernel::open(train.data(), train.size()); }

}  // namespace

const Implementation kAvx512Ifma = {.name = "avx512ifma",
                                    .description = "own kernel: AVX-512 with IFMA, 16 blocks at once",
                                    .supported = cpu_has_avx512ifma,
                                    .seal = seal,
                                    .open = open};

}  // namespace vern::aead
