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

inline std::uint64_t checksum_add(std::uint64_t sum, const std::byte* data, std::size_t length) noexcept {
    std::uint64_t word = 0;
    std::uint64_t other = 0;  // a second chain, so that the carries do not wait for each other
    for (; length >= 32; data += 32, length -= 32) {
        std::uint64_t w[4];
        std::memcpy(w, data, 32);
        sum = add_carry(sum, w[0]);
        other = add_carry(other, w[1]);
        sum = add_carry(sum, w[2]);
        other = add_carry(other, w[3]);
    }
    sum = add_carry(sum, other);
    for (; length >= 8; data += 8, length -= 8) {
        std::memcpy(&word, data, 8);
        sum = add_carry(sum, word);
    }
    if (length > 0) {
        word = 0;
        std::memcpy(&word, data, length);
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
