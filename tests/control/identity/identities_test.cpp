// Proofs made by the real ssh-keygen and openssl, from the statement to the end of what they bind.
#include "control/identity/identities.h"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include "../trust/openssl_pki.h"
#include "../trust/ssh_workshop.h"
#include "control/text.h"
#include "fake_peers.h"

namespace vern::identity {
namespace {

using std::chrono::seconds;
using trust::Identity;
using trust::Refusal;
using trust::Statement;
using trust::UnixSeconds;
using trust::Verdict;
using namespace vern::identity::test;
using vern::test::read_file;
using vern::test::TemporaryDirectory;
using vern::test::Workshop;

class IdentitiesTest : public ::testing::Test {
  protected:
    void SetUp() override {
        NEEDS_SSH_KEYGEN();
        ca_ = workshop().key("ed25519", "-identities-ca");
        user_ = workshop().key("ed25519", "-identities-user");
        open();
    }
    static Workshop& workshop() { return Workshop::get(); }

    std::vector<std::string> open(StateDirectory::StepHook hook = nullptr) {
        identities.reset();
        identities = std::make_unique<Identities>(
            state.path() + "/wg0", peers, random, [this](const IdentityEvent& event) { note(event); },
            [this] {
                ++changes;
                peers.clock.boot += slow;
            },
            std::move(hook));
        return identities->start();
    }
    void note(const IdentityEvent& event) {
        std::string line(name_of(event.kind));
        if (event.binding != nullptr)
            line += " " + event.binding->identity.key_id + event.binding->identity.common_name;
        if (!event.reason.empty()) line += " " + event.reason;
        if (!event.by.empty()) line += " by " + event.by;
        told.push_back(line);
    }
    bool trust_ca(std::optional<std::string> krl = {}, std::optional<std::string> principals = {}) {
        const auto done = identities->trust(trust::SshSource{.name = "corp",
                                                             .key = workshop().public_line(ca_),
                                                             .krl = std::move(krl),
                                                             .principals = std::move(principals),
                                                             .principals_file = "principals",
                                                             .groups = {"staff"}},
                                            "uid 0");
        EXPECT_TRUE(done) << (done ? "" : done.error().sentence);
        return done.has_value();
    }
    void certify(std::vector<std::string> options = {}, const std::string& principals = "dba,web") {
        ASSERT_FALSE(workshop().certify(ca_, user_, std::move(options), principals).empty());
    }
    std::string signed_text(const std::string& text, const std::string& space = std::string(kNamespace)) {
        return workshop().sign(user_ + "-cert", space, text);
    }
    static Statement statement(const Nonces::Nonce& nonce = {}, UnixSeconds until = kNow + 3600) {
        return {.wg = kLaptop, .audience = kDaemon, .nonce = nonce, .not_after = until};
    }
    Nonces::Nonce nonce(const IpAddress& from = kLaptopAddress) {
        const auto invitation = identities->invite(from);
        EXPECT_TRUE(invitation);
        return invitation ? invitation->nonce : Nonces::Nonce{};
    }
    Verdict<Binding> present(const Statement& said, const IpAddress& from = kLaptopAddress) {
        const std::string text = encode_statement(said);
        return identities->present_ssh(from, text, signed_text(text));
    }
    static std::string code_of(const Verdict<Binding>& verdict) {
        return verdict ? "bound" : std::string(refusal_code(verdict.error().code));
    }
    void tick_at_end(seconds time) {
        peers.pass(time);
        identities->tick();
    }

