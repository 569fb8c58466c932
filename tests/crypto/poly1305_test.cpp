// Poly1305 by itself, with chosen r, s and sums: what trains, whose keys come out of ChaCha20, never reach.
#include <gtest/gtest.h>
#include <sodium.h>

#include "crypto/aead_lanes_plain.h"
#include "crypto/poly1305_along.h"
#include "crypto/poly1305_field26.h"
#include "crypto/poly1305_field44.h"
#include "crypto/poly1305_lanes.h"
#include "crypto/poly1305_scalar.h"
#include "vectors.h"

namespace vern::aead {
namespace {

using test::Bytes;
using Key = std::array<std::uint64_t, 4>;  // r, then s
using Tag = std::array<std::uint64_t, 2>;

// libsodium's, over what the AEAD authenticates.
Tag reference(const Key& key, Bytes text) {
    const std::uint64_t lengths[2] = {0, text.size()};
    text.resize((text.size() + 15) / 16 * 16);
    const auto* bytes = reinterpret_cast<const std::byte*>(lengths);
    text.insert(text.end(), bytes, bytes + sizeof lengths);
    Tag tag;
    crypto_onetimeauth(reinterpret_cast<unsigned char*>(tag.data()),
                       reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                       reinterpret_cast<const unsigned char*>(key.data()));
    return tag;
}

Tag scalar(const Key& key, const Bytes& text) {
    Poly1305Scalar poly;
    poly.start(key[0], key[1]);
    std::size_t at = 0;
    for (; text.size() - at >= 16; at += 16) poly.block(&text[at]);
    if (at < text.size()) poly.last_bytes(&text[at], text.size() - at);
    poly.block(0, text.size());
    Tag tag;
    poly.finish(key[2], key[3], tag[0], tag[1]);
    return tag;
}

// Not at nullptr, an empty one neither: a train's messages have room for a tag.
Bytes message(std::size_t length, std::byte fill) {
    Bytes text;
    text.reserve(length + 16);
    text.resize(length, fill);
    return text;
}

template <class F>
Tag along(const Key& key, const Bytes& text) {
    typename Poly1305Along<F>::Powers powers;
    std::uint64_t tag[2];
    Poly1305Along<F>::mac(text.data(), static_cast<std::uint32_t>(text.size()),
                          {{key[0], key[1]}, {key[2], key[3]}}, powers, tag);
    return {tag[0], tag[1]};
}

// Lane `lane` has the message, the others have longer, shorter and empty ones.
template <class F>
Tag in_lane(int lane, const Key& key, const Bytes& text) {
    using Poly = Poly1305Lanes<F>;
    constexpr int kWide = Poly::kWide;
    std::uint32_t words[8][kWide] = {};
    typename Poly::Messages messages{};
    messages.words = &words[0][0];
    messages.stride = kWide;
    const Bytes other(text.size() + 200, std::byte{0xff});
    for (int i = 0; i < kWide; ++i) {
        messages.data[i] = i == lane ? text.data() : other.data();
        messages.length[i] = static_cast<std::uint32_t>(i == lane    ? text.size()
                                                        : i % 3 == 0 ? other.size()
                                                        : i % 3 == 1 ? text.size() / 2
                                                                     : 0);
        for (int w = 0; w < 8; ++w)
            words[w][i] = i == lane
                              ? static_cast<std::uint32_t>(key[static_cast<std::size_t>(w) / 2] >> w % 2 * 32)
                              : ~0u;
    }
    typename Poly::Powers powers;
    std::uint64_t tags[2][kWide];
    Poly::mac(messages, powers, tags);
    return {tags[0][lane], tags[1][lane]};
}

const std::vector<std::uint64_t> kExtremes = {0,
                                              1,
                                              2,
                                              3,
                                              4,
                                              5,
                                              0xfffffffe,
                                              ~std::uint64_t{0},
                                              ~std::uint64_t{0} - 4,
                                              0x0ffffffc0fffffff,
                                              0x0ffffffc0ffffffc,
                                              std::uint64_t{1} << 43,
                                              std::uint64_t{1} << 44,
                                              (std::uint64_t{1} << 44) - 1};

template <class F>
class Poly1305 : public ::testing::Test {};
using Fields = ::testing::Types<Field44<PlainLanes<16>>, Field26<PlainLanes<16>>, Field26<PlainLanes<8>>,
                                Field44<PlainLanes<4>>, Field26<PlainLanes<4>>>;
TYPED_TEST_SUITE(Poly1305, Fields);

TYPED_TEST(Poly1305, ExtremeKeysAndTexts) {
    for (const std::uint64_t low : kExtremes)
        for (const std::uint64_t high : kExtremes)
            for (const std::size_t length : {0u, 16u, 32u, 64u, 257u, 512u, 600u})
                for (const std::byte fill : {std::byte{0}, std::byte{0xff}, std::byte{0xfb}}) {
                    const Key key = {low, high, ~low, ~std::uint64_t{0}};
                    const Bytes text = message(length, fill);
                    const Tag expected = reference(key, text);
                    ASSERT_EQ(scalar(key, text), expected) << low << " " << high << " " << length;
                    ASSERT_EQ(along<TypeParam>(key, text), expected) << low << " " << high << " " << length;
                    ASSERT_EQ(in_lane<TypeParam>(0, key, text), expected)
                        << low << " " << high << " " << length;
                }
}

TYPED_TEST(Poly1305, EveryLaneAtEveryLength) {
    test::Noise noise(31);
    for (std::size_t length = 0; length <= 600; ++length) {
        Bytes text = message(length, {});
        noise.fill(text);
        Key key;
        noise.fill(std::as_writable_bytes(std::span(key)));
        const Tag expected = reference(key, text);
        ASSERT_EQ(scalar(key, text), expected) << length;
        ASSERT_EQ(along<TypeParam>(key, text), expected) << length;
        for (int lane = 0; lane < Poly1305Lanes<TypeParam>::kWide; ++lane)
            ASSERT_EQ(in_lane<TypeParam>(lane, key, text), expected) << length << " in lane " << lane;
    }
}

// The number as the field's limbs of `Bits` bits (the last takes what is left), from 130 bits.
template <class F>
typename F::Element limbs_of(const std::array<std::uint64_t, 3>& number) {
    constexpr std::size_t kCount = sizeof(typename F::Element) / sizeof(typename F::U64);
    constexpr unsigned kBits = kCount == 3 ? 44 : 26;
    typename F::Element element;
    for (std::size_t i = 0; i < kCount; ++i) {
        std::uint64_t limb = 0;
        for (unsigned bit = 0; (bit < kBits || i + 1 == kCount) && i * kBits + bit < 131; ++bit) {
            const std::size_t at = i * kBits + bit;
            limb |= (number[at / 64] >> at % 64 & 1) << bit;
        }
        element.limb[i] = F::Vector::set64(limb);
    }
    return element;
}

// Around the modulus: p - 8 to p + 8, and twice that.
TYPED_TEST(Poly1305, LastReduction) {
    using V = typename TypeParam::Vector;
    for (int off = -8; off <= 8; ++off)
        for (const std::uint64_t s_low : {std::uint64_t{0}, ~std::uint64_t{0}}) {
            // p + off = 2^130 - 5 + off
            const bool above = off >= 5;
            const auto low = static_cast<std::uint64_t>(static_cast<std::int64_t>(off) - 5);
            const std::uint64_t rest = above ? 0 : ~std::uint64_t{0};
            const auto element = limbs_of<TypeParam>({low, rest, above ? 4u : 3u});
            typename TypeParam::U64 tag_low, tag_high;
            TypeParam::finish(element, V::set64(s_low), V::set64(7), tag_low, tag_high);
            const std::uint64_t value_low = off >= 0 ? static_cast<std::uint64_t>(off) : low;
            const std::uint64_t value_high = off >= 0 ? 0 : ~std::uint64_t{0};
            const std::uint64_t expected_low = value_low + s_low;
            EXPECT_EQ(tag_low.lane[0], expected_low) << off;
            EXPECT_EQ(tag_high.lane[0], value_high + 7 + (expected_low < s_low ? 1 : 0)) << off;

            Poly1305Scalar scalar_form{low, rest, above ? 4u : 3u, 0, 0, 0};
            std::uint64_t scalar_low, scalar_high;
            scalar_form.finish(s_low, 7, scalar_low, scalar_high);
            EXPECT_EQ(scalar_low, tag_low.lane[0]) << off;
            EXPECT_EQ(scalar_high, tag_high.lane[0]) << off;
        }
}

// The largest limbs that the bounds in the fields' headers allow, times the largest multiplier, as often as
// may be summed: one reduction must say what separate ones say.
TYPED_TEST(Poly1305, LargestSums) {
    using F = TypeParam;
    typename F::Element most;
    for (auto& limb : most.limb)
        limb = F::Vector::set64((sizeof most.limb / sizeof limb == 3 ? 1ull << 46 : 1ull << 28) - 1);
    const typename F::Element reduced = F::number(F::Vector::set64(~0ull), F::Vector::set64(~0ull));
    const auto multiplier = F::multiplier(reduced);
    typename F::Sum together = F::empty(), alone = F::empty();
    F::multiply_add(alone, most, multiplier);
    const auto part = F::reduce(alone);
    auto apart = F::zero();
    for (int i = 0; i < F::kTermsMax; ++i) {
        F::multiply_add(together, most, multiplier);
        apart = F::add(apart, part);
    }
    typename F::U64 low[2], high[2];
    F::finish(F::reduce(together), F::Vector::set64(0), F::Vector::set64(0), low[0], high[0]);
    F::finish(apart, F::Vector::set64(0), F::Vector::set64(0), low[1], high[1]);
    EXPECT_EQ(low[0].lane[0], low[1].lane[0]);
    EXPECT_EQ(high[0].lane[0], high[1].lane[0]);
}

}  // namespace
}  // namespace vern::aead
