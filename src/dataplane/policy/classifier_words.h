// How the classifier reads and hashes addresses: the same for who builds the tables and who asks them.
#pragma once

#include <cstring>

#include "dataplane/policy/classifier.h"

namespace vern::policy {

template <std::size_t kWords>
Classifier::Words<kWords> Classifier::words_of(const std::array<std::byte, 16>& remote,
                                               const std::array<std::byte, 16>& local) noexcept {
    const auto load = [](const std::byte* at) {
        std::uint64_t word;
        std::memcpy(&word, at, 8);
        return word;
    };
    if constexpr (kWords == 1) {
        return {load(remote.data()) << 32 | (load(local.data()) & 0xffffffff)};
    } else {
        return {load(remote.data()), load(remote.data() + 8), load(local.data()), load(local.data() + 8)};
    }
}

template <std::size_t kWords>
Classifier::Words<kWords> Classifier::masked(const Words<kWords>& words, const Words<kWords>& mask) noexcept {
    Words<kWords> out;
    for (std::size_t i = 0; i < kWords; ++i) out[i] = words[i] & mask[i];
    return out;
}

// Operators write these tables, not attackers, and an absent key costs a probe as long as the longest run of
// one: no secret is needed.
template <std::size_t kWords>
std::uint64_t Classifier::hash(const Words<kWords>& masked, std::uint64_t salt) noexcept {
    constexpr std::uint64_t kA = kMultiplier, kB = 0xd6e8feb86659fd93;
    const auto fold = [](std::uint64_t a, std::uint64_t b) {
        const auto product = static_cast<unsigned __int128>(a) * b;
        return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    };
    const std::uint64_t h = fold(masked[0] ^ kA, salt);
    if constexpr (kWords == 1) {
        return h;
    } else {
        return fold(h ^ masked[1], kA) ^ fold(masked[2] ^ kB, masked[3] ^ kA);
    }
}

}  // namespace vern::policy
