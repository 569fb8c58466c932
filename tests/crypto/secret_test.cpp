#include "crypto/secret.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "vectors.h"

namespace vern {
namespace {

static_assert(!std::is_copy_constructible_v<Secret<32>> && !std::is_copy_assignable_v<Secret<32>>);
static_assert(std::is_nothrow_move_constructible_v<Secret<32>> &&
              std::is_nothrow_move_assignable_v<Secret<32>>);

// What is in memory, not what the compiler knows of an object whose life is over.
bool memory_is_zero(const void* memory, std::size_t length) {
    const auto* bytes = static_cast<const volatile unsigned char*>(memory);
    unsigned char any = 0;
    for (std::size_t i = 0; i < length; ++i) any = static_cast<unsigned char>(any | bytes[i]);
    return any == 0;
}

class SecretTest : public ::testing::Test {
  protected:
    Secret<32>* make(std::byte fill) {
        std::array<std::byte, 32> bytes;
        bytes.fill(fill);
        return new (memory_) Secret<32>(bytes);
    }
    alignas(Secret<32>) std::byte memory_[sizeof(Secret<32>)];
};

TEST_F(SecretTest, IsWipedWhenDestroyed) {
    Secret<32>* secret = make(std::byte{0x5a});
    ASSERT_FALSE(memory_is_zero(memory_, sizeof memory_));
    secret->~Secret();
    EXPECT_TRUE(memory_is_zero(memory_, sizeof memory_));
}

TEST_F(SecretTest, IsWipedWhenMovedFrom) {
    Secret<32>* secret = make(std::byte{0x5a});
    const Secret<32> moved(std::move(*secret));
    EXPECT_TRUE(memory_is_zero(memory_, sizeof memory_));
    EXPECT_FALSE(moved.is_zero());

    make(std::byte{0x5b});
    Secret<32> assigned;
    assigned = std::move(*secret);
    EXPECT_TRUE(memory_is_zero(memory_, sizeof memory_));
    EXPECT_EQ(assigned.span()[31], std::byte{0x5b});
}

TEST_F(SecretTest, WipeAndSelfMove) {
    Secret<32>* secret = make(std::byte{0x11});
    Secret<32>& same = *secret;
    *secret = std::move(same);
    EXPECT_EQ(secret->span()[0], std::byte{0x11});
    secret->wipe();
    EXPECT_TRUE(memory_is_zero(memory_, sizeof memory_));
    EXPECT_TRUE(secret->is_zero());
}

TEST_F(SecretTest, CloneIsEqualAndIndependent) {
    Secret<32>* secret = make(std::byte{0x33});
    const Secret<32> copy = secret->clone();
    EXPECT_EQ(copy, *secret);
    secret->wipe();
    EXPECT_FALSE(copy.is_zero());
    EXPECT_FALSE(copy == *secret);
}

TEST_F(SecretTest, EveryBitCountsInEqualityAndZero) {
    const Secret<32> zero;
    for (std::size_t byte = 0; byte < 32; ++byte)
        for (unsigned bit = 0; bit < 8; ++bit) {
            Secret<32> other;
            other.writable()[byte] = static_cast<std::byte>(1u << bit);
            EXPECT_FALSE(other == zero);
            EXPECT_FALSE(other.is_zero());
        }
    EXPECT_TRUE(zero == Secret<32>());
}

}  // namespace
}  // namespace vern
