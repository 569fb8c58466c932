// Poly1305 (RFC 8439, 2.5) of one message in the integer unit: limbs of 64 bits. For messages too short or
// too few for lanes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vern::aead {
namespace {

__extension__ typedef unsigned __int128 Uint128;

struct Poly1305Scalar {
    std::uint64_t h0, h1, h2;  // h2 stays below 8 between blocks
    std::uint64_t r0, r1, s1;  // s1: 5/4 r1, exact since r1 is a multiple of four

    [[gnu::always_inline]] void start(std::uint64_t r_low, std::uint64_t r_high) {
        h0 = h1 = h2 = 0;
        r0 = r_low & 0x0ffffffc0fffffff;
        r1 = r_high & 0x0ffffffc0ffffffc;
        s1 = r1 + (r1 >> 2);
    }

    [[gnu::always_inline]] void block(std::uint64_t low, std::uint64_t high) {
        Uint128 sum = Uint128{h0} + low;
        const auto a0 = static_cast<std::uint64_t>(sum);
        sum = Uint128{h1} + high + static_cast<std::uint64_t>(sum >> 64);
        const auto a1 = static_cast<std::uint64_t>(sum);
        const std::uint64_t a2 = h2 + static_cast<std::uint64_t>(sum >> 64) + 1;
        // 2^128 = 2^130 / 4 wraps to 5/4.
        const Uint128 d0 = Uint128{a0} * r0 + Uint128{a1} * s1;
        const Uint128 d1 =
            Uint128{a0} * r1 + Uint128{a1} * r0 + a2 * s1 + static_cast<std::uint64_t>(d0 >> 64);
        const std::uint64_t d2 = a2 * r0 + static_cast<std::uint64_t>(d1 >> 64);
        const std::uint64_t wrapped = (d2 >> 2) + (d2 & ~std::uint64_t{3});
        sum = Uint128{static_cast<std::uint64_t>(d0)} + wrapped;
        h0 = static_cast<std::uint64_t>(sum);
        sum = Uint128{static_cast<std::uint64_t>(d1)} + static_cast<std::uint64_t>(sum >> 64);
        h1 = static_cast<std::uint64_t>(sum);
        h2 = (d2 & 3) + static_cast<std::uint64_t>(sum >> 64);
    }

    [[gnu::always_inline]] void block(const std::byte* data) {
        std::uint64_t words[2];
        std::memcpy(words, data, 16);
        block(words[0], words[1]);
    }
    // 1 to 15 bytes, padded with zeros.
    [[gnu::always_inline]] void last_bytes(const std::byte* data, std::size_t length) {
        std::uint64_t words[2] = {};
        std::memcpy(words, data, length);
        block(words[0], words[1]);
    }

    // The number modulo 2^130 - 5, plus s, modulo 2^128.
    [[gnu::always_inline]] void finish(std::uint64_t s_low, std::uint64_t s_high, std::uint64_t& low,
                                       std::uint64_t& high) const {
        Uint128 sum = Uint128{h0} + 5;
        const auto g0 = static_cast<std::uint64_t>(sum);
        sum = Uint128{h1} + static_cast<std::uint64_t>(sum >> 64);
        const auto g1 = static_cast<std::uint64_t>(sum);
        const std::uint64_t g2 = h2 + static_cast<std::uint64_t>(sum >> 64);
        // All ones if at or above the modulus; h2 is below 8.
        const std::uint64_t above = std::uint64_t{0} - ((g2 >> 2) & 1);
        sum = Uint128{(h0 & ~above) | (g0 & above)} + s_low;
        low = static_cast<std::uint64_t>(sum);
        high = ((h1 & ~above) | (g1 & above)) + s_high + static_cast<std::uint64_t>(sum >> 64);
    }
};

}  // namespace
}  // namespace vern::aead