    std::string ca_, user_;
    TemporaryDirectory state;
    FakePeers peers;
    SeededRandom random;
    std::vector<std::string> told;
    int changes = 0;
    Duration slow{};  // what a change of rules takes
    std::unique_ptr<Identities> identities;
};

TEST_F(IdentitiesTest, ASignedStatementThroughTheTunnelBindsUntilItEnds) {
    trust_ca();
    certify({"-V", "0x3b9aca00:0x" + [] {
                 char hex[32];
                 std::snprintf(hex, sizeof hex, "%llx", static_cast<unsigned long long>(kNow + 100));
                 return std::string(hex);
             }()});
    const auto bound = present(statement(nonce()));
    ASSERT_TRUE(bound) << bound.error().sentence;
    EXPECT_EQ(bound->peer, kLaptop);
    EXPECT_EQ(bound->identity.principals, (std::vector<std::string>{"dba", "web"}));
    EXPECT_EQ(bound->identity.authority, "corp");
    EXPECT_EQ(bound->identity.groups, (std::vector<std::string>{"staff"}));
    EXPECT_EQ(bound->ends, kNow + 100);  // the certificate's, before the statement's
    identities->tick();
    EXPECT_EQ(changes, 2);  // trust, and this
    EXPECT_EQ(identities->deadline(), Instant(seconds(1100)));
    tick_at_end(seconds(99));
    EXPECT_EQ(identities->registry().size(), 1u);
    tick_at_end(seconds(1));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(changes, 3);
    EXPECT_EQ(told, (std::vector<std::string>{"trust.changed by uid 0", "identity.bound alice@laptop",
                                              "identity.ended alice@laptop expired"}));
}

TEST_F(IdentitiesTest, EachLieHasItsOwnRefusal) {
    trust_ca();
    certify();
    const auto with = [&](auto change) {
        Statement said = statement(nonce());
        change(said);
        return code_of(present(said));
    };
    EXPECT_EQ(with([](Statement& said) { said.audience = kOther; }), "audience");
    EXPECT_EQ(with([](Statement& said) { said.wg = kOther; }), "peer-key");
    EXPECT_EQ(with([](Statement& said) { said.not_after = kNow; }), "statement-expired");
    EXPECT_EQ(with([](Statement& said) { said.nonce[0] ^= std::byte{1}; }), "nonce");
    EXPECT_EQ(code_of(present(statement(nonce()), *parse_address("10.100.0.9"))), "no-peer");
    // The nonce is the peer's own.
    Statement stolen = statement(nonce(kOtherAddress));
    EXPECT_EQ(code_of(present(stolen)), "nonce");
    // Used once, and then never again.
    const Statement good = statement(nonce());
    EXPECT_EQ(code_of(present(good)), "bound");
    EXPECT_EQ(code_of(present(good)), "nonce");
    const Statement late = statement(nonce());
    peers.pass(seconds(120));
    EXPECT_EQ(code_of(present(late)), "nonce");
    const std::string text = encode_statement(statement(nonce()));
    EXPECT_EQ(code_of(identities->present_ssh(kLaptopAddress, text, signed_text(text, "file"))), "namespace");
    const std::string other = encode_statement(statement(nonce()));
    EXPECT_EQ(code_of(identities->present_ssh(kLaptopAddress, other, signed_text(text))), "bad-signature");
    EXPECT_EQ(code_of(identities->present_ssh(kLaptopAddress, "{}\n", "")), "malformed");
    EXPECT_EQ(identities->registry().size(), 1u);
}

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
    const auto bound = identities->present_tls(kLaptopAddress, {pki.der("ada")});
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

TEST_F(IdentitiesTest, ABindingLastsNoLongerThanThePolicySays) {
    trust_ca();
    certify();
    identities->set_longest(seconds(600));
    const auto bound = present(statement(nonce(), kNow + 3600));
    ASSERT_TRUE(bound);
    EXPECT_EQ(bound->ends, kNow + 600);
    // Of what is bound already too, from when it was bound; and the statement counts again without it.
    peers.pass(seconds(100));
    identities->set_longest(seconds(200));
    EXPECT_EQ(identities->registry().find(bound->id)->ends, kNow + 200);
    identities->set_longest(std::nullopt);
    EXPECT_EQ(identities->registry().find(bound->id)->ends, kNow + 3600);
    identities->set_longest(seconds(200));
    tick_at_end(seconds(99));
    EXPECT_EQ(identities->registry().size(), 1u);
    // A renewal is a binding.
    ASSERT_EQ(code_of(present(statement(nonce(), kNow + 3600))), "bound");
    tick_at_end(seconds(199));
    EXPECT_EQ(identities->registry().size(), 1u);
    tick_at_end(seconds(1));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told.back(), "identity.ended alice@laptop expired");
}

// A restart binds nobody anew.
TEST_F(IdentitiesTest, WhatWasHandedInKeepsTheTimeAtWhichItWas) {
    trust_ca();
    certify();
    identities->set_longest(seconds(600));
    const std::string text = encode_statement(statement());
    const std::string signature = signed_text(text);
    ASSERT_EQ(code_of(identities->add_ssh(text, signature, "uid 0")), "bound");
    peers.pass(seconds(500));
    open();
    identities->set_longest(seconds(600));
    ASSERT_EQ(identities->registry().size(), 1u);
    EXPECT_EQ(identities->registry().of(kLaptop).at(0)->ends, kNow + 600);
    peers.pass(seconds(100));
    identities->tick();
    EXPECT_EQ(identities->registry().size(), 0u);
    ASSERT_EQ(code_of(identities->add_ssh(text, signature, "uid 0")), "bound");
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
    EXPECT_EQ(refused.error().sentence,
              "revoked.krl: the KRL is of version 4, and version 5 was here already");

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
    EXPECT_TRUE(refused.error().sentence.starts_with("good.crl: the CRL of CN=ca has number "))
        << refused.error().sentence;
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

TEST_F(IdentitiesTest, OneKeyIsOfOnePeer) {
    trust_ca();
    certify();
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    Statement other = statement(nonce(kOtherAddress));
    other.wg = kOther;
    EXPECT_EQ(code_of(present(other, kOtherAddress)), "duplicate");
    EXPECT_EQ(identities->registry().of(kLaptop).size(), 1u);
    EXPECT_TRUE(identities->registry().of(kOther).empty());
}

TEST_F(IdentitiesTest, RenewalKeepsItAliveWhileTheCertificateAllows) {
    trust_ca();
    certify();
    ASSERT_EQ(code_of(present(statement(nonce(), kNow + 60))), "bound");
    identities->tick();
    const int before = changes;
    peers.pass(seconds(50));
    ASSERT_EQ(code_of(present(statement(nonce(), kNow + 110))), "bound");
    identities->tick();
    EXPECT_EQ(changes, before);  // nothing that rules could see
    tick_at_end(seconds(59));
    EXPECT_EQ(identities->registry().size(), 1u);
    tick_at_end(seconds(1));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told[2], "identity.renewed alice@laptop");
}

// When compiling the rules takes long, many proofs become one change of rules.
TEST_F(IdentitiesTest, ABurstIsOneChange) {
    slow = std::chrono::milliseconds(20);
    trust_ca();
    certify();
    ASSERT_EQ(changes, 1);
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    EXPECT_EQ(changes, 1);
    EXPECT_EQ(identities->deadline(), Instant(seconds(1000)) + 2 * slow);
    peers.clock.boot += slow;
    identities->tick();
    EXPECT_EQ(changes, 2);
}

TEST_F(IdentitiesTest, AClockSetBackRevivesNothing) {
    trust_ca();
    certify({"-V", "0x3b9aca00:0x59682f64"});  // kNow + 100
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    tick_at_end(seconds(60));
    peers.clock.wall -= seconds(10'000);
    identities->clock_was_set();
    tick_at_end(seconds(39));
    EXPECT_EQ(identities->registry().size(), 1u);
    tick_at_end(seconds(1));
    EXPECT_EQ(identities->registry().size(), 0u);
    tick_at_end(seconds(0));
    // Nor after a restart.
    peers.clock.wall = WallTime(seconds(kNow + 101));
    identities->tick();
    peers.clock.wall = WallTime(seconds(kNow));
    open();
    EXPECT_EQ(code_of(present(statement(nonce(), kNow + 3600))), "expired");
    // Set forward it comes at once.
    certify();
    ASSERT_EQ(code_of(present(statement(nonce(), kNow + 3600))), "bound");
    peers.clock.wall = WallTime(seconds(kNow + 3600));
    identities->clock_was_set();
    identities->tick();
    EXPECT_EQ(identities->registry().size(), 0u);
}

// Whatever ends the process: not at once, so as not to write at each of many ends, but soon.
TEST_F(IdentitiesTest, ThatSomethingHasEndedIsSoonOnDisk) {
    trust_ca();
    certify({"-V", "0x3b9aca00:0x59682f0a"});  // kNow + 10
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    const auto kept = [this] {
        return nlohmann::json::parse(read_file(state.path() + "/wg0/identities.json"))["latest"];
    };
    tick_at_end(seconds(10));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(kept(), kNow);
    EXPECT_EQ(identities->deadline(), peers.clock.boot + seconds(50));
    tick_at_end(seconds(50));
    EXPECT_EQ(kept(), kNow + 60);
    EXPECT_FALSE(identities->deadline());
}

TEST_F(IdentitiesTest, WhatWasHandedInOutlivesARestart) {
    trust_ca();
    certify();
    const std::string text = encode_statement(statement());
    const std::string signature = signed_text(text);
    ASSERT_EQ(code_of(identities->add_ssh(text, signature, "uid 0")), "bound");
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");  // the same key: now it came through the tunnel
    const auto again = identities->add_ssh(text, signature, "uid 0");
    ASSERT_EQ(code_of(again), "bound");
    // After a start there are neither key nor peers.
    peers.own.reset();
    peers.known.clear();
    EXPECT_TRUE(open().empty());
    EXPECT_EQ(identities->store().entries().size(), 1u);
    EXPECT_EQ(identities->registry().size(), 0u);
    peers.own = kDaemon;
    identities->peers_changed();
    EXPECT_EQ(identities->registry().size(), 0u);
    peers.known = {kLaptop};
    identities->peers_changed();
    ASSERT_EQ(identities->registry().size(), 1u);
    EXPECT_EQ(identities->registry().of(kLaptop).at(0)->means, Means::statement_ssh);
    // A peer that is removed takes its identities along, and gets them back.
    peers.known.clear();
    identities->peers_changed();
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told.back(), "identity.ended alice@laptop peer-removed");
    peers.known = {kLaptop};
    identities->peers_changed();
    ASSERT_EQ(identities->registry().size(), 1u);
    // Removed by somebody, it stays away.
    EXPECT_TRUE(identities->remove(identities->registry().of(kLaptop).at(0)->id, "uid 0"));
    EXPECT_FALSE(identities->remove(4711, "uid 0"));
    open();
    identities->peers_changed();
    EXPECT_EQ(identities->registry().size(), 0u);
}

TEST_F(IdentitiesTest, AStatementHandedInForNobodyHere) {
    trust_ca();
    certify();
    Statement said = statement();
    said.wg = key_number(9);
    const std::string text = encode_statement(said);
    EXPECT_EQ(code_of(identities->add_ssh(text, signed_text(text), "uid 0")), "no-peer");
    peers.own = kOther;  // a new private key: statements were for the old one
    ASSERT_EQ(code_of(identities->add_ssh(text, signed_text(text), "uid 0")), "audience");
}

TEST_F(IdentitiesTest, X509ByStatementByTlsAndByItsOwnKey) {
    peers.clock.wall = WallTime(seconds(trust::test::kNow));
    trust::test::Pki pki;
    pki.issue("ca", "ca", trust::test::ca_issue());
    trust::test::Issue ada;
    ada.subject = "/OU=DBA/CN=ada";
    pki.issue("ada", "ca", ada);
    const auto trusted = identities->trust(
        trust::X509CaText{.certificates = pki.read("ca.pem"), .crls = {}, .groups = {"staff"}, .name = "pki"},
        "uid 0");
    ASSERT_TRUE(trusted) << trusted.error().sentence;
    Statement said = statement({}, trust::test::kNow + 60);
    pki.write("statement", encode_statement(said));
    pki.openssl({"cms", "-sign", "-binary", "-nodetach", "-md", "sha256", "-signer", pki.path("ada.pem"),
                 "-inkey", pki.path("ada.key"), "-in", pki.path("statement"), "-outform", "PEM", "-out",
                 pki.path("cms.pem")});
    const auto bound = identities->add_cms(pki.read("cms.pem"), "uid 0");
    ASSERT_TRUE(bound) << bound.error().sentence;
    EXPECT_EQ(bound->identity.common_name, "ada");
    EXPECT_EQ(bound->identity.org_units, (std::vector<std::string>{"DBA"}));
    EXPECT_EQ(bound->identity.authority, "pki");
    EXPECT_EQ(bound->ends, trust::test::kNow + 60);
    EXPECT_EQ(label_of(bound->identity), "x509:ada@pki (DBA)");

    pki.openssl({"x509", "-in", pki.path("ada.pem"), "-outform", "DER", "-out", pki.path("ada.der")});
    const auto by_tls = identities->present_tls(kLaptopAddress, {pki.read("ada.der")});
    ASSERT_TRUE(by_tls) << by_tls.error().sentence;
    EXPECT_EQ(by_tls->means, Means::tunnel_tls);
    EXPECT_EQ(by_tls->ends, trust::test::kLeafUntil + 1);
    EXPECT_EQ(identities->registry().size(), 1u);
    EXPECT_EQ(code_of(identities->present_tls(kOtherAddress, {pki.read("ada.der")})), "duplicate");
    EXPECT_EQ(code_of(identities->present_tls(kLaptopAddress, {})), "malformed");
    trust::test::Issue agrees;
    agrees.extensions =
        "basicConstraints = CA:false\nkeyUsage = critical, keyAgreement\nextendedKeyUsage = clientAuth\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
    pki.issue("agrees", "ca", agrees);
    EXPECT_EQ(code_of(identities->present_tls(kLaptopAddress, {pki.der("agrees")})), "purpose");
    EXPECT_EQ(code_of(identities->add_certificate(pki.read("ada.pem"), "uid 0")), "peer-key");
    ASSERT_TRUE(identities->distrust(Identity::Kind::x509, "pki", "uid 0"));
    EXPECT_EQ(identities->registry().size(), 0u);
}

// RFC 8410: the certified key is the peer's own, so that the certificate alone is the proof, also after a
// restart.
TEST_F(IdentitiesTest, ACertificateOfThePeersOwnKeyNeedsNoStatement) {
    peers.clock.wall = WallTime(seconds(trust::test::kNow));
    trust::test::Pki pki;
    pki.issue("ca", "ca", trust::test::ca_issue());
    pki.key("router-7", "X25519");
    trust::test::Issue router;
    router.subject = "/OU=edge/CN=router-7";
    pki.issue("stand-in", "ca", router);
    pki.write("router-7.pem", pki.pem_of(pki.changed("stand-in", "ca", [&](X509* x509) {
        X509_set_pubkey(x509, pki.private_key("router-7").get());
    })));
    const auto key = trust::x25519_key_of(pki.certificate("router-7"));
    ASSERT_TRUE(key);
    peers.known.insert(*key);
    ASSERT_TRUE(identities->trust(
        trust::X509CaText{.certificates = pki.read("ca.pem"), .crls = {}, .groups = {}, .name = "pki"},
        "uid 0"));
    const std::string pem = pki.read("router-7.pem");
    const auto bound = identities->add_certificate(pem, "uid 0");
    ASSERT_TRUE(bound) << bound.error().sentence;
    EXPECT_EQ(bound->peer, *key);
    EXPECT_EQ(bound->means, Means::certificate);
    EXPECT_EQ(bound->identity.common_name, "router-7");
    EXPECT_EQ(bound->identity.org_units, (std::vector<std::string>{"edge"}));
    EXPECT_EQ(bound->ends, trust::test::kLeafUntil + 1);
    open();
    ASSERT_EQ(identities->registry().of(*key).size(), 1u);
    // It is no daemon's business, so another private key of the daemon's changes nothing.
    peers.own = kOther;
    identities->peers_changed();
    EXPECT_EQ(identities->registry().of(*key).size(), 1u);
    // Of a peer that is not here, and with a byte behind its end, it is nothing.
    peers.known.erase(*key);
    identities->peers_changed();
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(code_of(identities->add_certificate(pem, "uid 0")), "no-peer");
    EXPECT_EQ(code_of(identities->add_certificate(pki.pem_of(pki.der("ca")), "uid 0")), "peer-key");
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
    }
}

}  // namespace
}  // namespace vern::identity
