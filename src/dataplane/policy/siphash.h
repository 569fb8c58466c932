// SipHash-1-3 (Aumasson and Bernstein) over whole 64-bit words: the hash of tables whose keys attackers
// choose. One round a word, as in the hash tables of several language runtimes; the key is drawn at start, so
// nobody can aim packets at one bucket.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "dataplane/base/random.h"

namespace vern::policy {

class SipHash {
  public:
    explicit SipHash(Random& random) noexcept : k0_(random.u64()), k1_(random.u64()) {}

    std::uint64_t operator()(std::span<const std::uint64_t> words) const noexcept {
        std::uint64_t v0 = k0_ ^ 0x736f6d6570736575, v1 = k1_ ^ 0x646f72616e646f6d,
                      v2 = k0_ ^ 0x6c7967656e657261, v3 = k1_ ^ 0x7465646279746573;
        const auto round = [&] {
            v0 += v1;
            v2 += v3;
            v1 = std::rotl(v1, 13) ^ v0;
            v3 = std::rotl(v3, 16) ^ v2;
            v0 = std::rotl(v0, 32) + v3;
            v2 += v1;
            v1 = std::rotl(v1, 17) ^ v2;
            v3 = std::rotl(v3, 21) ^ v0;
            v2 = std::rotl(v2, 32);
        };
        for (const std::uint64_t word : words) {
            v3 ^= word;
            round();
            v0 ^= word;
        }
        const std::uint64_t last = std::uint64_t{words.size()} * 8 << 56;
        v3 ^= last;
        round();
        v0 ^= last;
        v2 ^= 0xff;
        round();
        round();
        round();
        return v0 ^ v1 ^ v2 ^ v3;
    }

  private:
    std::uint64_t k0_, k1_;
};

}  // namespace vern::policy
