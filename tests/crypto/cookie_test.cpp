#include "crypto/cookie.h"

#include <gtest/gtest.h>

#include "vectors.h"

namespace vern {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using test::Bytes;

constexpr Instant kStart{seconds(1000)};

CookieSource source_of(std::string_view hex) {
    const Bytes bytes = test::from_hex(hex);
    CookieSource source;
    source.length = bytes.size();
    std::copy(bytes.begin(), bytes.end(), source.bytes.begin());
    return source;
}

class CookieTest : public ::testing::Test {
  protected:
    CookieTest() : receiver_{noise_.array<32>()}, keys_(MacKeys::of(receiver_)), checker_(receiver_) {}

    Bytes message(std::size_t length = sizeof(MessageInitiation)) {
        Bytes bytes(length);
        noise_.fill(bytes);
        return bytes;
    }
    Bytes sent(Instant now) {
        Bytes bytes = message();
        jar_.add_macs(bytes, keys_, now);
        return bytes;
    }
    MessageCookieReply reply_to(std::span<const std::byte> bytes, const CookieSource& source) {
        return checker_.reply(bytes, 77, source, noise_.array<24>());
    }
    // The jar gets a cookie for kSource at `now`.
    void fetch_cookie(Instant now) {
        if (checker_.needs_renewal(now)) checker_.renew(noise_.array<32>(), now);
        ASSERT_TRUE(jar_.consume(reply_to(sent(now), kSource), keys_, now));
    }

