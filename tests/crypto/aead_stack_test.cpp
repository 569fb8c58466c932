// What a train leaves on the stack: no words of ChaCha20's states, from which whoever knows the text has the
// key.
#include <gtest/gtest.h>

#include <cstring>
#include <unordered_set>
#include <vector>

#include "crypto/aead.h"

namespace vern::aead {
namespace {

constexpr std::size_t kMessages = 16, kBytes = 1408, kBlockBytes = 64;
constexpr std::size_t kStackBytes = std::size_t{40} << 10;

// The stack below the caller's frame: what functions that it called have left there.
[[gnu::noinline, gnu::no_sanitize("address", "undefined", "thread")]] void copy_stack(std::uint64_t* to) {
    const volatile std::uint64_t* from =
        static_cast<std::uint64_t*>(__builtin_frame_address(0)) - kStackBytes / 8;
    __asm__("" : "+r"(from));
    for (std::size_t i = 0; i < kStackBytes / 8; ++i) to[i] = from[i];
}

std::uint32_t word(const std::byte* from) {
    std::uint32_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

TEST(AeadStack, HasNoStatesAfterATrain) {
    std::vector<std::byte> key(32), plain(kMessages * kBytes, std::byte{0}),
        sealed(kMessages * (kBytes + 16));
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i * 37 + 11);
    std::vector<std::uint64_t> stack(kStackBytes / 8);
    for (const Implementation* one : implementations()) {
        if (!one->supported() || !one->name.starts_with("avx")) continue;
        std::vector<SealJob> train;
        for (std::size_t i = 0; i < kMessages; ++i)
            train.push_back({key.data(), i, &plain[i * kBytes], &sealed[i * (kBytes + 16)], kBytes});
        one->seal(train);
        copy_stack(stack.data());
        // The text is zeros, so what was sealed is keystream: the state after the rounds plus the key. Word w
        // of a block is beside that of the next block, in the next lane.
        std::unordered_set<std::uint64_t> states;
        for (const SealJob& job : train)
            for (std::size_t at = 0; at + 2 * kBlockBytes <= kBytes; at += kBlockBytes)
                for (std::size_t w = 4; w < 12; ++w) {
                    const std::uint32_t k = word(&key[(w - 4) * 4]);
                    const std::uint64_t low = word(job.sealed + at + 4 * w) - k,
                                        high = word(job.sealed + at + kBlockBytes + 4 * w) - k;
                    states.insert(low | high << 32);
                }
        std::size_t found = 0;
        for (std::size_t i = 0; i + 1 < stack.size(); ++i)
            found += states.contains(stack[i]) + states.contains(stack[i] >> 32 | stack[i + 1] << 32);
        EXPECT_EQ(found, 0u) << one->name;
    }
}

}  // namespace
}  // namespace vern::aead
