#include "aead_emulated.h"

#include "crypto/aead_lanes_plain.h"
#include "crypto/aead_train.h"
#include "crypto/poly1305_field26.h"
#include "crypto/poly1305_field44.h"

namespace vern::aead {
namespace {

bool supported() noexcept { return true; }

template <class Kernel>
constexpr Implementation emulated(std::string_view name) noexcept {
    return {.name = name,
            .description = "a wide kernel without its instructions",
            .supported = supported,
            .seal = [](std::span<const SealJob> train) noexcept { Kernel::seal(train.data(), train.size()); },
            .open = [](std::span<OpenJob> train) noexcept { Kernel::open(train.data(), train.size()); }};
}

}  // namespace

constinit const Implementation kEmulatedAvx512Ifma =
    emulated<Train<PlainLanes<16>, Field44<PlainLanes<16>>>>("emulated_avx512ifma");
constinit const Implementation kEmulatedAvx512 =
    emulated<Train<PlainLanes<16>, Field26<PlainLanes<16>>>>("emulated_avx512");
constinit const Implementation kEmulatedAvx2 =
    emulated<Train<PlainLanes<8>, Field26<PlainLanes<8>>>>("emulated_avx2");
constinit const Implementation kEmulatedNeon =
    emulated<Train<PlainLanes<4>, Field26<PlainLanes<4>>>>("emulated_neon");

}  // namespace vern::aead
