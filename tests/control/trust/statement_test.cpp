#include "control/trust/statement.h"

#include <gtest/gtest.h>

namespace vern::trust {
namespace {

constexpr std::string_view kLine = R"({"version":1,"wg":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",)"
                                   R"("audience":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",)"
                                   R"("nonce":"AwMDAwMDAwMDAwMDAwMDAw==","not_after":1800000000})"
                                   "\n";

Statement statement() {
    Statement value;
    value.wg.bytes.fill(std::byte{1});
    value.audience.bytes.fill(std::byte{2});
    value.nonce.fill(std::byte{3});
    value.not_after = 1'800'000'000;
    return value;
}

std::string with(std::string_view from, std::string_view to) {
    std::string text(kLine);
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(StatementText, HasOneSpelling) {
    EXPECT_EQ(encode_statement(statement()), kLine);
    const auto parsed = parse_statement(kLine);
    ASSERT_TRUE(parsed) << parsed.error().sentence;
    EXPECT_EQ(*parsed, statement());
    EXPECT_TRUE(parse_statement(with("1800000000", "0")));
    EXPECT_TRUE(parse_statement(with("1800000000", "253402300800")));
}

TEST(StatementText, EveryDeviationIsRefused) {
    const std::string line(kLine);
    const std::string wg = R"("wg":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=")";
    const std::string audience = R"("audience":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=")";
    const std::string cases[] = {
        "",
        " " + line,
        line + " ",
        line.substr(0, line.size() - 1),  // no LF
        line + "\n",
        line.substr(0, line.size() - 1) + "\r\n",
        line + line,
        "\xef\xbb\xbf" + line,
        with(R"("version":1)", R"("version": 1)"),
        with(R"(,"wg")", R"(, "wg")"),
        with("{", "{ "),
        with("}", " }"),
        with(R"("version":1)", R"("version":2)"),
        with(R"("version":1)", R"("version":01)"),
        with(R"("version":1)", R"("version":1.0)"),
        with(R"("version":1)", R"("version":"1")"),
        with(R"("version":1)", R"("Version":1)"),
        with(R"("version":1)", R"("\u0076ersion":1)"),
        with(R"("version":1,)", ""),
        with(wg + "," + audience, audience + "," + wg),  // the order
        with("}", R"(,"more":1})"),
        with(R"(,"nonce")", R"(,"more":1,"nonce")"),
        with(wg, wg + "," + wg),
        with("}", R"(,"not_after":1800000000})"),
        with("1800000000", "01800000000"),
        with("1800000000", "00"),
        with("1800000000", "-1800000000"),
        with("1800000000", "-0"),
        with("1800000000", "+1800000000"),
        with("1800000000", "18e8"),
        with("1800000000", "1800000000.0"),
        with("1800000000", "0x10"),
        with("1800000000", "\"1800000000\""),
        with("1800000000", "null"),
        with("1800000000", ""),
        with("1800000000", "253402300801"),
        with("1800000000", "18446744073709551617"),
        with("1800000000", " 1800000000"),
        with("AQE=", "AQE"),   // no padding
        with("AQE=", "AQF="),  // bits after the end
        with("AQE=", "AQE=="),
        with("AwMDAwMDAwMDAwMDAwMDAw==", "AwMDAwMDAwMDAwMDAwMDAw="),
        with("AwMDAwMDAwMDAwMDAwMDAw==", "AwMDAwMDAwMDAwMDAwMDAx=="),
        with("AwMDAwMDAwMDAwMDAwMDAw==", "AwMDAwMDAwMDAwMDAwMDAw"),
        with("AwMDAwMDAwMDAwMDAwMDAw==", "AwMDAwMDAwMDAwMDAwMD"),
        with("AwMDAwMDAwMDAwMDAwMDAw==", "-_MDAwMDAwMDAwMDAwMDAw=="),
        with("AwMDAwMDAwMDAwMDAwMDAw==", "Aw MDAwMDAwMDAwMDAwMDAw="),
        with("AwMDAwMDAwMDAwMDAwMDAw==", R"(\u0041wMDAwMDAwMDAwMDAwMDAw==)"),
        with("AQEBAQEB", "AQEB\nAQE"),
        with("AQEBAQEB", "AQEB/AQ\xc3"),
        with("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    };
    for (const std::string& text : cases) {
        const auto parsed = parse_statement(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().code, Refusal::malformed) << text;
    }
    for (std::size_t size = 0; size < line.size(); ++size)
        EXPECT_FALSE(parse_statement(std::string_view(line).substr(0, size)));
}

TEST(StatementText, NoOtherByteMeansTheSame) {
    for (std::size_t at = 0; at < kLine.size(); ++at) {
        for (const int flip : {0x01, 0x02, 0x20, 0x80}) {
            std::string text(kLine);
            text[at] = static_cast<char>(text[at] ^ flip);
            const auto parsed = parse_statement(text);
            EXPECT_TRUE(!parsed || *parsed != statement()) << text;
        }
    }
}

TEST(StatementText, IsAtMostOneKibibyte) {
    const auto parsed = parse_statement(with("}", std::string(1024, ' ') + "}"));
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, Refusal::too_large);
}

}  // namespace
}  // namespace vern::trust
