#include "crypto/blake2s.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <memory>
#include <thread>

#include "crypto/start.h"
#include "vectors.h"

namespace vern {
namespace {

using test::Bytes;
using test::hex;

std::string hash_of(blake2s::Parts parts) {
    std::array<std::byte, 32> out;
    blake2s::hash(out, parts);
    return hex(out);
}

template <std::size_t N>
std::string mac_of(std::span<const std::byte> key, std::span<const std::byte> message) {
    std::array<std::byte, N> out;
    blake2s::mac(out, key, message);
    return hex(out);
}

TEST(Blake2s, LibrariesStart) { EXPECT_TRUE(start_crypto()); }

TEST(Blake2s, Rfc7693Vector) {
    EXPECT_EQ(hash_of({test::from_hex("616263")}),
              "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
}

TEST(Blake2s, ReferenceKeyedVectors) {
    // The reference implementation's known answers: key 00..1f, no input and one zero byte.
    const Bytes key = test::from_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    EXPECT_EQ(mac_of<32>(key, {}), "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49");
    EXPECT_EQ(mac_of<32>(key, test::from_hex("00")),
              "40d15fee7c328830166ac3f918650f807e7e01e177258cdc0a39b11f598066f1");
}

TEST(Blake2s, HashesAndMacsAsPythonDoes) {
    int count = 0;
    const auto file = test::vectors("blake2s.json");
    for (const auto& vector : file["vectors"]) {
        const Bytes input = test::from_hex(vector["input"]);
        const Bytes key = test::from_hex(vector["key"]);
        EXPECT_EQ(hash_of({input}), vector["hash"].get<std::string>());
        EXPECT_EQ(mac_of<16>(key, input), vector["mac16"].get<std::string>());
        EXPECT_EQ(mac_of<32>(key, input), vector["mac32"].get<std::string>());
        ++count;
    }
    EXPECT_EQ(count, 22);
}

TEST(Blake2s, PartsAreJoined) {
    test::Noise noise(6);
    Bytes all(300);
    noise.fill(all);
    const std::span<const std::byte> bytes = all;
    for (std::size_t cut = 0; cut <= 300; cut += 7)
        EXPECT_EQ(hash_of({bytes.first(cut), bytes.subspan(cut), {}}), hash_of({bytes}));
}

// HMAC as OpenSSL makes it, from its own generic code.
std::string openssl_hmac(std::span<const std::byte> key, std::span<const std::byte> message) {
    const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr),
                                                                EVP_MAC_free);
    const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(EVP_MAC_CTX_new(mac.get()),
                                                                            EVP_MAC_CTX_free);
    char digest[] = "BLAKE2S-256";
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                     OSSL_PARAM_construct_end()};
    std::array<std::byte, 32> out;
    std::size_t length = 0;
    EXPECT_EQ(EVP_MAC_init(context.get(), reinterpret_cast<const unsigned char*>(key.data()), key.size(),
                           parameters),
              1);
    EXPECT_EQ(
        EVP_MAC_update(context.get(), reinterpret_cast<const unsigned char*>(message.data()), message.size()),
        1);
    EXPECT_EQ(EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(out.data()), &length, out.size()),
              1);
    return hex(out);
}

TEST(Blake2s, HmacAsOpensslDoes) {
    test::Noise noise(7);
    for (int i = 0; i < 300; ++i) {
        Bytes key(1 + noise.below(64)), message(noise.below(200));
        noise.fill(key);
        noise.fill(message);
        const std::size_t cut = noise.below(message.size() + 1);
        const std::span<const std::byte> bytes = message;
        std::array<std::byte, 32> out;
        blake2s::hmac(out, key, {bytes.first(cut), bytes.subspan(cut)});
        ASSERT_EQ(hex(out), openssl_hmac(key, message));
    }
}

TEST(Blake2s, KdfAsGoDoes) {
    int count = 0;
    const auto file = test::vectors("noise_ikpsk2.json");
    for (const auto& vector : file["kdf"]) {
        const Secret<32> key = test::secret_of(vector["key"]);
        const Bytes input = test::from_hex(vector["input"]);
        std::array<std::byte, 32> out;
        blake2s::hmac(out, key.span(), {input});
        EXPECT_EQ(hex(out), vector["hmac"].get<std::string>());
        Secret<32> a, b, c, d, e, f;
        blake2s::kdf(key, input, a);
        blake2s::kdf(key, input, b, c);
        blake2s::kdf(key, input, d, e, f);
        for (const Secret<32>* first : {&a, &b, &d})
            EXPECT_EQ(hex(first->span()), vector["t1"].get<std::string>());
        for (const Secret<32>* second : {&c, &e})
            EXPECT_EQ(hex(second->span()), vector["t2"].get<std::string>());
        EXPECT_EQ(hex(f.span()), vector["t3"].get<std::string>());
        // In place, as the chaining key is used.
        Secret<32> chaining = key.clone();
        blake2s::kdf(chaining, input, chaining, b, c);
        EXPECT_EQ(chaining, d);
        EXPECT_EQ(b, e);
        EXPECT_EQ(c, f);
        ++count;
    }
    EXPECT_EQ(count, 4);
}

TEST(Blake2s, ThreadsHaveTheirOwnContexts) {
    std::array<std::string, 4> results;
    {
        std::array<std::jthread, 4> threads;
        for (std::size_t t = 0; t < 4; ++t)
            threads[t] = std::jthread([&results, t] {
                const Bytes key(32, static_cast<std::byte>(t));
                std::array<std::byte, 16> out{};
                for (int i = 0; i < 2000; ++i) blake2s::mac(out, key, Bytes(out.begin(), out.end()));
                results[t] = hex(out);
            });
    }
    for (std::size_t t = 0; t < 4; ++t) {
        const Bytes key(32, static_cast<std::byte>(t));
        std::array<std::byte, 16> out{};
        for (int i = 0; i < 2000; ++i) blake2s::mac(out, key, Bytes(out.begin(), out.end()));
        EXPECT_EQ(results[t], hex(out));
    }
}

}  // namespace
}  // namespace vern
