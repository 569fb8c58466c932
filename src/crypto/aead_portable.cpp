// The kernel for CPUs that none of the others is for: plain C++.
#include "crypto/aead_implementations.h"
#include "crypto/aead_lanes_plain.h"
#include "crypto/aead_train.h"
#include "crypto/poly1305_field26.h"

namespace vern::aead {
namespace {

using Kernel = Train<PlainLanes<4>, Field26<PlainLanes<4>>>;

bool supported() noexcept { return true; }

void seal(std::span<const SealJob> train) noexcept { Kernel::seal(train.data(), train.size()); }
void open(std::span<OpenJob> train) noexcept { Kernel::open(train.data(), train.size()); }

}  // namespace

const Implementation kPortable = {.name = "portable",
                                  .description = "own kernel: plain C++, any CPU",
                                  .supported = supported,
                                  .seal = seal,
                                  .open = open};

}  // namespace vern::aead
