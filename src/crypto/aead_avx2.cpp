// The AVX2 kernel: 8 blocks a pass, Poly1305 in 4 lanes of 26-bit limbs.
#include "crypto/aead_implementations.h"
#include "crypto/aead_lanes_avx2.h"
#include "crypto/aead_long.h"
#include "crypto/aead_train.h"
#include "crypto/poly1305_field26.h"

namespace vern::aead {
namespace {

using Kernel = Train<Avx2, Field26<Avx2>>;

using Long = LongMessage<Avx2>;

void seal(std::span<const SealJob> train) noexcept {
    if (train.size() == 1 && train[0].length >= Long::kBytesMin) return Long::seal(train[0]);
    Kernel::seal(train.data(), train.size());
}
void open(std::span<OpenJob> train) noexcept {
    if (train.size() == 1 && train[0].length >= Long::kBytesMin) return Long::open(train[0]);
    Kernel::open(train.data(), train.size());
}

}  // namespace

const Implementation kAvx2 = {.name = "avx2",
                              .description = "own kernel: AVX2, 8 blocks at once",
                              .supported = cpu_has_avx2,
                              .seal = seal,
                              .open = open};

}  // namespace vern::aead
