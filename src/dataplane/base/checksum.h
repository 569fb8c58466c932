// The Internet checksum (RFC 1071), for inner packets: completing what the kernel left to "the hardware", and
// checking before packets are coalesced. Sums are kept as unfolded 64-bit one's-complement sums of the bytes
// in memory order, so they can be added in any order as long as every part but the last has an even length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace vern {

inline std::uint64_t add_carry(std::uint64_t a, std::uint64_t b) noexcept {
    a += b;
    return a + (a < b);
}

namespace detail {

using Vector16 [[gnu::vector_size(16)]] = std::uint64_t;
using Vector32 [[gnu::vector_size(32)]] = std::uint64_t;

// The bulk of a sum, two vectors at a time. Lanes of 64 bits sum up whole words, modulo 2^64, and their upper
// halves; what the lower halves sum up to is the difference, which fits for up to 2^32 of them. No carries.
template <class Vector>
[[gnu::always_inline]] inline std::uint64_t checksum_rows(const std::byte* from, std::size_t rows) noexcept {
    constexpr std::size_t kBytes = sizeof(Vector);
    Vector words{}, high{}, other_words{}, other_high{};
    for (; rows > 0; --rows, from += 2 * kBytes) {
        Vector x, y;
        std::memcpy(&x, from, kBytes);
        std::memcpy(&y, from + kBytes, kBytes);
        words += x;
        high += x >> 32;
        other_words += y;
        other_high += y >> 32;
    }
    high += other_high;
    const Vector all = words + other_words - (high << 32) + high;
    std::uint64_t sum = 0;
    for (std::size_t lane = 0; lane < kBytes / sizeof sum; ++lane) sum += all[lane];
    return sum;
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] inline std::uint64_t checksum_rows_avx2(const std::byte* from,
                                                                std::size_t rows) noexcept {
    return checksum_rows<Vector32>(from, rows);
}
#endif

}  // namespace detail

inline std::uint64_t checksum_add(std::uint64_t sum, const std::byte* data, std::size_t length) noexcept {
    std::size_t at = 0;
#if defined(__x86_64__)
    // Headers are not worth the call.
    if (length >= 256 && __builtin_cpu_supports("avx2")) {
        sum = add_carry(sum, detail::checksum_rows_avx2(data, length / 64));
        at = length / 64 * 64;
    }
#endif
    if (const std::size_t rows = (length - at) / 32; rows > 0) {
        sum = add_carry(sum, detail::checksum_rows<detail::Vector16>(data + at, rows));
        at += 32 * rows;
    }
    for (; at < length; at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, data + at, length - at < 8 ? length - at : 8);
        sum = add_carry(sum, word);
    }
    return sum;
}

// To 16 bits, not complemented, in memory order: store it with memcpy as it is.
inline std::uint16_t checksum_fold(std::uint64_t sum) noexcept {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

}  // namespace vern
