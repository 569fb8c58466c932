#include "control/trust/principals.h"

#include <gtest/gtest.h>

namespace vern::trust {
namespace {

using namespace std::string_view_literals;

std::vector<std::string> read(std::string_view text) {
    const auto file = parse_principals(text, "staff");
    if (!file) ADD_FAILURE() << file.error().sentence;
    return file ? file->principals() : std::vector<std::string>{};
}
using Texts = std::vector<std::string>;

TEST(Principals, APrincipalALine) {
    EXPECT_EQ(read("bob\nalice\nalice\n"), (Texts{"alice", "bob"}));
    EXPECT_EQ(read("alice"), Texts{"alice"});
    EXPECT_EQ(read(""), Texts{});
    EXPECT_EQ(read("\n \t\n# nobody\n\t # nobody\n"), Texts{});
    EXPECT_EQ(read("  alice \t\n\tbob# on leave\ncarol # back\n#dave\n"), (Texts{"alice", "bob", "carol"}));
    EXPECT_EQ(read("B\u00e5rd\n"), Texts{"B\u00e5rd"});
}

TEST(Principals, AcceptsThoseAlone) {
    const auto file = parse_principals("alice\nbob\n", "/etc/staff");
    ASSERT_TRUE(file);
    EXPECT_EQ(file->file_name(), "/etc/staff");
    EXPECT_TRUE(file->accepts("alice") && file->accepts("bob"));
    for (const auto& other : {"", "Alice", "alice ", "alic", "alice\n", "*"})
        EXPECT_FALSE(file->accepts(other));
}

TEST(Principals, OptionsOfWhatATunnelGivesNobody) {
    EXPECT_EQ(
        read("no-pty alice\nno-pty,No-X11-Forwarding\t bob\n no-agent-forwarding,no-user-rc,pty carol # x\n"),
        (Texts{"alice", "bob", "carol"}));
}

TEST(Principals, LinesThatRefuseTheFile) {
    struct {
        std::string_view line;
        Refusal code;
        std::string_view why;
    } const kCases[] = {
        {"from=\"10.0.0.0/8\" alice"sv, Refusal::unknown_critical, "'from'"},
        {"command=\"echo a b\" alice"sv, Refusal::unknown_critical, "'command'"},
        {"restrict alice"sv, Refusal::unknown_critical, "'restrict'"},
        {"no-pty,no-port-forwarding alice"sv, Refusal::unknown_critical, "'no-port-forwarding'"},
        {"no-pty=x alice"sv, Refusal::unknown_critical, "'no-pty'"},
        {"cert-authority alice"sv, Refusal::unknown_critical, "'cert-authority'"},
        {"alice bob"sv, Refusal::unknown_critical, "a principal has no space"},
        {"no-pty, alice"sv, Refusal::unknown_critical, "''"},
        {",no-pty alice"sv, Refusal::unknown_critical, "''"},
        {"no-pty no-user-rc alice"sv, Refusal::malformed, "a space among the options"},
        {"no-pty\tfrom=\"10.0.0.1\" alice"sv, Refusal::malformed, "a space among the options"},
        {"alice\r"sv, Refusal::malformed, "control character"},
        {"ali\0ce"sv, Refusal::malformed, "control character"},
        {"alice\x7f"sv, Refusal::malformed, "control character"},
        {"ali\xff"sv, Refusal::malformed, "UTF-8"},
    };
    for (const auto& expected : kCases) {
        const auto file =
            parse_principals("# staff\nbob\n" + std::string(expected.line) + "\ncarol\n", "/etc/staff");
        ASSERT_FALSE(file) << expected.line;
        EXPECT_EQ(file.error().code, expected.code) << file.error().sentence;
        EXPECT_TRUE(file.error().sentence.starts_with("/etc/staff:3: ")) << file.error().sentence;
        EXPECT_NE(file.error().sentence.find(expected.why), std::string::npos) << file.error().sentence;
    }
}

TEST(Principals, HaveLimits) {
    EXPECT_EQ(parse_principals(std::string(kPrincipalBytesMax + 1, 'a'), "staff").error().code,
              Refusal::too_large);
    EXPECT_TRUE(parse_principals(std::string(kPrincipalBytesMax, 'a'), "staff"));
    EXPECT_EQ(parse_principals(std::string(kPrincipalsFileBytesMax + 1, '\n'), "staff").error().code,
              Refusal::too_large);
}

}  // namespace
}  // namespace vern::trust
