#include "dataplane/base/checksum.h"

#include <gtest/gtest.h>

#include <bit>

#include "packets.h"

namespace vern {
namespace {

using test::Bytes;

std::uint16_t fast(const std::byte* data, std::size_t length, std::uint64_t before = 0) {
    const std::uint16_t folded = checksum_fold(checksum_add(before, data, length));
    return std::endian::native == std::endian::little ? __builtin_bswap16(folded) : folded;
}
// 0 and 0xffff are one number in one's complement.
std::uint16_t canonical(std::uint16_t sum) { return sum == 0xffff ? 0 : sum; }

TEST(Checksum, AgreesWithTheSlowOneForAllLengthsAndAlignments) {
    std::mt19937_64 random(1);
    const Bytes bytes = test::random_bytes(random, 2100);
    for (std::size_t offset = 0; offset < 9; ++offset) {
        for (std::size_t length = 0; length <= 2080; ++length)
            ASSERT_EQ(canonical(fast(bytes.data() + offset, length)),
                      canonical(test::slow_sum(std::span(bytes).subspan(offset, length))))
                << offset << " " << length;
    }
}

TEST(Checksum, CarriesOfAllOnes) {
    const Bytes ones(65536, std::byte{0xff});
    for (const std::size_t length : {1U, 2U, 7U, 8U, 31U, 32U, 33U, 63U, 64U, 1500U, 65535U, 65536U})
        EXPECT_EQ(fast(ones.data(), length), test::slow_sum(std::span(ones).first(length))) << length;
}

TEST(Checksum, ZerosGiveZero) {
    const Bytes zeros(100);
    EXPECT_EQ(fast(zeros.data(), zeros.size()), 0);
}

TEST(Checksum, PartsOfEvenLengthAdd) {
    std::mt19937_64 random(2);
    const Bytes bytes = test::random_bytes(random, 1001);
    for (std::size_t cut = 0; cut <= 1000; cut += 2) {
        const std::uint64_t first = checksum_add(0, bytes.data(), cut);
        ASSERT_EQ(canonical(fast(bytes.data() + cut, bytes.size() - cut, first)),
                  canonical(test::slow_sum(bytes)))
            << cut;
    }
}

TEST(Checksum, FoldsTheGreatestSum) { EXPECT_EQ(checksum_fold(UINT64_MAX), 0xffff); }

}  // namespace
}  // namespace vern
