#include "control/trust/ssh_reader.h"

#include <gtest/gtest.h>

#include "control/trust/serial_set.h"

namespace vern::trust {
namespace {

using namespace std::string_view_literals;

TEST(SshReader, ReadsWhatIsWritten) {
    SshWriter writer;
    writer.u8(1).u32(0x02030405).u64(0x060708090a0b0c0d).string("text"sv).raw("xy"sv);
    SshReader reader(writer.bytes());
    EXPECT_EQ(reader.u8(), 1);
    EXPECT_EQ(reader.u32(), 0x02030405U);
    EXPECT_EQ(reader.u64(), 0x060708090a0b0c0dU);
    EXPECT_EQ(reader.text(), "text");
    EXPECT_EQ(as_text(reader.raw(2)), "xy");
    EXPECT_TRUE(reader.finish("it"));
}

TEST(SshReader, StaysFailed) {
    const std::string bytes(
        "\0\0\0\x05"
        "abcd"
        "\0\0\0\0",
        12);
    SshReader reader(as_bytes(std::string_view(bytes).substr(0, 8)));
    EXPECT_TRUE(reader.string().empty());
    EXPECT_TRUE(reader.failed() && reader.at_end());
    EXPECT_EQ(reader.u32(), 0U);
    EXPECT_EQ(reader.finish("it").error().sentence, "it is malformed: it ends too early");
}

TEST(SshReader, RefusesTrailingBytes) {
    SshReader reader(as_bytes("ab"));
    reader.u8();
    EXPECT_EQ(reader.finish("it").error().sentence, "it is malformed: it goes on after its end");
}

TEST(SshReader, NumbersHaveOneSpelling) {
    struct {
        std::string_view bytes;
        bool good;
        std::string_view magnitude;
    } const kCases[] = {
        {""sv, true, ""sv},           {"\x01"sv, true, "\x01"sv},
        {"\0\x80"sv, true, "\x80"sv}, {"\x7f\xff"sv, true, "\x7f\xff"sv},
        {"\0"sv, false, ""sv},        {"\0\x7f"sv, false, ""sv},
        {"\0\0\x80"sv, false, ""sv},  {"\x80"sv, false, ""sv},
    };
    for (const auto& expected : kCases) {
        const SshWriter writer = SshWriter().string(expected.bytes);
        SshReader reader(writer.bytes());
        EXPECT_EQ(as_text(reader.mpint()), expected.magnitude);
        EXPECT_EQ(reader.finish("it").has_value(), expected.good);
    }
}

TEST(SshReader, NamesHaveNoNul) {
    for (const auto& name : {"a\0"sv, "\0"sv, "a\0b"sv}) {
        const SshWriter writer = SshWriter().string(name);
        SshReader reader(writer.bytes());
        EXPECT_EQ(reader.name(), "");
        EXPECT_TRUE(reader.failed());
    }
}

TEST(CleanText, IsPrintableUtf8) {
    for (const auto& text :
         {""sv, "alice"sv, "B\u00e5rd \u4e2d"sv, "\xf0\x9f\x94\x91"sv, "\xc2\xa0"sv, "\xf4\x8f\xbf\xbf"sv})
        EXPECT_TRUE(is_clean_text(text)) << text;
    for (const auto& text : {"a\n"sv, "\x1b[0m"sv, "\x7f"sv, "\0"sv, "\xc2\x85"sv, "\x80"sv, "\xc3"sv,
                             "\xc0\xaf"sv, "\xc1\xbf"sv, "\xe0\x9f\xbf"sv, "\xed\xa0\x80"sv,
                             "\xf0\x8f\xbf\xbf"sv, "\xf4\x90\x80\x80"sv, "\xf8\x88\x80\x80\x80"sv, "\xff"sv,
                             "\xe4\xb8"
                             "a"sv})
        EXPECT_FALSE(is_clean_text(text));
}

TEST(CleanText, IsWhatIsShown) {
    EXPECT_EQ(shown("B\u00e5rd"), "B\u00e5rd");
    EXPECT_EQ(shown("a\n\xff"), "a??");
    EXPECT_EQ(shown("B\u00e5rd", 2), "B?...");
    EXPECT_EQ(shown("alice", 5), "alice");
    EXPECT_EQ(shown("alice", 4), "alic...");
}

constexpr std::uint64_t kLast = ~std::uint64_t{0};

TEST(SerialSet, RangesInAnyOrder) {
    SerialSet set;
    for (const auto& [first, last] : {std::pair<std::uint64_t, std::uint64_t>{100, 200},
                                      {5, 5},
                                      {150, 160},
                                      {199, 300},
                                      {kLast, kLast},
                                      {0, 1}})
        set.add(first, last);
    set.seal();
    for (const std::uint64_t in : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{5}, std::uint64_t{100},
                                   std::uint64_t{200}, std::uint64_t{300}, kLast})
        EXPECT_TRUE(set.contains(in)) << in;
    for (const std::uint64_t out : {std::uint64_t{2}, std::uint64_t{4}, std::uint64_t{6}, std::uint64_t{99},
                                    std::uint64_t{301}, kLast - 1})
        EXPECT_FALSE(set.contains(out)) << out;
}

TEST(SerialSet, BitmapsAtAnyOffset) {
    for (std::uint64_t offset = 60; offset < 140; ++offset) {
        SerialSet set;
        ASSERT_TRUE(set.add_bitmap(offset, as_bytes("\x81\0\x40\x01"sv)));
        ASSERT_TRUE(set.add_bitmap(3, as_bytes("\x01"sv)));
        set.seal();
        for (std::uint64_t serial = 0; serial < 240; ++serial) {
            const bool in = serial == 3 || serial == offset || serial == offset + 14 ||
                            serial == offset + 24 || serial == offset + 31;
            EXPECT_EQ(set.contains(serial), in) << offset << " " << serial;
        }
    }
}

TEST(SerialSet, BitmapsEndWith64Bits) {
    SerialSet set;
    EXPECT_TRUE(set.add_bitmap(kLast, as_bytes("\x01"sv)));
    EXPECT_TRUE(set.add_bitmap(kLast - 7, as_bytes("\x80"sv)));
    EXPECT_TRUE(set.add_bitmap(kLast - 8, as_bytes("\x01\x01"sv)));
    EXPECT_FALSE(set.add_bitmap(kLast, as_bytes("\x02"sv)));
    EXPECT_FALSE(set.add_bitmap(kLast - 7, as_bytes("\x01\x00"sv)));
    set.seal();
    EXPECT_TRUE(set.contains(kLast));
    EXPECT_TRUE(set.contains(kLast - 8));
    EXPECT_FALSE(set.contains(kLast - 1));
    EXPECT_FALSE(set.contains(0));
}

}  // namespace
}  // namespace vern::trust
