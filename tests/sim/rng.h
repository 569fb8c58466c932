// The only source of chance in a simulated world: xoshiro256** (Blackman and Vigna), seeded by splitmix64.
// Everything a world decides comes from here, so a seed is a world.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/base/random.h"

namespace vern::sim {

constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

class Rng {
  public:
    explicit Rng(std::uint64_t seed) noexcept {
        for (auto& word : state_) word = seed = mix(seed);
    }
    std::uint64_t next() noexcept {
        const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
        const std::uint64_t t = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= t;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }
    // Uniform in [0, n), n > 0. The bias for n far below 2^64 does not matter here.
    std::uint64_t below(std::uint64_t n) noexcept { return next() % std::max<std::uint64_t>(n, 1); }
    unsigned index(std::size_t n) noexcept { return static_cast<unsigned>(below(n)); }
    std::int64_t range(std::int64_t low, std::int64_t high) noexcept {
        return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low) + 1));
    }
    bool chance(double probability) noexcept {
        return static_cast<double>(next() >> 11) * 0x1p-53 < probability;
    }
    void fill(std::span<std::byte> bytes) noexcept {
        while (!bytes.empty()) {
            const std::uint64_t word = next();
            const std::size_t n = bytes.size() < sizeof word ? bytes.size() : sizeof word;
            std::memcpy(bytes.data(), &word, n);
            bytes = bytes.subspan(n);
        }
    }
    // A generator of its own, so that one part's draws do not shift another's.
    Rng fork() noexcept { return Rng(next()); }

  private:
    std::array<std::uint64_t, 4> state_;
};

// The core's randomness.
class SeededRandom final : public Random {
  public:
    explicit SeededRandom(Rng rng) noexcept : rng_(rng) {}
    void fill(std::span<std::byte> bytes) noexcept override { rng_.fill(bytes); }

  private:
    Rng rng_;
};

}  // namespace vern::sim
