// The AVX-512 kernel for CPUs without IFMA: 16 blocks a pass, Poly1305 in 8 lanes of 26-bit limbs.
#include "crypto/aead_implementations.h"
#include "crypto/aead_lanes_avx512.h"
#include "crypto/aead_train.h"
#include "crypto/poly1305_field26.h"

namespace vern::aead {
namespace {

using Kernel = Train<Avx512, Field26<Avx512>>;

void seal(std::span<const SealJob> train) noexcept { Kernel::seal(train.data(), train.size()); }
void open(std::span<OpenJob> train) noexcept { Kernel::open(train.data(), train.size()); }

}  // namespace

const Implementation kAvx512 = {.name = "avx512",
                                .description = "own kernel: AVX-512, 16 blocks at once",
                                .supported = cpu_has_avx512,
                                .seal = seal,
                                .open = open};

}  // namespace vern::aead
