// The AVX-512 kernel with IFMA and two states at a time, half a pass apart; Poly1305 in 8 lanes of 44-bit
// limbs.
#include "crypto/aead_implementations.h"
#include "crypto/aead_lanes_avx512ifma.h"
#include "crypto/aead_train.h"
#include "crypto/chacha20_staggered_avx512.h"
#include "crypto/poly1305_field44.h"

namespace vern::aead {
namespace {

struct Avx512IfmaX2 : Avx512Ifma {
    static constexpr int kPassesAtOnce = 12;  // eight messages of 1424 bytes
    static constexpr int kPassesFrom = 3;     // less takes longer than by turns

    template <class Pass>
    [[gnu::always_inline]] static void run(Keys& keys, Pass* const* passes, int count) {
        KeyedPass<Pass> keyed[kPassesAtOnce + 1];
        for (int i = 0; i < count + 1; ++i) {
            const Pass* const pass = passes[i < count ? i : 0];
            keyed[i] = {pass, ChaCha20<Avx512IfmaX2>::key_of(keys, pass->lanes, 0)};
        }
        staggered_passes<Avx512IfmaX2>(keys, keyed, count);
    }
};
using Kernel = Train<Avx512IfmaX2, Field44<Avx512IfmaX2>>;

void seal(std::span<const SealJob> train) noexcept { Kernel::seal(train.data(), train.size()); }
void open(std::span<OpenJob> train) noexcept { Kernel::open(train.data(), train.size()); }

}  // namespace

const Implementation kAvx512IfmaX2 = {.name = "avx512ifmax2",
                                      .description = "own kernel: AVX-512 with IFMA, twice 16 blocks at once",
                                      .supported = cpu_has_avx512ifma,
                                      .seal = seal,
                                      .open = open};

}  // namespace vern::aead
