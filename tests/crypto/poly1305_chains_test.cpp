// Poly1305 in chains, with chosen keys, lengths and numbers.
#include <gtest/gtest.h>
#include <sodium.h>

#include "crypto/aead_implementations.h"
#include "poly1305_chains_x86.h"
#include "vectors.h"

namespace vern::aead {
namespace {

struct Poly1305Chains : ::testing::Test {
    void SetUp() override {
        if (!cpu_has_avx2()) GTEST_SKIP() << "this CPU has no AVX2 and BMI2";
    }
};

using Number = std::array<std::uint64_t, 3>;
constexpr std::uint64_t kOnes = ~std::uint64_t{0};

// Bit by bit: twice, and once more where b has a one.
Number slow_product(const Number& a, const Number& b) {
    const auto add = [](Number& x, const Number& y) {
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            const std::uint64_t sum = x[i] + y[i];
            const std::uint64_t with_carry = sum + carry;
            carry = (sum < x[i]) | (with_carry < sum);
            x[i] = with_carry;
        }
    };
    const auto reduce = [&](Number& x) {
        while (x[2] > 3) {
            const Number five_times = {5 * (x[2] >> 2), 0, 0};
            x[2] &= 3;
            add(x, five_times);
        }
        const Number five = {5, 0, 0};
        Number above = x;
        add(above, five);
        if (above[2] > 3) x = {above[0], above[1], above[2] & 3};
    };
    Number product{};
    for (std::size_t bit = 192; bit-- > 0;) {
        add(product, Number(product));
        reduce(product);
        if ((b[bit / 64] >> bit % 64 & 1) == 0) continue;
        add(product, a);
        reduce(product);
    }
    return product;
}

void expect_product(const Number& a, const Number& b) {
    std::uint64_t fast[3] = {a[0], a[1], a[2]};
    const std::uint64_t factor[3] = {b[0], b[1], b[2]};
    chains_multiply(fast, factor);
    ASSERT_LT(fast[2], 5u);
    ASSERT_EQ(slow_product({fast[0], fast[1], fast[2]}, {1, 0, 0}), slow_product(a, b))
        << a[0] << " " << a[1] << " " << a[2] << " times " << b[0] << " " << b[1] << " " << b[2];
}

TEST_F(Poly1305Chains, MultipliesAtTheEdges) {
    std::vector<Number> numbers;
    for (const std::uint64_t low : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4}, kOnes - 4, kOnes})
        for (const std::uint64_t middle : {std::uint64_t{0}, std::uint64_t{1}, kOnes})
            for (const std::uint64_t high : {0u, 3u, 4u, 15u}) numbers.push_back({low, middle, high});
    for (const Number& a : numbers)
        for (const Number& b : numbers) expect_product(a, b);
}

TEST_F(Poly1305Chains, MultipliesAtRandom) {
    test::Noise noise(41);
    for (int i = 0; i < 2000; ++i)
        expect_product({noise.below(kOnes), noise.below(kOnes), noise.below(16)},
                       {noise.below(kOnes), noise.below(kOnes), noise.below(16)});
}

TEST_F(Poly1305Chains, AgreesAtAllLengths) {
    test::Noise noise(42);
    const std::uint64_t edges[] = {0, 1, kOnes, 0x0ffffffc0fffffff, 0x0ffffffc0ffffffc, noise.below(kOnes)};
    for (std::uint32_t length = 0; length <= 2100; ++length) {
        std::vector<std::byte> text(length + 32, std::byte{0xff});
        if (length % 3 > 0) noise.fill(std::span(text).first(length));
        const std::uint64_t key[4] = {edges[length % 6], edges[length / 6 % 6], noise.below(kOnes), kOnes};
        std::uint64_t tag[2];
        chains_mac(key, text.data(), length, tag);
        const std::size_t padded = (length + 15) / 16 * 16;
        const std::uint64_t lengths[2] = {0, length};
        std::fill(text.begin() + length, text.end(), std::byte{0});
        std::memcpy(&text[padded], lengths, 16);
        std::uint64_t expected[2];
        crypto_onetimeauth(reinterpret_cast<unsigned char*>(expected),
                           reinterpret_cast<const unsigned char*>(text.data()), padded + 16,
                           reinterpret_cast<const unsigned char*>(key));
        ASSERT_EQ(tag[0], expected[0]) << length;
        ASSERT_EQ(tag[1], expected[1]) << length;
    }
}

}  // namespace
}  // namespace vern::aead
