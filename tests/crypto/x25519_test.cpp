#include <gtest/gtest.h>

#include "crypto/noise.h"
#include "low_order.h"
#include "vectors.h"

namespace vern::noise {
namespace {

const char* const kBase = "0900000000000000000000000000000000000000000000000000000000000000";

TEST(X25519, Rfc7748Vectors) {
    struct {
        const char *scalar, *point, *shared;
    } const cases[] = {{"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
                       {"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"}};
    for (const auto& one : cases) {
        SharedSecret shared;
        ASSERT_TRUE(x25519(shared, test::secret_of(one.scalar), test::public_key(one.point)));
        EXPECT_EQ(test::hex(shared.span()), one.shared);
    }
}

TEST(X25519, Rfc7748Iterated) {
    Secret<32> k = test::secret_of(kBase);
    Secret<32> u = k.clone();
    for (int i = 1; i <= 1000; ++i) {
        SharedSecret next;
        PublicKey point{test::array_of<32>(u.span())};
        ASSERT_TRUE(x25519(next, k, point));
        u = std::move(k);
        k = std::move(next);
        if (i == 1) {
            EXPECT_EQ(test::hex(k.span()),
                      "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
        }
    }
    EXPECT_EQ(test::hex(k.span()), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

TEST(X25519, Rfc7748DiffieHellman) {
    const StaticIdentity alice =
        identity_of(test::secret_of("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    const StaticIdentity bob =
        identity_of(test::secret_of("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    EXPECT_EQ(test::hex(alice.public_key.bytes),
              "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    EXPECT_EQ(test::hex(bob.public_key.bytes),
              "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    SharedSecret shared;
    ASSERT_TRUE(x25519(shared, alice.private_key, bob.public_key));
    EXPECT_EQ(test::hex(shared.span()), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
}

TEST(X25519, Wycheproof) {
    const auto file = test::vectors("wycheproof_x25519.json");
    int computed = 0, refused = 0;
    for (const auto& group : file["testGroups"])
        for (const auto& test : group["tests"]) {
            const int id = test["tcId"];
            SharedSecret shared;
            const bool good =
                x25519(shared, test::secret_of(test["private"]), test::public_key(test["public"]));
            // Non-canonical and twist points are `acceptable`: all compute, as RFC 7748 asks. A zero result
            // must be refused.
            const bool zero = test["shared"] == std::string(64, '0');
            EXPECT_NE(test["result"], "invalid") << id;
            EXPECT_EQ(good, !zero) << id;
            EXPECT_EQ(test::hex(shared.span()), test["shared"].get<std::string>()) << id;
            ++(zero ? refused : computed);
        }
    RecordProperty("computed", computed);
    RecordProperty("refused", refused);
    EXPECT_GT(computed, 400);
    EXPECT_GT(refused, 20);
    EXPECT_EQ(computed + refused, file["numberOfTests"].get<int>());
}

TEST(X25519, RefusesPointsOfLowOrder) {
    test::Noise noise(4);
    for (const char* point : test::kLowOrderPoints) {
        const PrivateKey ours = noise.private_key();
        for (bool high_bit : {false, true}) {
            PublicKey theirs = test::public_key(point);
            if (high_bit) theirs.bytes[31] |= std::byte{0x80};
            SharedSecret shared(noise.array<32>());
            EXPECT_FALSE(x25519(shared, ours, theirs)) << point;
            EXPECT_TRUE(shared.is_zero()) << point;
        }
    }
}

TEST(X25519, BothSidesAgreeAndIdentityHoldsItsKeys) {
    test::Noise noise(5);
    for (int i = 0; i < 20; ++i) {
        const StaticIdentity a = identity_of(noise.private_key());
        const StaticIdentity b = identity_of(noise.private_key());
        SharedSecret ab, ba;
        ASSERT_TRUE(x25519(ab, a.private_key, b.public_key));
        ASSERT_TRUE(x25519(ba, b.private_key, a.public_key));
        EXPECT_EQ(ab, ba);
        SharedSecret base;
        ASSERT_TRUE(x25519(base, a.private_key, test::public_key(kBase)));
        EXPECT_EQ(test::hex(base.span()), test::hex(a.public_key.bytes));
    }
}

}  // namespace
}  // namespace vern::noise
