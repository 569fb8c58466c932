#include "control/identity/nonces.h"

#include <gtest/gtest.h>

#include <cstring>

namespace vern::identity {
namespace {

using std::chrono::seconds;

constexpr Instant at(int s) { return Instant(seconds(s)); }

PublicKey peer(unsigned number) {
    PublicKey key;
    key.bytes[0] = static_cast<std::byte>(number & 0xff);
    key.bytes[1] = static_cast<std::byte>(number >> 8);
    return key;
}

struct Counting final : Random {
    void fill(std::span<std::byte> bytes) noexcept override {
        ++count;
        std::memcpy(bytes.data(), &count, sizeof count);
    }
    std::uint32_t count = 0;
};

struct NoncesTest : testing::Test {
    Counting random;
    Nonces nonces{random};
};

TEST_F(NoncesTest, AreForOnePeerOnceAndNotForLong) {
    const auto first = nonces.give(peer(1), at(0)), second = nonces.give(peer(1), at(0));
    EXPECT_NE(first, second);
    EXPECT_FALSE(nonces.take(peer(2), first, at(1)));
    EXPECT_TRUE(nonces.take(peer(1), first, at(119)));
    EXPECT_FALSE(nonces.take(peer(1), first, at(119)));
    EXPECT_FALSE(nonces.take(peer(1), second, at(120)));
}

TEST_F(NoncesTest, APeerHasAFewAndItsOldestGoes) {
    std::vector<Nonces::Nonce> given;
    for (std::size_t i = 0; i <= Nonces::kOfPeerMax; ++i) given.push_back(nonces.give(peer(1), at(0)));
    EXPECT_FALSE(nonces.take(peer(1), given.front(), at(1)));
    for (std::size_t i = 1; i < given.size(); ++i) EXPECT_TRUE(nonces.take(peer(1), given[i], at(1))) << i;
}

TEST_F(NoncesTest, WhoAsksInALoopTakesNobodysElse) {
    const auto patient = nonces.give(peer(1), at(0));
    for (std::size_t i = 0; i < 2 * Nonces::kMost; ++i) nonces.give(peer(2), at(0));
    for (std::size_t i = 0; i < 2 * Nonces::kMost; ++i)
        nonces.take(peer(3), nonces.give(peer(3), at(0)), at(0));
    EXPECT_TRUE(nonces.take(peer(1), patient, at(119)));
}

TEST_F(NoncesTest, OfAllTheOldestGoesWhenTheyAreTooMany) {
    const auto oldest = nonces.give(peer(0), at(0)), next = nonces.give(peer(0), at(0));
    for (unsigned i = 1; i < Nonces::kMost; ++i) nonces.give(peer(i), at(1));
    EXPECT_FALSE(nonces.take(peer(0), oldest, at(1)));
    EXPECT_TRUE(nonces.take(peer(0), next, at(1)));
}

}  // namespace
}  // namespace vern::identity
