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

// Several passes at once, as chacha20_staggered_avx512.h has them; these are one after the other.
struct PlainRun : PlainLanes<16> {
    static constexpr int kPassesAtOnce = 12;
    static constexpr int kPassesFrom = 3;

    template <class Pass>
    static void run(Keys& keys, Pass* const* passes, int count) {
        using ChaCha = ChaCha20<PlainRun>;
        for (int i = 0; i < count; ++i) {
            U32 x[16];
            ChaCha::tall(x, keys, passes[i]->lanes);
            ChaCha::to_blocks(x);
            for (int lane = 0; lane < kLanes; ++lane)
                store_bytes(passes[i]->to[lane], xor32(x[lane], load_bytes(passes[i]->from[lane])));
        }
    }
};

}  // namespace

constinit const Implementation kEmulatedAvx512IfmaX2 =
    emulated<Train<PlainRun, Field44<PlainRun>>>("emulated_avx512ifmax2");
constinit const Implementation kEmulatedAvx512Ifma =
    emulated<Train<PlainLanes<16>, Field44<PlainLanes<16>>>>("emulated_avx512ifma");
constinit const Implementation kEmulatedAvx512 =
    emulated<Train<PlainLanes<16>, Field26<PlainLanes<16>>>>("emulated_avx512");
constinit const Implementation kEmulatedAvx2 =
    emulated<Train<PlainLanes<8>, Field26<PlainLanes<8>>>>("emulated_avx2");
constinit const Implementation kEmulatedNeon =
    emulated<Train<PlainLanes<4>, Field26<PlainLanes<4>>>>("emulated_neon");

}  // namespace vern::aead
