// Who is trusted, and what a change of that ends.
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "../trust/openssl_pki.h"
#include "identities_fixture.h"

namespace vern::identity {
namespace {

using namespace vern::identity::test;

TEST_F(IdentitiesTest, WithoutTheCaNobodyIsAnybody) {
    certify();
    EXPECT_EQ(code_of(present(statement(nonce()))), "unknown-ca");
    trust_ca();
    EXPECT_EQ(code_of(present(statement(nonce()))), "bound");
    ASSERT_TRUE(identities->distrust(Identity::Kind::ssh, "corp", "uid 0").value());
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told.back(), "identity.ended alice@laptop unknown-ca by uid 0");
    EXPECT_FALSE(identities->distrust(Identity::Kind::ssh, "corp", "uid 0").value());
}

TEST_F(IdentitiesTest, RevocationEndsWhatIsBound) {
    trust_ca();
    certify({"-z", "4711"});
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    trust_ca(workshop().krl("serial: 1-10\n", ca_, {"-z", "5"}));
    EXPECT_EQ(identities->registry().size(), 1u);
    trust_ca(workshop().krl("serial: 4711\n", ca_, {"-z", "6"}));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told.back(), "identity.ended alice@laptop revoked by uid 0");
    EXPECT_EQ(code_of(present(statement(nonce()))), "revoked");
    // An older list, or none at all, would forget.
    const auto older =
        identities->trust(trust::SshSource{.name = "corp",
                                           .key = workshop().public_line(ca_),
                                           .krl = workshop().krl("serial: 1\n", ca_, {"-z", "5"}),
                                           .principals = {},
                                           .principals_file = {},
                                           .groups = {}},
                          "uid 0");
    ASSERT_FALSE(older);
    EXPECT_EQ(older.error().code, Refusal::krl_invalid);
    ASSERT_TRUE(identities->distrust(Identity::Kind::ssh, "corp", "uid 0"));
    const auto none = identities->trust(trust::SshSource{.name = "corp",
                                                         .key = workshop().public_line(ca_),
                                                         .krl = {},
                                                         .principals = {},
                                                         .principals_file = {},
                                                         .groups = {}},
                                        "uid 0");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Refusal::krl_invalid);
}

// Whatever happens to trust, who is left is who would be let in now, and as whom.
TEST_F(IdentitiesTest, WhatIsLeftAfterAnyChangeIsWhatWouldBeProvenAnew) {
    struct Holder {
        std::string line, statement, signature;
        bool bound = false;
    };
    const std::array cas{ca_, workshop().key("ed25519", "-identities-ca-2")};
    std::vector<Holder> holders;
    std::map<std::string, std::size_t> by_key;
    for (std::size_t i = 0; i < 8; ++i) {
        user_ = workshop().key("ed25519", "-identities-user-" + std::to_string(i));
        Holder one{
            .line = workshop().certify(cas[i % 2], user_, {"-z", std::to_string(i)}, i < 4 ? "dba" : "web"),
            .statement = encode_statement(statement()),
            .signature = {}};
        one.signature = signed_text(one.statement);
        by_key[workshop().public_key(user_).fingerprint()] = i;
        holders.push_back(std::move(one));
    }
    std::array<std::vector<std::string>, 2> krls;
    for (std::size_t ca = 0; ca < 2; ++ca) {
        for (const char* list : {"serial: 1-2\n", "serial: 4-7\n", "serial: 100\n", "id: alice@laptop\n"})
            krls[ca].push_back(workshop().krl(list, cas[ca], {"-z", "5"}));
    }
    std::mt19937_64 engine(11);
    const auto below = [&](std::size_t end) {
        return std::uniform_int_distribution<std::size_t>(0, end - 1)(engine);
    };
    const auto change = [&](const std::string& name) {
        if (below(6) == 0) return (void)identities->distrust(Identity::Kind::ssh, name, "");
        const std::size_t ca = below(2);
        std::optional<std::string> principals;
        if (below(2) == 0) principals = below(2) == 0 ? "dba\n" : "dba\nweb\n";
        (void)identities->trust(trust::SshSource{.name = name,
                                                 .key = workshop().public_line(cas[ca]),
                                                 .krl = krls[ca][below(4)],
                                                 .principals = std::move(principals),
                                                 .principals_file = "principals",
                                                 .groups = {std::to_string(below(3))}},
                                "");
    };
    unsigned ended = 0, lived = 0;
    for (int step = 0; step < 300; ++step) {
        change(below(2) == 0 ? "one" : "two");
        std::map<std::size_t, Identity> left;
        identities->registry().each(
            [&](const Binding& one) { left.emplace(by_key.at(one.identity.key), one.identity); });
        for (std::size_t i = 0; i < holders.size(); ++i) {
            Holder& one = holders[i];
            const auto anew =
                trust::verify_ssh_certificate(*trust::parse_ssh_certificate_line(one.line),
                                              *identities->store().ssh(), identities->now(), {});
            if (one.bound) {
                ASSERT_EQ(left.contains(i), anew.has_value()) << "step " << step << ", holder " << i;
                if (anew) {
                    EXPECT_EQ(left.at(i), *anew);
                }
                ++(anew ? lived : ended);
            }
            one.bound = one.bound && anew;
            if (!one.bound && anew && below(2) == 0)
                one.bound = identities->add_ssh(one.statement, one.signature, "").has_value();
        }
    }
    EXPECT_GT(lived, 200u);
    EXPECT_GT(ended, 100u);
}

