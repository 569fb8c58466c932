// The AVX-512 kernel with IFMA: 16 blocks a pass, Poly1305 in 8 lanes of 44-bit limbs.
#include "crypto/aead_implementations.h"
#include "crypto/aead_lanes_avx512ifma.h"
#include "crypto/aead_train.h"
#include "crypto/poly1305_field44.h"

namespace vern::aead {
namespace {

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
