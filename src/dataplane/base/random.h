// Randomness as the core gets it: from the operating system in the daemon, from a seed in the simulation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vern {

class Random {
  public:
    virtual ~Random() = default;
    virtual void fill(std::span<std::byte> bytes) noexcept = 0;  // cryptographically secure outside of tests

    std::uint32_t u32() noexcept {
        std::uint32_t value = 0;
        fill(std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }
    std::uint64_t u64() noexcept {
        std::uint64_t value = 0;
        fill(std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }
};

}  // namespace vern
