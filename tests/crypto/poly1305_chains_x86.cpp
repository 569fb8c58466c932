// In a file of its own: it is built with what the AVX2 kernel is built with.
#include "crypto/poly1305_chains.h"

#include "poly1305_chains_x86.h"

namespace vern::aead {

void chains_mac(const std::uint64_t (&key)[4], const std::byte* text, std::uint32_t length,
                std::uint64_t (&tag)[2]) {
    Poly1305Chains::Powers powers;
    Poly1305Chains::mac(text, length, {{key[0], key[1]}, {key[2], key[3]}}, powers, tag);
}

void chains_multiply(std::uint64_t (&a)[3], const std::uint64_t (&b)[3]) {
    Poly1305Chains::Number product = {{a[0], a[1], a[2]}};
    Poly1305Chains::multiply(product, {{b[0], b[1], b[2]}});
    for (int i = 0; i < 3; ++i) a[i] = product.limb[i];
}

}  // namespace vern::aead