    const CookieSource kSource = source_of("c0000207c821");
    test::Noise noise_{21};
    PublicKey receiver_;
    MacKeys keys_;
    CookieChecker checker_;
    CookieJar jar_;
};

TEST_F(CookieTest, Mac1DependsOnEveryByteAndTheReceiver) {
    const Bytes good = sent(kStart);
    EXPECT_EQ(checker_.check(good, kSource, kStart), MacState::valid_without_cookie);
    for (std::size_t i = 0; i < good.size() - kMacBytes; ++i)
        for (unsigned bit = 0; bit < 8; ++bit) {
            Bytes bad = good;
            bad[i] ^= static_cast<std::byte>(1u << bit);
            ASSERT_EQ(checker_.check(bad, kSource, kStart), MacState::invalid) << i;
        }
    const CookieChecker other(PublicKey{noise_.array<32>()});
    EXPECT_EQ(other.check(good, kSource, kStart), MacState::invalid);
    EXPECT_TRUE(
        std::all_of(good.end() - kMacBytes, good.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(CookieTest, ShortMessagesAreInvalid) {
    for (std::size_t length = 0; length < sizeof(MessageMacs); ++length)
        EXPECT_EQ(checker_.check(message(length), kSource, kStart), MacState::invalid);
}

TEST_F(CookieTest, ACookieMakesMac2Right) {
    fetch_cookie(kStart);
    const Bytes good = sent(kStart);
    EXPECT_EQ(checker_.check(good, kSource, kStart), MacState::valid_with_cookie);
    for (std::size_t i = good.size() - kMacBytes; i < good.size(); ++i) {
        Bytes bad = good;
        bad[i] ^= std::byte{1};
        EXPECT_EQ(checker_.check(bad, kSource, kStart), MacState::valid_without_cookie) << i;
    }
    // With a cookie, a wrong mac1 is still invalid.
    Bytes bad = good;
    bad[good.size() - 2 * kMacBytes] ^= std::byte{1};
    EXPECT_EQ(checker_.check(bad, kSource, kStart), MacState::invalid);
}

TEST_F(CookieTest, ACookieIsBoundToAddressAndPort) {
    fetch_cookie(kStart);
    const Bytes good = sent(kStart);
    EXPECT_EQ(checker_.check(good, source_of("c0000207c821"), kStart), MacState::valid_with_cookie);
    for (const char* other : {"c0000207c822", "c0000207c921", "c0000208c821", "c1000207c821",
                              "00000000000000000000ffffc0000207c821", "c0000207c82100"})
        EXPECT_EQ(checker_.check(good, source_of(other), kStart), MacState::valid_without_cookie) << other;
}

TEST_F(CookieTest, Mac2IsNotLookedAtWithoutASecret) {
    // The cookie that an all-zero secret would give is no cookie.
    const CookieChecker fresh(receiver_);
    EXPECT_TRUE(fresh.needs_renewal(kStart));
    CookieChecker zero(receiver_);
    zero.renew(std::array<std::byte, 32>{}, kStart);
    ASSERT_TRUE(jar_.consume(zero.reply(sent(kStart), 1, kSource, noise_.array<24>()), keys_, kStart));
    const Bytes bytes = sent(kStart);
    EXPECT_EQ(zero.check(bytes, kSource, kStart), MacState::valid_with_cookie);
    EXPECT_EQ(fresh.check(bytes, kSource, kStart), MacState::valid_without_cookie);
}

TEST_F(CookieTest, TheSecretLives120Seconds) {
    fetch_cookie(kStart);
    const Bytes bytes = sent(kStart);
    EXPECT_FALSE(checker_.needs_renewal(kStart));
    EXPECT_FALSE(checker_.needs_renewal(kStart + seconds(120)));
    EXPECT_EQ(checker_.check(bytes, kSource, kStart + seconds(120)), MacState::valid_with_cookie);
    EXPECT_TRUE(checker_.needs_renewal(kStart + seconds(120) + nanoseconds(1)));
    EXPECT_EQ(checker_.check(bytes, kSource, kStart + seconds(120) + nanoseconds(1)),
              MacState::valid_without_cookie);
    checker_.renew(noise_.array<32>(), kStart + seconds(121));
    EXPECT_FALSE(checker_.needs_renewal(kStart + seconds(241)));
    EXPECT_EQ(checker_.check(bytes, kSource, kStart + seconds(121)), MacState::valid_without_cookie);
}

TEST_F(CookieTest, TheSenderUsesACookieFor115Seconds) {
    fetch_cookie(kStart);
    const auto has_mac2 = [&](Instant now) {
        const Bytes bytes = sent(now);
        return std::any_of(bytes.end() - kMacBytes, bytes.end(),
                           [](std::byte b) { return b != std::byte{0}; });
    };
    EXPECT_TRUE(has_mac2(kStart));
    EXPECT_TRUE(has_mac2(kStart + seconds(115) - nanoseconds(1)));
    EXPECT_FALSE(has_mac2(kStart + seconds(115)));
    EXPECT_FALSE(has_mac2(kStart)) << "what has expired is gone";
}

TEST_F(CookieTest, ARepliesEveryByteCounts) {
    checker_.renew(noise_.array<32>(), kStart);
    const MessageCookieReply good = reply_to(sent(kStart), kSource);
    for (std::size_t i = 0; i < sizeof good; ++i) {
        if (i >= 4 && i < 8) continue;  // the receiver's index finds the peer; it is not authenticated
        MessageCookieReply bad = good;
        test::writable_bytes_of(bad)[i] ^= std::byte{0x40};
        ASSERT_FALSE(jar_.consume(bad, keys_, kStart)) << i;
    }
    EXPECT_TRUE(jar_.consume(good, keys_, kStart)) << "a forged reply must not use up the wait";
}

TEST_F(CookieTest, AMacTakesOneReplyAndOnlyTheLastOne) {
    checker_.renew(noise_.array<32>(), kStart);
    CookieJar idle;
    const Bytes first = sent(kStart);
    const MessageCookieReply to_first = reply_to(first, kSource);
    EXPECT_FALSE(idle.consume(to_first, keys_, kStart));
    const MessageCookieReply to_second = reply_to(sent(kStart), kSource);
    EXPECT_FALSE(jar_.consume(to_first, keys_, kStart));
    EXPECT_TRUE(jar_.consume(to_second, keys_, kStart));
    EXPECT_FALSE(jar_.consume(to_second, keys_, kStart));
}

TEST_F(CookieTest, AReplyFromAnotherReceiverIsRefused) {
    CookieChecker other(PublicKey{noise_.array<32>()});
    other.renew(noise_.array<32>(), kStart);
    EXPECT_FALSE(jar_.consume(other.reply(sent(kStart), 77, kSource, noise_.array<24>()), keys_, kStart));
}

TEST_F(CookieTest, KnownAnswersFromGo) {
    const auto file = test::vectors("noise_ikpsk2.json");
    for (const auto& vector : file["handshakes"]) {
        const PublicKey responder = test::public_key(vector["responder_public"]);
        const MacKeys keys = MacKeys::of(responder);
        const CookieSource source = source_of(vector["cookie_source"].get<std::string>());
        CookieChecker checker(responder);
        checker.renew(test::array_of<32>(vector["cookie_secret"]), kStart);
        CookieJar jar;

        Bytes initiation = test::from_hex(vector["initiation_without_cookie"]);
        EXPECT_EQ(checker.check(initiation, source, kStart), MacState::valid_without_cookie);
        std::fill(initiation.end() - 2 * kMacBytes, initiation.end(), std::byte{0xff});
        jar.add_macs(initiation, keys, kStart);
        EXPECT_EQ(test::hex(initiation), vector["initiation_without_cookie"].get<std::string>());

        const MessageCookieReply reply =
            checker.reply(initiation, vector["initiator_index"].get<std::uint32_t>(), source,
                          test::array_of<24>(vector["cookie_nonce"]));
        EXPECT_EQ(test::hex(test::bytes_of(reply)), vector["cookie_reply"].get<std::string>());
        EXPECT_TRUE(jar.consume(reply, keys, kStart));

        jar.add_macs(initiation, keys, kStart);
        EXPECT_EQ(test::hex(initiation), vector["initiation_with_cookie"].get<std::string>());
        EXPECT_EQ(checker.check(initiation, source, kStart), MacState::valid_with_cookie);
    }
}

}  // namespace
}  // namespace vern