// A list that is replaced in time keeps alive what it does not revoke, and no longer than a statement allows.
TEST_F(IdentitiesTest, ANewerListIsGoodForLonger) {
    peers.clock.wall = WallTime(seconds(trust::test::kNow));
    trust::test::Pki pki;
    pki.issue("ca", "ca", trust::test::ca_issue());
    pki.issue("ada", "ca");
    pki.issue("bob", "ca");
    const auto trusted_with = [&](const std::string& until) {
        trust::test::CrlIssue list;
        list.until = until;
        return identities
            ->trust(trust::X509CaText{.certificates = pki.read("ca.pem"),
                                      .crls = {pki.crl("ca", list)},
                                      .groups = {},
                                      .name = "pki"},
                    "uid 0")
            .has_value();
    };
    ASSERT_TRUE(trusted_with("20270115100000Z"));
    const auto bound = present_tls(kLaptopAddress, {pki.shown("ada")});
    ASSERT_TRUE(bound) << bound.error().sentence;
    EXPECT_EQ(bound->ends, trust::test::kNow + 7200);
    const std::string text = encode_statement(statement({}, trust::test::kNow + 9000));
    pki.write("statement", text);
    pki.openssl({"cms", "-sign", "-binary", "-nodetach", "-md", "sha256", "-signer", pki.path("bob.pem"),
                 "-inkey", pki.path("bob.key"), "-in", pki.path("statement"), "-outform", "PEM", "-out",
                 pki.path("cms.pem")});
    const auto stated = identities->add_cms(pki.read("cms.pem"), "uid 0");
    ASSERT_TRUE(stated) << stated.error().sentence;
    EXPECT_EQ(stated->ends, trust::test::kNow + 7200);
    peers.pass(seconds(3600));
    ASSERT_TRUE(trusted_with("20270115120000Z"));
    EXPECT_EQ(identities->registry().find(bound->id)->ends, trust::test::kNow + 14'400);
    EXPECT_EQ(identities->registry().find(stated->id)->ends, trust::test::kNow + 9000);
    tick_at_end(seconds(5400));
    EXPECT_EQ(identities->registry().size(), 1u);
    tick_at_end(seconds(5400));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told.back(), "identity.ended ada expired");
}

// Of several files that are given at once, the one that is wrong.
TEST_F(IdentitiesTest, ARefusedListIsNamedByItsFile) {
    trust::SshSource ssh;
    ssh.name = "corp";
    ssh.key = workshop().public_line(ca_);
    ssh.krl_file = "revoked.krl";
    ssh.krl = "";
    auto refused = identities->trust(ssh, "uid 0");
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().sentence.starts_with("revoked.krl: the KRL is refused: it is no KRL"))
        << refused.error().sentence;
    ssh.krl = workshop().krl("serial: 1\n", ca_, {"-z", "5"});
    ASSERT_TRUE(identities->trust(ssh, "uid 0"));
    ssh.krl = workshop().krl("serial: 1\n", ca_, {"-z", "4"});
    refused = identities->trust(ssh, "uid 0");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().sentence, "revoked.krl: the KRL: its version is 4, and 5 was here already");

    peers.clock.wall = WallTime(seconds(trust::test::kNow));
    trust::test::Pki pki;
    pki.issue("ca", "ca", trust::test::ca_issue());
    pki.issue("other", "other", trust::test::ca_issue());
    trust::X509CaText x509{.certificates = pki.read("ca.pem"),
                           .crls = {pki.crl("ca"), pki.crl("other")},
                           .crl_files = {"good.crl", "bad.crl"},
                           .groups = {},
                           .name = "pki"};
    refused = identities->trust(x509, "uid 0");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().sentence,
              "bad.crl: CRL of CN=other: its issuer is not among the CA certificates");
    x509.crls.pop_back();
    const std::string first = x509.crls[0];
    x509.crls[0] = pki.crl("ca");
    ASSERT_TRUE(identities->trust(x509, "uid 0"));
    x509.crls[0] = first;
    refused = identities->trust(x509, "uid 0");
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().sentence.starts_with("good.crl: the CRL of CN=ca: its number is "))
        << refused.error().sentence;
}

