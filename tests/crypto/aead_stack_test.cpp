// What the kernels leave on the stack: nothing of the key, and no words of ChaCha20's states, from which whoever
// knows the text has it. It must not outlive the session. (Poly1305's keys are good for one message, which has
// been sent by then; they are wiped where they are in arrays, and not looked for here.)
#include <gtest/gtest.h>

#include <cstring>
#include <unordered_set>
#include <vector>

#include "crypto/aead.h"

namespace vern::aead {
namespace {

constexpr std::size_t kBlockBytes = 64;
constexpr std::size_t kStackBytes = std::size_t{40} << 10;

// The stack below the caller's frame: what functions that it called have left there.
[[gnu::noinline]] void copy_stack(std::uint64_t* to) {
    const volatile std::uint64_t* from =
        static_cast<std::uint64_t*>(__builtin_frame_address(0)) - kStackBytes / 8;
    __asm__("" : "+r"(from));
    for (std::size_t i = 0; i < kStackBytes / 8; ++i) to[i] = from[i];
}

[[gnu::noinline]] void clear_stack() {
    std::uint64_t words[kStackBytes / 8] = {};
    __asm__ volatile("" : : "r"(words) : "memory");
}

std::uint32_t word(const std::byte* from) {
    std::uint32_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

using Words = std::unordered_set<std::uint64_t>;

// In a vector's lanes, and as it came.
void add_key(Words& secrets, const std::byte* key) {
    for (std::size_t w = 0; w < 8; ++w) {
        const std::uint64_t low = word(&key[4 * w]);
        secrets.insert(low | low << 32);
        if (w % 2 == 0) secrets.insert(low | std::uint64_t{word(&key[4 * w + 4])} << 32);
    }
}

// The text is zeros, so what was sealed is keystream: the state after the rounds plus the key. Beside a word is
// the same one of the next block, in the next lane, or the next one of its row.
void add_states(Words& secrets, const SealJob& job) {
    const auto state = [&](std::size_t at, std::size_t w) {
        return word(job.sealed + at + 4 * w) - word(&job.key[(w - 4) * 4]);
    };
    for (std::size_t at = 0; at + kBlockBytes <= job.length; at += kBlockBytes)
        for (std::size_t w = 4; w < 12; ++w) {
            if (at + 2 * kBlockBytes <= job.length)
                secrets.insert(state(at, w) | std::uint64_t{state(at + kBlockBytes, w)} << 32);
            if (w % 2 == 0) secrets.insert(state(at, w) | std::uint64_t{state(at, w + 1)} << 32);
        }
}

// Words of secrets that are on the stack after a train of `messages` was sealed, and after it was opened.
std::size_t secrets_left(const Implementation& one, std::size_t messages, std::uint32_t length) {
    std::vector<std::byte> key(32), plain(length, std::byte{0}), sealed(messages * (length + 16));
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i * 37 + 11);
    std::vector<SealJob> train;
    std::vector<OpenJob> opened;
    for (std::size_t i = 0; i < messages; ++i) {
        train.push_back({key.data(), i, plain.data(), &sealed[i * (length + 16)], length});
        opened.push_back({key.data(), i, &sealed[i * (length + 16)], length, false});
    }
    std::vector<std::uint64_t> stacks[2];
    for (auto& stack : stacks) stack.resize(kStackBytes / 8);
    clear_stack();
    one.seal(train);
    copy_stack(stacks[0].data());

    Words secrets;
    add_key(secrets, key.data());
    for (const SealJob& job : train) add_states(secrets, job);
    clear_stack();
    one.open(opened);
    copy_stack(stacks[1].data());

    std::size_t found = 0;
    for (const auto& stack : stacks)
        for (std::size_t i = 0; i + 1 < stack.size(); ++i)
            found += secrets.contains(stack[i]) + secrets.contains(stack[i] >> 32 | stack[i + 1] << 32);
    return found;
}

TEST(AeadStack, HasNoSecretsAfterATrain) {
    for (const Implementation* one : implementations()) {
        if (!one->supported() || one->name == "libsodium" || one->name == "openssl") continue;
        for (const std::size_t messages : {1u, 2u, 5u, 9u, 16u, 33u})
            for (const std::uint32_t length : {0u, 48u, 128u, 448u, 1408u, 1424u})
                EXPECT_EQ(secrets_left(*one, messages, length), 0u)
                    << one->name << ", " << messages << " x " << length;
    }
}

}  // namespace
}  // namespace vern::aead
