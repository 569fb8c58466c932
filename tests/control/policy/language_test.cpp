#include "control/policy/language.h"

#include <gtest/gtest.h>

#include <string>

#include "control/policy/diff.h"
#include "control/policy/rate_text.h"
#include "control/policy/service_text.h"
#include "control/text.h"

namespace vern::policy {
namespace {

const std::string kKeyA = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const std::string kKeyB = "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const WallTime kNow{std::chrono::sys_days(std::chrono::year(2026) / 11 / 22)};

// Lines 1 to 6; what a test adds begins on line 7.
const std::string kHead = "version = 1\n[peers]\nweb-1 = \"" + kKeyA + "\"\nweb-2 = \"" + kKeyB +
                          "\"\n[groups]\nweb = [\"web-1\", \"peer:web-2\"]\n";

Result<Document> parse(const std::string& text) { return parse_policy(text, "f", kNow); }
Result<Document> with(const std::string& text) { return parse(kHead + text); }
std::string rule(const std::string& lines) { return "[[rule]]\nid = \"r\"\n" + lines; }

std::string error_of(const Result<Document>& document) {
    return document ? "(taken)" : document.error().message;
}

TEST(PolicyLanguage, TheExampleOfTheManual) {
    const auto document = parse("version = 1\nname = \"db-servers 2026-11\"\n[peers]\nweb-1 = \"" + kKeyA +
                                "\"\nweb-2 = \"" + kKeyB + "\"\n" +
                                R"([groups]
web = ["peer:web-1", "peer:web-2"]
dba = ["ssh:principal=dba", "x509:ou=DBA"]
[[rule]]
id = "mysql-from-web"
in = { from = ["web"], to = ["10.100.0.1/32"] }
allow = ["tcp/3306"]
[[rule]]
id = "ssh-for-dba"
in = { from = ["dba"] }
allow = ["tcp/22"]
rate = "10/minute per source"
log = true
expires = 2026-12-31T00:00:00+01:00
[[test]]
from = "web-1"
to = "10.100.0.1"
proto = "tcp"
port = 3306
expect = "allow"
)");
    ASSERT_TRUE(document) << error_of(document);
    EXPECT_EQ(document->name, "db-servers 2026-11");
    ASSERT_EQ(document->rules.size(), 2u);
    const Rule& mysql = document->rules[0].rule;
    EXPECT_EQ(document->rules[0].id, "mysql-from-web");
    EXPECT_EQ(document->rules[0].at.line, 9u);
    EXPECT_EQ(mysql.direction, Direction::in);
    EXPECT_EQ(mysql.action, Action::allow);
    EXPECT_EQ(document->member_sets.at(mysql.peers).peers.size(), 2u);
    ASSERT_EQ(mysql.local.size(), 1u);
    EXPECT_EQ(to_text(mysql.local[0]), "10.100.0.1/32");
    EXPECT_TRUE(mysql.remote.empty());
    EXPECT_EQ(mysql.services, (std::vector<Service>{{6, 3306, 3306}}));
    const DocumentRule& ssh = document->rules[1];
    const Members& dba = document->member_sets.at(ssh.rule.peers);
    EXPECT_TRUE(dba.peers.empty());
    ASSERT_EQ(dba.selectors.size(), 2u);
    EXPECT_EQ(to_text(dba.selectors[0]), "ssh:principal=dba");
    EXPECT_EQ(to_text(dba.selectors[1]), "x509:ou=DBA");
    EXPECT_TRUE(ssh.rule.log);
    ASSERT_TRUE(ssh.rule.rate);
    EXPECT_EQ(to_text(*ssh.rule.rate), "10/minute per source");
    EXPECT_EQ(ssh.expires,
              WallTime(std::chrono::sys_days(std::chrono::year(2026) / 12 / 30) + std::chrono::hours(23)));
    ASSERT_EQ(document->tests.size(), 1u);
    EXPECT_EQ(document->tests[0].key.local_port, 3306);
    EXPECT_EQ(document->tests[0].direction, Direction::in);
    EXPECT_TRUE(document->warnings.empty());
}

TEST(PolicyLanguage, WhatIsOnlyObservedIsLogged) {
    const std::string rules = R"([[rule]]
id = "a"
in = {}
deny = ["tcp/1"]
observe = true
[[rule]]
id = "b"
in = {}
deny = ["tcp/2"]
[[rule]]
id = "c"
in = {}
allow = ["tcp/3"]
)";
    const auto logged = [&](const std::string& top) {
        const auto document = parse("version = 1\n" + top + rules);
        EXPECT_TRUE(document);
        std::string ids;
        for (const Rule& rule : rule_set_of(*document, {kNow, {}}, 1).rules)
            ids += rule.log ? document->rules[static_cast<std::size_t>(ids.size())].id : "-";
        return ids;
    };
    EXPECT_EQ(logged(""), "a--");
    EXPECT_EQ(logged("[defaults]\nobserve = true\n"), "ab-");
}

TEST(PolicyLanguage, SerialNumbersAreReadAsOpensslPrintsThem) {
    const auto selector = [](std::string_view text) {
        const auto parsed = parse_selector(text);
        return parsed ? to_text(*parsed) : parsed.error().message;
    };
    EXPECT_EQ(selector("x509:serial=07F4:10aB"), "x509:serial=7f410ab");
    EXPECT_EQ(selector("x509:serial=00"), "x509:serial=0");
    EXPECT_EQ(selector("ssh:serial=4711"), "ssh:serial=4711");
    EXPECT_EQ(selector("x509:serial=0x12"), "'x509:serial=0x12': a serial number is hexadecimal");
    EXPECT_EQ(selector("x509:serial=" + std::string(41, 'a')),
              "'x509:serial=" + std::string(41, 'a') + "': a serial number is hexadecimal");
    EXPECT_EQ(selector("ssh:serial=ab"), "'ssh:serial=ab': a serial number is decimal");
    EXPECT_EQ(selector("ssh:serial=18446744073709551616"),
              "'ssh:serial=18446744073709551616': a serial number is decimal");
}

TEST(PolicyLanguage, IdentitiesMakePeerSetsWhenTheyAreProven) {
    const auto document = parse(R"(version = 1
[groups]
dba = ["ssh:principal=dba;ca=corp", "x509:ou=DBA"]
[[rule]]
id = "ssh"
in = { from = ["dba"] }
allow = ["tcp/22"]
[[rule]]
id = "no-guests"
in = { from = ["ssh:group=guest"] }
deny = ["any"]
)");
    ASSERT_TRUE(document) << error_of(document);
    ASSERT_EQ(document->warnings.size(), 1u);
    EXPECT_EQ(document->warnings[0],
              "f:8:1: rule 'no-guests' denies by identity: whoever does not present it is not denied");
    trust::Identity corp, other, ou;
    corp.principals = other.principals = {"root", "dba"};
    corp.authority = "corp";
    ou.kind = trust::Identity::Kind::x509;
    ou.org_units = {"DBA"};
    PublicKey a, b, c;
    a.bytes[0] = std::byte{1};
    b.bytes[0] = std::byte{2};
    c.bytes[0] = std::byte{3};
    const auto set = rule_set_of(*document, {kNow, {}}, 1, {{c, &ou}, {b, &other}, {a, &corp}, {c, &corp}});
    EXPECT_EQ(set.peer_sets.at(set.rules[0].peers), (PeerSet{a, c}));
    EXPECT_TRUE(set.peer_sets.at(set.rules[1].peers).empty());
    EXPECT_TRUE(rule_set_of(*document, {kNow, {}}, 1).peer_sets.at(set.rules[0].peers).empty());
}

TEST(PolicyLanguage, AProofOfIdentityIsAskedOfEverybodyOrOfSome) {
    const std::string peers = "[peers]\nweb-1 = \"" + kKeyA + "\"\nweb-2 = \"" + kKeyB + "\"\n";
    PublicKey a, b;
    ASSERT_TRUE(from_base64(kKeyA, a.bytes) && from_base64(kKeyB, b.bytes));
    const auto nobody = parse("version = 1\n" + peers);
    EXPECT_TRUE(admission_of(*nobody, {}).admits(a));
    const auto all = parse("version = 1\nrequire_identity = true\n" + peers);
    ASSERT_TRUE(all) << error_of(all);
    EXPECT_FALSE(admission_of(*all, {b}).admits(a));
    EXPECT_TRUE(admission_of(*all, {b}).admits(b));
    const auto some = parse("version = 1\nrequire_identity = [\"web-1\"]\n" + peers);
    ASSERT_TRUE(some) << error_of(some);
    EXPECT_FALSE(admission_of(*some, {}).admits(a));
    EXPECT_TRUE(admission_of(*some, {a}).admits(a));
    EXPECT_TRUE(admission_of(*some, {}).admits(b));
    EXPECT_EQ(
        error_of(parse("version = 1\nrequire_identity = [\"ssh:principal=a\"]\n")),
        "f:2:20: require_identity: of peers and groups of them (who has proven an identity cannot be asked "
        "for one)");
}

TEST(PolicyLanguage, ABindingMayBeGivenALongestTime) {
    EXPECT_EQ(parse("version = 1\n")->identity_max, std::nullopt);
    EXPECT_EQ(parse("version = 1\nidentity_max = \"90\"\n")->identity_max, std::chrono::seconds(90));
    EXPECT_EQ(parse("version = 1\nidentity_max = \"8h\"\n")->identity_max, std::chrono::hours(8));
    EXPECT_EQ(parse("version = 1\nidentity_max = \"8784h\"\n")->identity_max, kIdentityMaxMost);
    const std::string error =
        "f:2:16: identity_max: a time from \"1s\" to \"8784h\" is wanted (\"30m\", \"8h\")";
    for (const char* text : {"", "0", "0s", "-1s", "1d", "8785h", "8 h", "8h ", "99999999999999999999"})
        EXPECT_EQ(error_of(parse("version = 1\nidentity_max = \"" + std::string(text) + "\"\n")), error)
            << text;
    EXPECT_FALSE(parse("version = 1\nidentity_max = 8\n"));
    const auto before = parse("version = 1\n"), after = parse("version = 1\nidentity_max = \"8h\"\n");
    EXPECT_EQ(to_text(difference(*before, *after)), "* identity_max\n");
}

struct Wrong {
    std::string text;   // behind kHead
    std::string error;  // the whole of it
};

TEST(PolicyLanguage, EveryMistakeHasItsPlaceAndItsWords) {
    const std::string allow = "allow = [\"tcp/22\"]\n";
    const Wrong cases[] = {
        {"[[rule]]\nin = {}\n" + allow, "f:7:1: a rule needs an id, by which logs and counters name it"},
        {"[[rule]]\nid = \"a b\"\nin = {}\n" + allow,
         "f:8:6: 'a b' cannot be an id: up to 64 letters, digits and any of -_./"},
        {rule("in = {}\n" + allow) + rule("in = {}\n" + allow),
         "f:12:6: second rule with the id 'r', first on line 8"},
        {rule(allow), "f:7:1: a rule needs a direction: in = { from = [...] } or out = { to = [...] }"},
        {rule("in = {}\nout = {}\n" + allow), "f:10:7: a rule has one direction, in or out: write two rules"},
        {rule("in = {}\n"),
         "f:7:1: a rule needs one of allow, deny and reject, with the services it is for: allow = "
         "[\"tcp/22\"]"},
        {rule("in = {}\nallow = [\"any\"]\ndeny = [\"any\"]\n"),
         "f:11:8: a rule does one thing: allow, deny or reject"},
        {rule("in = {}\nalow = [\"tcp/22\"]\n" + allow), "f:10:1: unknown key 'alow' in a rule (allow?)"},
        {rule("in = { form = [\"web\"] }\n" + allow),
         "f:9:8: unknown key 'form' in in; it may have from, to, peers"},
        {rule("in = { from = [] }\n" + allow),
         "f:9:15: from: an empty list never means \"any\"; leave the key out if any is meant"},
        {rule("in = {}\nallow = []\n"),
         "f:10:9: allow: an empty list never means \"any\"; leave the key out if any is meant"},
        {rule("in = { from = \"web\" }\n" + allow),
         "f:9:15: from: a list is wanted, not a text (write [\"web\"])"},
        {rule("in = { from = [7] }\n" + allow), "f:9:16: from: a text in quotes is wanted, not a number"},
        {rule("in = { from = [\"wep\"] }\n" + allow), "f:9:16: unknown group or peer 'wep' (web?)"},
        {rule("in = { from = [\"peer:web-9\"] }\n" + allow),
         "f:9:16: unknown peer 'web-9': neither a name of [peers] nor a public key"},
        {rule("in = { from = [\"any\"] }\n" + allow),
         "f:9:16: 'any' is not a group: leave the key out if anybody is meant"},
        {rule("in = { from = [\"" + kKeyA + "\"] }\n" + allow),
         "f:9:16: a peer's key is written \"peer:" + kKeyA + "\""},
        {rule("in = { from = [\"tcp/22\"] }\n" + allow),
         "f:9:16: 'tcp/22' is a service: services stand behind allow, deny or reject"},
        {rule("in = { from = [\"web\", \"10.0.0.0/8\"] }\n" + allow),
         "f:9:15: from: peers and prefixes in one list; put the peers behind `peers` (both must match), or "
         "write two rules"},
        {rule("in = { from = [\"web\"], peers = [\"web\"] }\n" + allow),
         "f:9:32: peers are given twice, in `from` and in `peers`"},
        {rule("in = { peers = [\"10.0.0.0/8\"] }\n" + allow),
         "f:9:17: '10.0.0.0/8' is not a peer: prefixes stand behind `from`"},
        {rule("in = { to = [\"web\"] }\n" + allow),
         "f:9:14: to of `in` is this side: prefixes, and no peers ('web')"},
        {rule("out = { from = [\"web\"] }\n" + allow),
         "f:9:17: from of `out` is this side: prefixes, and no peers ('web')"},
        {rule("in = { from = [\"10.0.0.1/8\"] }\n" + allow),
         "f:9:16: '10.0.0.1/8' has bits behind its length (10.0.0.0/8, or 10.0.0.1 alone?)"},
        {rule("in = { from = [\"fd00::1/64\"] }\n" + allow),
         "f:9:16: 'fd00::1/64' has bits behind its length (fd00::/64, or fd00::1 alone?)"},
        {rule("in = { from = [\"10.0.0.0/33\"] }\n" + allow),
         "f:9:16: '10.0.0.0/33' is not a prefix (10.0.0.0/24, fd00::/64, or an address)"},
        {rule("in = { from = [\"10.0.0.256\"] }\n" + allow),
         "f:9:16: '10.0.0.256' is not a prefix (10.0.0.0/24, fd00::/64, or an address)"},
        {rule("in = { from = [\"10.0.0.0/8\"], to = [\"fd00::/8\"] }\n" + allow),
         "f:7:1: from and to are of different families: no packet is both IPv4 and IPv6"},
        {rule("in = { to = [\"fd00::/8\"] }\nallow = [\"icmp\"]\n"),
         "f:7:1: 'icmp' with IPv6 prefixes only: icmpv6 is meant"},
        {rule("in = { to = [\"10.0.0.0/8\"] }\nallow = [\"icmpv6/echo-request\"]\n"),
         "f:7:1: 'icmpv6/echo-request' with IPv4 prefixes only: icmp is meant"},
        {rule("in = { from = [\"@lan\"] }\n" + allow),
         "f:9:16: unknown set '@lan': [sets] has none of that name"},
        {rule("in = {}\nallow = [\"22\"]\n"), "f:10:10: '22' has no protocol (tcp/22?)"},
        {rule("in = {}\nallow = [\"tcp/70000\"]\n"),
         "f:10:10: '70000' is neither a port nor a range of ports (22, 8000-8100)"},
        {rule("in = {}\nallow = [\"tcp/9-8\"]\n"), "f:10:10: '9-8' begins above its end"},
        {rule("in = {}\nallow = [\"icmp/packet-too-big\"]\n"),
         "f:10:10: 'packet-too-big' is neither a type of ICMP nor its number (icmpv6/packet-too-big?)"},
        {rule("in = {}\nallow = [\"icmp/3/256\"]\n"), "f:10:10: '256' is not an ICMP code (0 to 255)"},
        {rule("in = {}\nallow = [\"proto/6\"]\n"), "f:10:10: proto/6 is \"tcp\""},
        {rule("in = {}\nallow = [\"proto/256\"]\n"),
         "f:10:10: '256' is not the number of a protocol (0 to 255)"},
        {rule("in = {}\nallow = [\"any\", \"tcp/22\"]\n"),
         "f:10:10: allow: \"any\" stands alone, or it would hide what is beside it"},
        {rule("in = {}\nrate = \"10/minute\"\ndeny = [\"tcp/22\"]\n"),
         "f:10:8: rate: only what is allowed can have one"},
        {rule("in = {}\nrate = \"10\"\n" + allow),
         "f:10:8: rate: '10' is not a number of flows per time (as in \"10/minute per source burst 5\")"},
        {rule("in = {}\nrate = \"0/minute\"\n" + allow),
         "f:10:8: rate: a rate of 0 allows nothing: use deny"},
        {rule("in = {}\nrate = \"1/week\"\n" + allow),
         "f:10:8: rate: 'week' is none of second, minute, hour, day"},
        {rule("in = {}\nrate = \"1/day per host\"\n" + allow),
         "f:10:8: rate: 'per' is not understood (as in \"10/minute per source burst 5\"); the scopes are per "
         "source, per peer, global"},
        {rule("in = {}\nrate = \"1/day burst 0\"\n" + allow),
         "f:10:8: rate: '0' is not a burst (1 to 1000000)"},
        {rule("in = {}\nobserve = true\n" + allow),
         "f:10:11: observe: an allowed flow is not observed (log = true logs it); it is for deny and reject"},
        {rule("in = {}\nlog = 1\n" + allow), "f:10:7: log: true or false is wanted, not a number"},
        {rule("in = {}\nexpires = \"2026-12-31\"\n" + allow),
         "f:10:11: expires: a date and time with its offset from UTC is wanted, without quotes: "
         "2026-12-31T00:00:00Z"},
        {rule("in = {}\nexpires = 2026-12-31T00:00:00\n" + allow),
         "f:10:11: expires: whose midnight? Give the offset from UTC: 2026-12-31T00:00:00Z or ...+01:00"},
        {"dba = [\"dba\"]\n", "f:7:1: group 'dba' is in itself, by way of other groups or its own list"},
        {"web-1 = [\"web\"]\n", "f:7:1: 'web-1' is a peer already: a group needs a name of its own"},
        {"x = [\"ssh:dba\"]\n",
         "f:7:6: 'ssh:dba': an identity is written \"ssh:principal=NAME\" or \"x509:cn=NAME\", more "
         "conditions after a ';'"},
        {"x = [\"ssh:principal=dba;\"]\n",
         "f:7:6: 'ssh:principal=dba;': an identity is written \"ssh:principal=NAME\" or \"x509:cn=NAME\", "
         "more "
         "conditions after a ';'"},
        {"x = [\"ssh:cn=dba\"]\n",
         "f:7:6: 'ssh:cn=dba': no 'cn' in such a certificate; there are principal, key-id, issuer, serial, "
         "group, ca"},
        {"[sets]\ns = [\"tcp/1\", \"10.0.0.0/8\"]\n",
         "f:8:15: '10.0.0.0/8': a set holds prefixes or services, not both"},
        {"[sets]\ns = [\"@t\"]\n", "f:8:6: a set holds prefixes or services, not other sets"},
        {"[sets]\ns = [\"any\"]\n", "f:8:6: a set of \"any\" says nothing: write \"any\" in the rule"},
        {"[sets]\nlan = [\"10.0.0.0/8\"]\n" + rule("in = {}\nallow = [\"@lan\"]\n"),
         "f:12:10: '@lan' is a set of prefixes, and services are wanted"},
        {"[sets]\nports = [\"tcp/1\"]\n" + rule("in = { to = [\"@ports\"] }\n" + allow),
         "f:11:14: '@ports' is a set of services, and prefixes are wanted"},
        {"[defaults]\nflows_per_peer = 0\n", "f:8:18: flows_per_peer: 0 is not from 1 to 16777216"},
        {"[defaults]\nlog = true\n",
         "f:8:1: unknown key 'log' in [defaults]; it may have log_denied, observe, flows_per_peer"},
        {"[rules]\n", "f:7:2: unknown key 'rules' in a policy (rule?)"},
        {"[rule]\nid = \"x\"\n", "f:7:1: write [[rule]], one for each rule"},
        {"[[test]]\nfrom = \"web-1\"\nto = \"10.0.0.1\"\nproto = \"tcp\"\nexpect = \"allow\"\n",
         "f:7:1: a test of tcp needs a port"},
        {"[[test]]\nfrom = \"web-1\"\nto = \"10.0.0.1\"\nproto = \"tcp\"\nport = 1\n",
         "f:7:1: a test needs what it expects: expect = \"allow\", \"deny\" or \"reject\""},
        {"[[test]]\nfrom = \"web-7\"\nto = \"10.0.0.1\"\nproto = \"tcp\"\nport = 1\nexpect = \"deny\"\n",
         "f:8:8: unknown peer 'web-7' (a name of [peers], \"peer:KEY\", an identity, or an address)"},
        {"[[test]]\nfrom = \"web-1\"\nto = \"fd00::1\"\nproto = \"icmp\"\nexpect = \"deny\"\n",
         "f:7:1: icmp is for IPv4 addresses, icmpv6 for IPv6"},
        {rule("in = { from = [\"10.0.0.0/8\"] }\n" + allow) +
             "[[test]]\nfrom = \"web-1\"\nto = \"10.0.0.1\"\nproto = \"tcp\"\nport = 1\nexpect = \"deny\"\n",
         "f:11:1: rules here ask for the peer's address: give it to the test as address = \"10.100.0.2\""},
    };
    for (const Wrong& one : cases) EXPECT_EQ(error_of(with(one.text)), one.error) << one.text;
}

TEST(PolicyLanguage, WhatIsNoTomlIsToldWithItsPlace) {
    EXPECT_TRUE(error_of(parse("version = 1\nname = \"x\n")).starts_with("f:2:"))
        << error_of(parse("version = 1\nname = \"x\n"));
    EXPECT_TRUE(error_of(parse("version = 1\nversion = 1\n")).starts_with("f:2:"));
    // Where toml++ asserts instead of answering.
    for (const char* text : {"[=", "[[=]]", "[a.=]", "[\x01]"})
        EXPECT_TRUE(error_of(parse(text)).starts_with("f:1:")) << text;
    EXPECT_NE(error_of(parse("version = 1\n\xff\n")).find(":2:1: only ASCII"), std::string::npos);
    std::string deep;
    for (int i = 0; i < 100'000; ++i) deep += "a.";
    // A long text may end in four or five quotes, and what comes after them is text no more.
    for (const char* text :
         {R"([ """a"""", """b""" ])", R"("""a""""")", "[ '''a'''', '''b''' ]", "'''a'''''"})
        EXPECT_EQ(error_of(parse("version = 1\nname = " + std::string(text) + "\n" + deep + "a = 1\n")),
                  "f:3:1: a key of more than 16 parts")
            << text;
    EXPECT_EQ(error_of(parse("version = 1\nname = \"\"\"\n\n\"\"\"\n" + deep + "a = 1\n")),
              "f:5:1: a key of more than 16 parts");
    EXPECT_EQ(error_of(parse("x = " + std::string(100'000, '[') + "\n")).substr(0, 4), "f:1:");
    EXPECT_EQ(error_of(parse(std::string(kPolicyBytesMax + 1, '#'))), "f: larger than 8 MiB");
    EXPECT_TRUE(
        parse("version = 1 # a comment.with.many.dots.a.b.c.d.e.f.g.h.i.j.k.l.m.n\nname = "
              "\"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u\"\n"));
}

TEST(PolicyLanguage, TenErrorsAreToldInTheOrderOfTheFile) {
    std::string text;
    for (int i = 0; i < 15; ++i) text += "[[rule]]\nid = \"r" + std::to_string(i) + "\"\n";
    const std::string message = error_of(with(text));
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 10);
    EXPECT_TRUE(message.starts_with("f:7:1: ")) << message;
    EXPECT_TRUE(message.ends_with("\nf: and 20 more")) << message;
}

TEST(PolicyLanguage, VersionComesFirst) {
    // An empty file, too: what should have written it failed.
    for (const char* text : {"name = \"x\"\n", "", "# nothing\n"})
        EXPECT_EQ(error_of(parse(text)), "f:1:1: no version: a policy says \"version = 1\" first");
    EXPECT_EQ(error_of(parse("version = 2\n")),
              "f:1:11: version 2 is not known here; this program reads version 1");
    EXPECT_EQ(error_of(parse("version = \"1\"\n")), "f:1:11: version: a whole number is wanted, not a text");
}

TEST(PolicyLanguage, WithoutRulesEverythingIsDeniedAndItSaysSo) {
    const auto document = parse("version = 1\n");
    ASSERT_TRUE(document);
    EXPECT_TRUE(document->rules.empty());
    EXPECT_EQ(document->warnings,
              std::vector<std::string>{"f:1:1: no rules: everything is denied, in and out"});
}

TEST(PolicyLanguage, Warnings) {
    const std::string all = "[[rule]]\nid = \"all\"\nin = {}\n";
    const auto warning = [](const std::string& text) {
        const auto document = with(text);
        return !document ? error_of(document) : document->warnings.empty() ? "" : document->warnings.front();
    };
    EXPECT_EQ(warning(all + "allow = [\"any\"]\n"), "");
    EXPECT_EQ(warning("none = []\n" + all + "allow = [\"any\"]\n"),
              "f:7:1: group 'none' is empty: rules for it match nobody");
    EXPECT_EQ(
        warning(all + "allow = [\"tcp\"]\n" + rule("in = { from = [\"web\"] }\nallow = [\"tcp/22\"]\n")),
        "f:11:1: rule 'r' is never reached: 'all' on line 7 decides all of it before");
    EXPECT_EQ(
        warning(rule("in = { from = [\"web\"] }\nallow = [\"tcp/22\"]\n") + all + "deny = [\"tcp\"]\n"),
        "f:7:1: rule 'r' is never reached: 'all' on line 11 denies all of it, and deny comes before allow");
    EXPECT_EQ(warning(all + "allow = [\"tcp\"]\nrate = \"1/second\"\n" +
                      rule("in = { from = [\"web\"] }\nallow = [\"tcp/22\"]\n")),
              "");
    EXPECT_EQ(warning(rule("in = { from = [\"web\"] }\nallow = [\"tcp/22\"]\n") + all +
                      "deny = [\"tcp\"]\nobserve = true\n"),
              "");
    EXPECT_EQ(warning(all + "allow = [\"tcp/22\"]\nexpires = 2020-01-01T00:00:00Z\n"),
              "f:11:11: expires: that was in the past; the rule is as if it were not there");
    EXPECT_EQ(warning(all + "allow = [\"tcp/22\"]\nrate = \"1/second global\"\n"),
              "f:11:8: rate: global: whoever uses it up shuts out everybody else; \"per source\" does not");
    EXPECT_TRUE(warning("[defaults]\nobserve = true\n" + all + "deny = [\"any\"]\n")
                    .starts_with("f:8:11: observe: "));
}

TEST(PolicyLanguage, PeersAndPrefixesMustBothMatch) {
    const auto document = with("[sets]\nlan = [\"10.1.0.0/16\", \"fd00::/8\"]\n" +
                               rule("out = { from = [\"10.0.0.1\"], to = [\"@lan\"], peers = [\"web\"] "
                                    "}\nreject = [\"udp/53\"]\nlog = \"[X]: \"\n"));
    ASSERT_TRUE(document) << error_of(document);
    const Rule& rule = document->rules[0].rule;
    EXPECT_EQ(rule.direction, Direction::out);
    EXPECT_EQ(rule.action, Action::reject);
    EXPECT_EQ(rule.remote.size(), 2u);
    EXPECT_EQ(rule.local.size(), 1u);
    EXPECT_NE(rule.peers, kAnyPeer);
    EXPECT_TRUE(rule.log);
    EXPECT_EQ(document->rules[0].log_prefix, "[X]: ");
}

TEST(PolicyLanguage, GroupsHaveLimits) {
    std::string chain = "g0 = [\"web\"]\n";
    for (int i = 1; i < 200; ++i)
        chain +=
            "g" + std::to_string(1000 - i) + " = [\"g" + (i == 1 ? "0" : std::to_string(1001 - i)) + "\"]\n";
    EXPECT_NE(error_of(with(chain)).find("groups within groups, more than 32 deep"), std::string::npos);
    std::string many, wide = "wide = [";
    for (int i = 0; i < 3000; ++i) wide += "\"web-1\",";
    for (int i = 0; i < 3000; ++i) many += "m" + std::to_string(i) + " = [\"wide\"]\n";
    EXPECT_TRUE(with(wide + "]\n" + many));  // members are counted once each
}

TEST(PolicyLanguage, DatesBecomePointsOfTheClockThatNeverStepsBack) {
    const auto document = with(rule("in = {}\nallow = [\"any\"]\nexpires = 2026-11-22T01:00:00Z\n"));
    ASSERT_TRUE(document) << error_of(document);
    const RuleSet set = rule_set_of(*document, {kNow, Instant(std::chrono::hours(5))}, 3);
    EXPECT_EQ(set.generation, 3u);
    EXPECT_EQ(set.rules[0].expires, Instant(std::chrono::hours(6)));
    EXPECT_EQ(set.rules[0].id, rule_number("r"));
}

TEST(PolicyText, ServicesAreWrittenAsTheyAreRead) {
    for (const char* text :
         {"any", "tcp", "udp/53", "tcp/8000-8100", "icmp", "icmp/echo-request",
          "icmp/destination-unreachable/4", "icmpv6/packet-too-big", "icmpv6/200/7", "proto/47"}) {
        const auto service = parse_service(text);
        ASSERT_TRUE(service) << text;
        EXPECT_EQ(to_text(*service), text);
    }
    EXPECT_EQ(to_text(*parse_service("icmp/3/4")), "icmp/destination-unreachable/4");
    for (const char* text : {"", "tcp/", "tcp/1/2", "tcp/-1", "tcp/1-", "icmp/", "icmp/8/", "proto", "proto/",
                             "sctp/1", "any/1", " tcp", "TCP/22"})
        EXPECT_FALSE(parse_service(text)) << text;
}

TEST(PolicyText, RatesAreWrittenAsTheyAreRead) {
    for (const char* text : {"10/minute per source", "1/second per peer burst 3", "100/hour global",
                             "5/day per source burst 1"}) {
        const auto rate = parse_rate(text);
        ASSERT_TRUE(rate) << text;
        EXPECT_EQ(to_text(*rate), text);
    }
    EXPECT_EQ(parse_rate("10/minute")->scope, Rate::Scope::source);
    EXPECT_EQ(parse_rate("10/minute")->burst, 10u);
    for (const char* text : {"", "10", "10/", "/minute", "10/minutes", "10/minute per", "10/minute burst",
                             "10/minute global per peer", "-1/minute", "10/minute burst 1 burst 2"})
        EXPECT_FALSE(parse_rate(text)) << text;
}

}  // namespace
}  // namespace vern::policy
