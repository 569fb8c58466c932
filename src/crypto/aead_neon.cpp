// The aarch64 kernel: 4 blocks a pass, Poly1305 in the integer unit.
#include "crypto/aead_implementations.h"
#include "crypto/aead_lanes_neon.h"
#include "crypto/aead_train.h"
#include "crypto/poly1305_field26.h"

namespace vern::aead {
namespace {

using Kernel = Train<Neon, Field26<Neon>>;

// NEON is part of aarch64.
bool supported() noexcept { return true; }

void seal(std::span<const SealJob> train) noexcept { Kernel::seal(train.data(), train.size()); }
void open(std::span<OpenJob> train) noexcept { Kernel::open(train.data(), train.size()); }

}  // namespace

const Implementation kNeon = {.name = "neon",
                              .description = "own kernel: NEON, 4 blocks at once",
                              .supported = supported,
                              .seal = seal,
                              .open = open};

}  // namespace vern::aead