// ssh-keygen writes version 0 unless it is told: then lists are told apart by when they were made.
TEST_F(IdentitiesTest, AListWithoutAVersionDoesNotGoBackInTime) {
    const std::string krl = workshop().krl("serial: 1\n", ca_);
    const auto trust_one_made = [&](char at) {
        std::string made = krl;
        made.at(27) = at;  // the last byte of generated_date
        trust::SshSource source;
        source.name = "corp";
        source.key = workshop().public_line(ca_);
        source.krl = made;
        const auto done = identities->trust(source, "uid 0");
        EXPECT_TRUE(done || done.error().sentence.starts_with("the KRL: it was made at "))
            << done.error().sentence;
        return done.has_value();
    };
    EXPECT_TRUE(trust_one_made(5));
    EXPECT_FALSE(trust_one_made(4));
    EXPECT_TRUE(trust_one_made(5)) << "the same again";
    EXPECT_TRUE(trust_one_made(6));
    EXPECT_TRUE(identities->distrust(Identity::Kind::ssh, "corp", "uid 0").value_or(false));
    EXPECT_FALSE(trust_one_made(5)) << "also when its CA was away";
    EXPECT_TRUE(open().empty());
    EXPECT_FALSE(trust_one_made(5)) << "also after a restart";
    EXPECT_TRUE(trust_one_made(6));
    // A file of before times were kept has the number alone.
    identities.reset();
    const std::string path = state.path() + "/wg0/trust.json";
    auto file = nlohmann::json::parse(read_file(path));
    for (auto& [ca, floor] : file["floors"].items()) floor = floor["number"];
    std::ofstream(path) << file;
    EXPECT_TRUE(open().empty());
    EXPECT_TRUE(trust_one_made(5));
    EXPECT_FALSE(trust_one_made(4));
}

TEST_F(IdentitiesTest, AnIntermediateCasListIsNotLeftOutEither) {
    peers.clock.wall = WallTime(seconds(trust::test::kNow));
    trust::test::Pki pki;
    pki.issue("root", "root", trust::test::ca_issue());
    pki.issue("middle", "root", trust::test::ca_issue());
    trust::X509CaText both{.certificates = pki.read("root.pem") + pki.read("middle.pem"),
                           .crls = {pki.crl("root"), pki.crl("middle")},
                           .crl_files = {},
                           .groups = {},
                           .name = "pki"};
    const auto trusted = identities->trust(both, "uid 0");
    ASSERT_TRUE(trusted) << trusted.error().sentence;
    trust::X509CaText alone = both;
    alone.certificates = pki.read("root.pem");
    alone.crls = {pki.crl("root")};
    const auto refused = identities->trust(alone, "uid 0");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().sentence,
              "CN=middle: had a CRL, and without one everything would be valid again");
    EXPECT_TRUE(identities->distrust(Identity::Kind::x509, "pki", "uid 0").value_or(false));
    EXPECT_TRUE(identities->trust(alone, "uid 0")) << "removed on purpose";
}

// A name is a segment of a path, where these two mean something else.
TEST_F(IdentitiesTest, ACaHasANameThatCanBeAskedFor) {
    for (const char* name : {"", ".", "..", "a/b", "a b", "a\n"}) {
        trust::SshSource source;
        source.name = name;
        source.key = workshop().public_line(ca_);
        const auto refused = identities->trust(source, "uid 0");
        ASSERT_FALSE(refused) << name;
        EXPECT_EQ(refused.error().code, Refusal::malformed);
        source.name = "corp";
        source.groups = {name};
        EXPECT_FALSE(identities->trust(source, "uid 0")) << name;
    }
    trust::SshSource source;
    source.name = "...";
    source.key = workshop().public_line(ca_);
    EXPECT_TRUE(identities->trust(source, "uid 0"));
}

