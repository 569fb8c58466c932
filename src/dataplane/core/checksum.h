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

// The bulk of a sum, 32 bytes at a time, and copied on the way if `Copy`. 32-bit words in lanes of 64 bits
// need no carries: 2^32 of them would fit. GNU vectors of the size that every 64-bit CPU has.
template <bool Copy>
inline std::uint64_t checksum_rows(std::uint64_t sum, std::byte* to, const std::byte* from,
                                   std::size_t rows) noexcept {
    using Vector [[gnu::vector_size(16)]] = std::uint64_t;
    constexpr std::size_t kBytes = sizeof(Vector);
    Vector low{}, high{}, other_low{}, other_high{};
    for (; rows > 0; --rows, from += 2 * kBytes) {
        Vector x, y;
        std::memcpy(&x, from, kBytes);
        std::memcpy(&y, from + kBytes, kBytes);
        if constexpr (Copy) {
            std::memcpy(to, &x, kBytes);
            std::memcpy(to + kBytes, &y, kBytes);
            to += 2 * kBytes;
        }
        low += x & 0xffffffff;
        high += x >> 32;
        other_low += y & 0xffffffff;
        other_high += y >> 32;
    }
    const Vector all = low + high + other_low + other_high;
    return add_carry(sum, all[0] + all[1]);
}

template <bool Copy>
inline std::uint64_t checksum(std::uint64_t sum, std::byte* to, const std::byte* from,
                              std::size_t length) noexcept {
    const std::size_t rows = length / 32;
    if (rows > 0) sum = checksum_rows<Copy>(sum, to, from, rows);
    for (std::size_t at = 32 * rows; at < length; at += 8) {
        std::uint64_t word = 0;
        const std::size_t bytes = length - at < 8 ? length - at : 8;
        std::memcpy(&word, from + at, bytes);
        if constexpr (Copy) std::memcpy(to + at, &word, bytes);
        sum = add_carry(sum, word);
    }
    return sum;
}

}  // namespace detail

inline std::uint64_t checksum_add(std::uint64_t sum, const std::byte* data, std::size_t length) noexcept {
    return detail::checksum<false>(sum, nullptr, data, length);
}

// The same of what it copies; the two must not overlap.
inline std::uint64_t checksum_copy(std::uint64_t sum, std::byte* to, const std::byte* from,
                                   std::size_t length) noexcept {
    return detail::checksum<true>(sum, to, from, length);
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
