#include "crypto/keys.h"

#include <gtest/gtest.h>

#include <cctype>

#include "vectors.h"

namespace vern {
namespace {

using Key = std::array<std::byte, kKeyBytes>;

TEST(Keys, Base64AndHexRoundTrip) {
    test::Noise noise(1);
    for (int i = 0; i < 200; ++i) {
        const Key key = noise.array<32>();
        Key decoded{};
        ASSERT_EQ(to_base64(key).size(), 44u);
        ASSERT_TRUE(from_base64(to_base64(key), decoded));
        ASSERT_EQ(decoded, key);
        decoded = {};
        ASSERT_EQ(to_hex(key), test::hex(key));
        ASSERT_TRUE(from_hex(to_hex(key), decoded));
        ASSERT_EQ(decoded, key);
    }
}

TEST(Keys, KnownBase64) {
    // RFC 7748, section 6.1: Alice's public key, encoded by coreutils' base64.
    const Key key = test::array_of<32>(
        test::from_hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    EXPECT_EQ(to_base64(key), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
}

TEST(Keys, Base64RefusesEverythingElseAndLeavesTheKeyAlone) {
    const std::string good = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    Key untouched;
    untouched.fill(std::byte{0x77});
    const auto refused = [&](const std::string& text) {
        Key key = untouched;
        return !from_base64(text, key) && key == untouched;
    };
    Key key{};
    ASSERT_TRUE(from_base64(good, key));
    EXPECT_TRUE(refused(""));
    EXPECT_TRUE(refused(good.substr(0, 43)));
    EXPECT_TRUE(refused(good + "="));
    EXPECT_TRUE(refused(good + "\n"));
    EXPECT_TRUE(refused(" " + good.substr(1)));
    EXPECT_TRUE(refused(good.substr(0, 43) + "A"));   // 33 bytes
    EXPECT_TRUE(refused(good.substr(0, 42) + "=="));  // 31 bytes
    for (char trailing : {'p', 'q', 'r'})
        EXPECT_TRUE(refused(good.substr(0, 42) + trailing + "=")) << trailing;
    for (std::size_t i = 0; i < 43; ++i)
        for (int bad = 0; bad < 256; ++bad) {
            const auto character = static_cast<char>(bad);
            if ((bad < 128 && std::isalnum(bad)) || character == '+' || character == '/') continue;
            std::string text = good;
            text[i] = character;
            EXPECT_TRUE(refused(text)) << i << " " << bad;
        }
}

TEST(Keys, HexTakesBothCasesAndNothingElse) {
    const std::string lower = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    std::string upper = lower;
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    Key a{}, b{};
    EXPECT_TRUE(from_hex(lower, a));
    EXPECT_TRUE(from_hex(upper, b));
    EXPECT_EQ(a, b);
    const Key before = a;
    EXPECT_FALSE(from_hex(lower.substr(0, 62), a));
    EXPECT_FALSE(from_hex(lower.substr(0, 63), a));
    EXPECT_FALSE(from_hex(lower + "00", a));
    EXPECT_FALSE(from_hex("", a));
    for (std::size_t i = 0; i < 64; ++i)
        for (int bad = 0; bad < 256; ++bad) {
            if (bad < 128 && std::isxdigit(bad)) continue;
            std::string text = lower;
            text[i] = static_cast<char>(bad);
            EXPECT_FALSE(from_hex(text, a)) << i << " " << bad;
        }
    EXPECT_EQ(a, before);
}

TEST(Keys, Clamping) {
    PrivateKey ones, zeros;
    for (std::byte& byte : ones.writable()) byte = std::byte{0xff};
    clamp(ones);
    clamp(zeros);
    EXPECT_EQ(to_hex(ones.span()), "f8" + std::string(60, 'f') + "7f");
    EXPECT_EQ(to_hex(zeros.span()), std::string(62, '0') + "40");
}

TEST(Keys, ZeroPublicKey) {
    PublicKey key;
    EXPECT_TRUE(key.is_zero());
    key.bytes[31] = std::byte{1};
    EXPECT_FALSE(key.is_zero());
}

}  // namespace
}  // namespace vern
