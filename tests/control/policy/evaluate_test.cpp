#include "control/policy/evaluate.h"

#include <gtest/gtest.h>

#include "control/policy/diff.h"
#include "control/policy/language.h"

namespace vern::policy {
namespace {

const std::string kHead =
    "version = 1\n[peers]\nweb-1 = \"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\nother = "
    "\"AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n";
constexpr ClockPair kNow{WallTime(std::chrono::seconds(1'800'000'000)), Instant(std::chrono::hours(1))};

Document document_of(const std::string& text) {
    auto document = parse_policy(kHead + text, "f", kNow.wall);
    EXPECT_TRUE(document) << (document ? "" : document.error().message);
    return document ? std::move(*document) : Document{};
}

std::string rule(const std::string& id, const std::string& lines) {
    return "[[rule]]\nid = \"" + id + "\"\n" + lines + "\n";
}

std::string said(const Document& document, const std::string& text) {
    const auto policy = Policy::compile(rule_set_of(document, kNow, 1), 1);
    const auto question = parse_question(text, document);
    if (!policy || !question) return !policy ? policy.error().message : question.error().message;
    const Ruling ruling = decide(**policy, *question, kNow.boot, true);
    const std::string action = ruling.action == Action::allow  ? "allow"
                               : ruling.action == Action::deny ? "deny"
                                                               : "reject";
    return ruling.index == Policy::kNoRule ? action : action + " " + document.rules[ruling.index].id;
}

TEST(PolicyEvaluate, TestsOfAPolicyMayNameAnIdentity) {
    const std::string dba = rule("dba", "in = { from = [\"ssh:principal=dba\"] }\nallow = [\"tcp/22\"]");
    const auto test = [](const std::string& from, const std::string& expect) {
        return "[[test]]\nfrom = \"" + from +
               "\"\nto = \"10.100.0.1\"\nproto = \"tcp\"\nport = 22\nexpect = \"" + expect + "\"\n";
    };
    const auto checked = [&](const std::string& text) {
        const Document document = document_of(text);
        const auto done = compile_tested(document, rule_set_of(document, kNow, 1), 1, "f", kNow.boot);
        return done ? std::string() : done.error().message;
    };
    EXPECT_EQ(
        checked(dba + test("ssh:principal=dba", "allow") + test("ssh:principal=dba;key-id=ada", "allow") +
                test("ssh:principal=web", "deny") + test("x509:cn=dba", "deny") + test("web-1", "deny")),
        "");
    EXPECT_EQ(
        checked(dba + test("ssh:principal=web", "allow")),
        "f:9:1: test failed: in ssh:principal=web > 10.100.0.1 tcp/22: allow is expected, and it is deny "
        "(no rule allows it)");
}

TEST(PolicyEvaluate, Questions) {
    const Document document =
        document_of(rule("web",
                         "in = { from = [\"web-1\"], to = [\"10.100.0.1\", \"fd00::1\"] }\nallow = "
                         "[\"tcp/3306\", \"icmp/echo-request\"]") +
                    rule("no-telnet", "in = {}\nreject = [\"tcp/23\"]") +
                    rule("ended", "in = {}\nallow = [\"tcp/24\"]\nexpires = 2020-01-01T00:00:00Z") +
                    rule("seen", "in = {}\ndeny = [\"tcp/3306\"]\nobserve = true") +
                    rule("out", "out = { to = [\"other\"] }\nallow = [\"udp/53\"]"));
    for (const auto& [question, answer] : std::initializer_list<std::pair<const char*, const char*>>{
             {"in web-1 tcp 10.100.0.2:40000 > 10.100.0.1:3306", "allow web"},
             {"in web-1 tcp 10.100.0.2>10.100.0.1:3306", "allow web"},
             {"in peer:web-1 tcp [fd00::2]:1 > [fd00::1]:3306", "allow web"},
             {"in AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= tcp 10.100.0.2:1 > 10.100.0.1:3306",
              "allow web"},
             {"in other tcp 10.100.0.3:1 > 10.100.0.1:3306", "deny"},
             {"in - tcp 10.100.0.3:1 > 10.100.0.1:23", "reject no-telnet"},
             {"in web-1 tcp 10.100.0.3:1 > 10.100.0.1:24", "deny"},
             {"in web-1 icmp 10.100.0.2 > 10.100.0.1 echo-request", "allow web"},
             {"in web-1 icmp 10.100.0.2 > 10.100.0.1 redirect/1", "deny"},
             {"out other udp 10.100.0.1:5 > 10.100.0.3:53", "allow out"},
             {"out web-1 udp 10.100.0.1:5 > 10.100.0.3:53", "deny"},
             {"in web-1 proto/47 10.100.0.2 > 10.100.0.1", "deny"},
             {"",
              "not understood: as in 'in web-1 tcp 10.100.0.2:40000 > 10.100.0.1:3306', or 'out web-1 icmp "
              "10.100.0.1 > 10.100.0.2 echo-request'"},
             {"at web-1 tcp 10.100.0.2:1 > 10.100.0.1:1", "'at' is neither in nor out"},
             {"in web-9 tcp 10.100.0.2:1 > 10.100.0.1:1",
              "unknown peer 'web-9': neither a name of the policy's [peers] nor a public key (- is for one "
              "that no rule names)"},
             {"in web-1 tcp 10.100.0.2:1 > fd00::1", "one address is IPv4, the other IPv6"},
             {"in web-1 icmp fd00::2 > fd00::1", "icmp is for IPv4 addresses, icmpv6 for IPv6"},
             {"in web-1 udp fd00::1:53 > x",
              "'x' is not an address, or an address and a port (10.0.0.1:80, [fd00::1]:80)"},
         })
        EXPECT_EQ(said(document, question), answer) << question;
}

TEST(PolicyEvaluate, TestsOfThePolicyAreHeld) {
    const std::string tests =
        "[[test]]\nfrom = \"web-1\"\nto = \"10.0.0.1\"\nproto = \"tcp\"\nport = 22\nexpect = "
        "\"allow\"\n[[test]]\nfrom = \"10.0.0.1\"\nto = \"other\"\nproto = \"icmp\"\nexpect = \"reject\"\n";
    const Document right = document_of(rule("a", "in = { from = [\"web-1\"] }\nallow = [\"tcp/22\"]") +
                                       rule("b", "out = {}\nreject = [\"icmp\"]\nobserve = true") + tests);
    EXPECT_TRUE(compile_tested(right, rule_set_of(right, kNow, 1), 1, "f", kNow.boot));
    const Document wrong = document_of(rule("a", "in = { from = [\"other\"] }\nallow = [\"tcp/22\"]") +
                                       rule("b", "out = {}\ndeny = [\"icmp\"]") + tests);
    const auto refused = compile_tested(wrong, rule_set_of(wrong, kNow, 1), 1, "f", kNow.boot);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message,
              "f:13:1: test failed: in web-1 > 10.0.0.1 tcp/22: allow is expected, and it is deny (no rule "
              "allows it)\n"
              "f:19:1: test failed: out 10.0.0.1 > other icmp/8/0: reject is expected, and it is deny (rule "
              "'b' on line 9)");
}

TEST(PolicyDiff, ByTheIdsOfRules) {
    const Document before =
        document_of(rule("a", "in = {}\nallow = [\"tcp/1\"]") + rule("b", "in = {}\nallow = [\"tcp/2\"]") +
                    rule("c", "in = {}\nallow = [\"tcp/3\"]"));
    const Document after =
        document_of(rule("c", "in = { from = [\"web-1\"] }\nallow = [\"tcp/3\"]\nrate = \"1/day\"") +
                    rule("d", "in = {}\ndeny = [\"any\"]") + rule("a", "in = {}\nallow = [\"tcp/1\"]"));
    EXPECT_EQ(to_text(difference(before, after)), "+ d\n- b\n~ c: peers, rate\n* the order of the rules\n");
    EXPECT_TRUE(difference(before, before).empty());
    EXPECT_EQ(to_text(difference(before, document_of("[defaults]\nobserve = true\n"))),
              "- a\n- b\n- c\n* observe: the policy is only watched now\n");
}

}  // namespace
}  // namespace vern::policy
