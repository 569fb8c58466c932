// Key material that wipes itself. A Secret is wiped when destroyed, when moved from and when assigned over,
// compares in constant time, and cannot be copied by accident (clone() says so aloud). It protects the bytes'
// lifetime; where they live is up to the owner: long-lived owners live in a SecretPool (secret_pool.h), which
// keeps them out of core dumps and swap.
#pragma once

#include <sodium.h>

#include <array>
#include <cstddef>
#include <span>

namespace vern {

template <std::size_t N>
class Secret {
  public:
    static constexpr std::size_t size_bytes = N;

    Secret() noexcept : bytes_{} {}
    explicit Secret(std::span<const std::byte, N> bytes) noexcept { assign(bytes); }
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    Secret(Secret&& other) noexcept : bytes_(other.bytes_) { other.wipe(); }
    Secret& operator=(Secret&& other) noexcept {
        if (this != &other) {
            bytes_ = other.bytes_;
            other.wipe();
        }
        return *this;
    }
    ~Secret() { wipe(); }

    Secret clone() const noexcept { return Secret(span()); }
    void assign(std::span<const std::byte, N> bytes) noexcept {
        for (std::size_t i = 0; i < N; ++i) bytes_[i] = bytes[i];
    }
    void wipe() noexcept { sodium_memzero(bytes_.data(), N); }

    std::span<const std::byte, N> span() const noexcept { return bytes_; }
    std::span<std::byte, N> writable() noexcept { return bytes_; }
    const unsigned char* data() const noexcept {
        return reinterpret_cast<const unsigned char*>(bytes_.data());
    }
    unsigned char* data() noexcept { return reinterpret_cast<unsigned char*>(bytes_.data()); }

    bool is_zero() const noexcept { return sodium_is_zero(data(), N) != 0; }
    friend bool operator==(const Secret& a, const Secret& b) noexcept {
        return sodium_memcmp(a.bytes_.data(), b.bytes_.data(), N) == 0;
    }

  private:
    std::array<std::byte, N> bytes_;
};

}  // namespace vern
