#include "control/trust/der.h"

#include <gtest/gtest.h>

namespace vern::trust {
namespace {

using namespace std::string_literals;

bool good(const std::string& der) { return check_der(bytes_of(der), 1024, "x").has_value(); }

TEST(Der, ElementsOfEachKind) {
    for (const std::string& der :
         {"\x05\x00"s, "\x01\x01\xff"s, "\x01\x01\x00"s, "\x02\x01\x00"s, "\x02\x02\x00\x80"s,
          "\x02\x02\xff\x7f"s, "\x03\x01\x00"s, "\x03\x02\x07\x80"s, "\x04\x00"s, "\x06\x03\x2a\x86\x48"s,
          "\x0c\x02\xc3\xa6"s, "\x17\x0d"s + "270115080000Z", "\x18\x0f"s + "20270115080000Z", "\x30\x00"s,
          "\x31\x06\x02\x01\x01\x02\x01\x02"s, "\xa0\x03\x02\x01\x02"s, "\x80\x02\x00\x00"s})
        EXPECT_TRUE(good(der)) << testing::PrintToString(der);
}

TEST(Der, EveryOtherSpellingIsRefused) {
    for (const std::string& der : {""s,
                                   "\x30"s,
                                   "\x30\x01"s,
                                   "\x30\x80\x00\x00"s,  // indefinite
                                   "\x04\x81\x01\x00"s,  // long form of a short length
                                   "\x04\x82\x00\x80"s + std::string(128, 'x'),  // with a zero in front
                                   "\x04\x85\x00\x00\x00\x00\x01x"s,
                                   "\x04\xff"s,
                                   "\x05\x00\x00"s,  // bytes after the end
                                   "\x05\x01\x00"s,
                                   "\x01\x01\x01"s,
                                   "\x01\x00"s,
                                   "\x02\x00"s,
                                   "\x02\x02\x00\x7f"s,
                                   "\x02\x02\xff\x80"s,
                                   "\x0a\x02\x00\x01"s,
                                   "\x03\x00"s,
                                   "\x03\x01\x01"s,
                                   "\x03\x02\x08\x00"s,
                                   "\x03\x02\x01\x01"s,  // a set bit after its end
                                   "\x06\x00"s,
                                   "\x06\x01\x80"s,
                                   "\x06\x02\x80\x01"s,
                                   "\x06\x02\x2a\x86"s,
                                   "\x0c\x01\xff"s,
                                   "\x0c\x02\xc0\x80"s,
                                   "\x0c\x03\xed\xa0\x80"s,
                                   "\x17\x0b"s + "2701150800Z",
                                   "\x17\x11"s + "270115080000+0100",
                                   "\x18\x11"s + "20270115080000.5Z",
                                   "\x31\x06\x02\x01\x02\x02\x01\x01"s,  // a SET out of order
                                   "\x10\x00"s,                          // a SEQUENCE that is primitive
                                   "\x24\x02\x04\x00"s,                  // an OCTET STRING in pieces
                                   "\x00\x00"s,
                                   "\x09\x00"s,
                                   "\x1f\x01\x00"s,
                                   "\x30\x03\x02\x02\x01"s})
        EXPECT_FALSE(good(der)) << testing::PrintToString(der);
}

TEST(Der, HasLimits) {
    std::string nested = "\x05\x00"s;
    for (unsigned i = 0; i < kDerDepthMax; ++i) nested = "\x30"s + static_cast<char>(nested.size()) + nested;
    EXPECT_TRUE(good(nested));
    EXPECT_FALSE(good("\x30"s + static_cast<char>(nested.size()) + nested));
    const std::string long_one = "\x04\x82\x03\xfc"s + std::string(1020, 'x');
    EXPECT_TRUE(good(long_one));
    const auto verdict = check_der(bytes_of("\x04\x82\x03\xfd"s + std::string(1021, 'x')), 1024, "x");
    ASSERT_FALSE(verdict);
    EXPECT_EQ(verdict.error().code, Refusal::too_large);
}

TEST(Der, TruncationAtEveryLength) {
    const std::string whole = "\x30\x0a\x02\x01\x05\x31\x05\x04\x03xyz"s;
    ASSERT_TRUE(good(whole));
    for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(good(whole.substr(0, size)));
}

}  // namespace
}  // namespace vern::trust
