// Poly1305Chains for tests, which are not themselves built for AVX2.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vern::aead {

// key: r, then s. As the AEAD authenticates it.
void chains_mac(const std::uint64_t (&key)[4], const std::byte* text, std::uint32_t length,
                std::uint64_t (&tag)[2]);
// Modulo 2^130 - 5; last limbs below 16.
void chains_multiply(std::uint64_t (&a)[3], const std::uint64_t (&b)[3]);

}  // namespace vern::aead
