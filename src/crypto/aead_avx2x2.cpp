// The AVX2 kernel with two states at a time: 16 blocks a pass, Poly1305 in twice 4 lanes of 26-bit limbs.
#include "crypto/aead_implementations.h"
#include "crypto/aead_lanes_avx2x2.h"
#include "crypto/aead_train.h"
#include "crypto/poly1305_field26.h"

namespace vern::aead {
namespace {

using Kernel = Train<Avx2x2, Field26<Avx2x2>>;

// Fewer have too little for sixteen lanes.
constexpr std::size_t kMessagesMin = 8;

void seal(std::span<const SealJob> train) noexcept {
    if (train.size() < kMessagesMin) return kAvx2.seal(train);
    Kernel::seal(train.data(), train.size());
}
void open(std::span<OpenJob> train) noexcept {
    if (train.size() < kMessagesMin) return kAvx2.open(train);
    Kernel::open(train.data(), train.size());
}

}  // namespace

const Implementation kAvx2x2 = {.name = "avx2x2",
                                .description = "own kernel: AVX2, twice 8 blocks at once",
                                .supported = cpu_has_avx2,
                                .seal = seal,
                                .open = open};

}  // namespace vern::aead