TEST_F(IdentitiesTest, NamesFollowThePrincipalsFile) {
    trust_ca({}, "# who may\nweb\n");
    certify();
    const auto bound = present(statement(nonce()));
    ASSERT_TRUE(bound);
    EXPECT_EQ(bound->identity.principals, (std::vector<std::string>{"web"}));
    trust_ca({}, "dba\n");
    EXPECT_EQ(identities->registry().of(kLaptop).at(0)->identity.principals,
              (std::vector<std::string>{"dba"}));
    trust_ca({}, "nobody\n");
    EXPECT_EQ(identities->registry().size(), 0u);
}

// Whatever step of the disk fails, or ends the process, trust is the old or the new.
TEST_F(IdentitiesTest, TrustIsWholeOrNotThereAtAnyStep) {
    const auto source = [&](std::vector<std::string> groups) {
        return trust::SshSource{.name = "corp",
                                .key = workshop().public_line(ca_),
                                .krl = {},
                                .principals = {},
                                .principals_file = {},
                                .groups = std::move(groups)};
    };
    ASSERT_TRUE(identities->trust(source({"old"}), "uid 0"));
    int steps = 0;
    for (int fatal = 0;; ++fatal) {
        identities.reset();
        const pid_t child = ::fork();
        if (child == 0) {
            int step = 0;
            open([&](std::string_view) {
                if (step++ == fatal) ::kill(::getpid(), SIGKILL);
                return 0;
            });
            (void)identities->trust(source({"new"}), "uid 0");
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_TRUE(open().empty());
        ASSERT_EQ(identities->store().entries().size(), 1u);
        const auto groups = identities->store().entries()[0].groups;
        EXPECT_TRUE(groups == std::vector<std::string>{"old"} || groups == std::vector<std::string>{"new"});
        if (!WIFSIGNALED(status)) break;
        ++steps;
        ASSERT_TRUE(identities->trust(source({"old"}), "uid 0"));
    }
    EXPECT_GT(steps, 4);
    for (int failing = 0; failing < 4; ++failing) {
        int step = 0;
        bool armed = false;
        open([&](std::string_view) { return armed && step++ == failing ? ENOSPC : 0; });
        ASSERT_TRUE(identities->trust(source({"old"}), "uid 0"));
        armed = true;
        EXPECT_FALSE(identities->trust(source({"new"}), "uid 0"));
        EXPECT_EQ(identities->store().entries()[0].groups, std::vector<std::string>{"old"});
        armed = false;
        identities.reset();  // before what the hook looks at
    }
}

TEST_F(IdentitiesTest, AFileThatIsNotOneTrustsNobodyAndSaysSo) {
    std::filesystem::create_directories(state.path() + "/wg0");
    for (const char* text :
         {"", "{", "[]", "{\"version\":1}", "{\"version\":2,\"ssh\":[],\"x509\":[],\"floors\":{}}",
          "{\"version\":1,\"ssh\":[{\"name\":3}],\"x509\":[],\"floors\":{}}"}) {
        identities.reset();
        std::ofstream(state.path() + "/wg0/trust.json") << text;
        const auto wrong = open();
        ASSERT_EQ(wrong.size(), 1u) << text;
        EXPECT_TRUE(wrong[0].starts_with("nobody is trusted: ")) << wrong[0];
        EXPECT_TRUE(identities->store().empty());
        // What is there may be mended: it is not written over.
        trust::SshSource source;
        source.name = "corp";
        source.key = workshop().public_line(ca_);
        const auto refused = identities->trust(source, "uid 0");
        ASSERT_FALSE(refused);
        EXPECT_TRUE(refused.error().sentence.starts_with("nothing was changed: "))
            << refused.error().sentence;
        EXPECT_FALSE(identities->distrust(Identity::Kind::ssh, "corp", "uid 0").value_or(false));
        identities.reset();
        std::ifstream file(state.path() + "/wg0/trust.json");
        EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
    }
}

}  // namespace
}  // namespace vern::identity
