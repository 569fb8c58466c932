// What the kernels leave on the stack: nothing of the key, and no words of ChaCha20's states, from which
// whoever knows the text has it. It must not outlive the session. Poly1305's keys are good for one message,
// which has been sent or opened by then, unless it was refused.
#include <gtest/gtest.h>
#include <sodium.h>

#include <cstring>
#include <unordered_set>
#include <vector>

#include "crypto/aead_implementations.h"

namespace vern::aead {
namespace {

constexpr std::size_t kBlockBytes = 64;
constexpr std::size_t kStackBytes = std::size_t{72} << 10;

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

void add_keys(Words& secrets, const std::vector<std::byte>& keys) {
    for (std::size_t at = 0; at < keys.size(); at += 32) add_key(secrets, &keys[at]);
}

// The text is zeros, so what was sealed is keystream: the state after the rounds plus the key. Beside a word
// is the same one of the next block, in the next lane, or the next one of its row.
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

// Words of secrets that are on the stack, as it was copied.
std::size_t count(const Words& secrets, const std::vector<std::uint64_t>& stack) {
    std::size_t found = 0;
    for (std::size_t i = 0; i + 1 < stack.size(); ++i)
        found += secrets.contains(stack[i]) + secrets.contains(stack[i] >> 32 | stack[i + 1] << 32);
    return found;
}

void add_poly1305_key(Words& secrets, const SealJob& job) {
    unsigned char nonce[crypto_stream_chacha20_ietf_NONCEBYTES] = {};
    std::memcpy(nonce + 4, &job.counter, sizeof job.counter);
    std::uint64_t r_and_s[4];
    crypto_stream_chacha20_ietf(reinterpret_cast<unsigned char*>(r_and_s), sizeof r_and_s, nonce,
                                reinterpret_cast<const unsigned char*>(job.key));
    secrets.insert(std::begin(r_and_s), std::end(r_and_s));
    secrets.insert(r_and_s[0] & 0x0ffffffc0fffffff);
    secrets.insert(r_and_s[1] & 0x0ffffffc0ffffffc);
}

struct AeadStack : ::testing::TestWithParam<const Implementation*> {
    void SetUp() override {
        if (!GetParam()->supported()) GTEST_SKIP() << "not by this CPU";
    }

    struct Train {
        std::vector<std::byte> key;  // or two, which messages have in turn
        std::vector<std::byte> plain, sealed;
        std::vector<SealJob> seals;
        std::vector<OpenJob> opens;
        Train(std::size_t keys, std::size_t messages, std::uint32_t length)
            : key(keys * 32), plain(length, std::byte{0}), sealed(messages * (length + 16)) {
            for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i * 37 + 11);
            for (std::size_t i = 0; i < messages; ++i) {
                const std::byte* of_message = &key[i % keys * 32];
                seals.push_back({of_message, i, plain.data(), &sealed[i * (length + 16)], length});
                opens.push_back({of_message, i, &sealed[i * (length + 16)], length, false});
            }
        }
    };
    template <class Function>
    static void each_shape(Function function) {
        for (const std::size_t keys : {1u, 2u})
            for (const std::size_t messages : {1u, 2u, 5u, 9u, 16u, 33u})
                for (const std::uint32_t length : {0u, 48u, 128u, 400u, 448u, 1408u, 1424u}) {
                    SCOPED_TRACE(testing::Message()
                                 << messages << " x " << length << ", " << keys << " keys");
                    Train train(keys, messages, length);
                    function(train);
                }
    }
    template <class Function>
    const std::vector<std::uint64_t>& after(Function function) {
        clear_stack();
        function();
        copy_stack(stack.data());
        return stack;
    }

    std::vector<std::uint64_t> stack = std::vector<std::uint64_t>(kStackBytes / 8);
};

TEST_P(AeadStack, HasNothingOfTheKeyAfterATrain) {
    each_shape([&](Train& train) {
        after([&] { GetParam()->seal(train.seals); });
        Words secrets;
        add_keys(secrets, train.key);
        for (const SealJob& job : train.seals) add_states(secrets, job);
        EXPECT_EQ(count(secrets, stack), 0u) << "sealed";
        EXPECT_EQ(count(secrets, after([&] { GetParam()->open(train.opens); })), 0u) << "opened";
    });
}

TEST_P(AeadStack, HasNoPoly1305KeyAfterARefusal) {
    each_shape([&](Train& train) {
        GetParam()->seal(train.seals);
        train.opens.back().sealed[train.opens.back().length] ^= std::byte{1};
        after([&] { GetParam()->open(train.opens); });
        ASSERT_FALSE(train.opens.back().authentic);
        Words secrets;
        add_keys(secrets, train.key);
        for (const SealJob& job : train.seals) add_poly1305_key(secrets, job);
        EXPECT_EQ(count(secrets, stack), 0u);
    });
}

std::vector<const Implementation*> own() {
    std::vector<const Implementation*> own;
    for (const Implementation* one : implementations())
        if (one != &kLibsodium && one != &kOpenssl) own.push_back(one);
    return own;
}
INSTANTIATE_TEST_SUITE_P(All, AeadStack, testing::ValuesIn(own()),
                         [](const auto& one) { return std::string(one.param->name); });

}  // namespace
}  // namespace vern::aead
