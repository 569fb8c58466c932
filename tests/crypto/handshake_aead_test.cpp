#include "crypto/handshake_aead.h"

#include <gtest/gtest.h>

#include "crypto/aead_implementations.h"
#include "vectors.h"

namespace vern {
namespace {

using test::Bytes;

struct Vector {
    int id;
    Bytes key, nonce, associated, plain, sealed;
    bool valid;
};

std::vector<Vector> wycheproof(const std::string& name, int& announced) {
    const auto file = test::vectors(name);
    announced = file["numberOfTests"];
    std::vector<Vector> result;
    for (const auto& group : file["testGroups"])
        for (const auto& test : group["tests"]) {
            Bytes sealed = test::from_hex(test["ct"]);
            const Bytes tag = test::from_hex(test["tag"]);
            sealed.insert(sealed.end(), tag.begin(), tag.end());
            result.push_back({test["tcId"], test::from_hex(test["key"]), test::from_hex(test["iv"]),
                              test::from_hex(test["aad"]), test::from_hex(test["msg"]), sealed,
                              test["result"] == "valid"});
        }
    return result;
}

// Seals and opens one vector by a pair of functions of this layer's shape.
template <std::size_t kNonceBytes, typename Seal, typename Open>
void check(const Vector& vector, Seal seal, Open open) {
    SCOPED_TRACE(vector.id);
    const auto key = test::array_of<32>(vector.key);
    const auto nonce = test::array_of<kNonceBytes>(vector.nonce);
    Bytes sealed(vector.plain.size() + kTagBytes), opened(vector.plain.size(), std::byte{0xcc});
    seal(sealed, key, nonce, vector.associated, vector.plain);
    EXPECT_EQ(sealed == vector.sealed, vector.valid);
    EXPECT_EQ(open(opened, key, nonce, vector.associated, vector.sealed), vector.valid);
    EXPECT_EQ(opened, vector.valid ? vector.plain : Bytes(vector.plain.size()));
}

struct Count {
    int run = 0;
    int nonce_of_another_length = 0;
    int valid = 0;
};

template <std::size_t kNonceBytes, typename Seal, typename Open>
Count run_all(const std::string& name, Seal seal, Open open) {
    Count count;
    int announced = 0;
    for (const Vector& vector : wycheproof(name, announced)) {
        if (vector.nonce.size() != kNonceBytes) {
            // Our nonces are arrays of the right length: these vectors, all invalid, cannot be asked for.
            EXPECT_FALSE(vector.valid) << vector.id;
            ++count.nonce_of_another_length;
            continue;
        }
        check<kNonceBytes>(vector, seal, open);
        ++count.run;
        count.valid += vector.valid;
    }
    EXPECT_EQ(count.run + count.nonce_of_another_length, announced);
    return count;
}

TEST(HandshakeAead, WycheproofChaCha20Poly1305) {
    const Count count =
        run_all<12>("wycheproof_chacha20_poly1305.json", chacha20poly1305_seal, chacha20poly1305_open);
    EXPECT_EQ(count.run, 316);
    EXPECT_EQ(count.valid, 256);
    EXPECT_EQ(count.nonce_of_another_length, 9);
}

TEST(HandshakeAead, WycheproofChaCha20Poly1305ByOpenssl) {
    const auto seal = [](auto&&... arguments) { EXPECT_TRUE(aead::openssl_seal(arguments...)); };
    const Count count = run_all<12>("wycheproof_chacha20_poly1305.json", seal, aead::openssl_open);
    EXPECT_EQ(count.run, 316);
    EXPECT_EQ(count.valid, 256);
    EXPECT_EQ(count.nonce_of_another_length, 9);
}

TEST(HandshakeAead, WycheproofXChaCha20Poly1305) {
    const Count count =
        run_all<24>("wycheproof_xchacha20_poly1305.json", xchacha20poly1305_seal, xchacha20poly1305_open);
    EXPECT_EQ(count.run, 306);
    EXPECT_EQ(count.valid, 246);
    EXPECT_EQ(count.nonce_of_another_length, 9);
}

TEST(HandshakeAead, Rfc8439Section282) {
    Bytes plain;
    for (char c : std::string_view(
             "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
             "sunscreen would be it."))
        plain.push_back(static_cast<std::byte>(c));
    const auto key = test::array_of<32>(
        test::from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"));
    const auto nonce = test::array_of<12>(test::from_hex("070000004041424344454647"));
    const Bytes associated = test::from_hex("50515253c0c1c2c3c4c5c6c7");
    const std::string expected =
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71"
        "de0a9e060b29"
        "05d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576"
        "d26586cec64b"
        "61161ae10b594f09e26a7e902ecbd0600691";
    Bytes sealed(plain.size() + kTagBytes);
    chacha20poly1305_seal(sealed, key, nonce, associated, plain);
    EXPECT_EQ(test::hex(sealed), expected);
    ASSERT_TRUE(aead::openssl_seal(sealed, key, nonce, associated, plain));
    EXPECT_EQ(test::hex(sealed), expected);
}

TEST(HandshakeAead, ShorterThanATagIsRefused) {
    const std::array<std::byte, 32> key{};
    const Bytes sealed(15);
    EXPECT_FALSE(chacha20poly1305_open({}, key, std::array<std::byte, 12>{}, {}, sealed));
    EXPECT_FALSE(xchacha20poly1305_open({}, key, std::array<std::byte, 24>{}, {}, sealed));
}

}  // namespace
}  // namespace vern
