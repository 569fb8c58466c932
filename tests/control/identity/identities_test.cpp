// Proofs made by the real ssh-keygen and openssl, and what they bind.
#include "../trust/openssl_pki.h"
#include "identities_fixture.h"

namespace vern::identity {
namespace {

using namespace vern::identity::test;

TEST_F(IdentitiesTest, ASignedStatementThroughTheTunnelBindsUntilItEnds) {
    trust_ca();
    certify({"-V", "0x3b9aca00:0x" + [] {
                 char hex[32];
                 std::snprintf(hex, sizeof hex, "%llx", static_cast<unsigned long long>(kNow) + 100);
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
    EXPECT_EQ(code_of(present_ssh(kLaptopAddress, text, signed_text(text, "file"))), "namespace");
    const std::string other = encode_statement(statement(nonce()));
    EXPECT_EQ(code_of(present_ssh(kLaptopAddress, other, signed_text(text))), "bad-signature");
    EXPECT_EQ(code_of(present_ssh(kLaptopAddress, "{}\n", "")), "malformed");
    EXPECT_EQ(identities->registry().size(), 1u);
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

// When compiling the rules takes long, many proofs become one change of rules, and one write.
TEST_F(IdentitiesTest, ABurstIsOneChange) {
    slow = std::chrono::milliseconds(20);
    int writes = 0;
    open([&](std::string_view step) {
        writes += step == "rename" ? 1 : 0;
        return 0;
    });
    trust_ca();
    certify();
    ASSERT_EQ(changes, 1);
    writes = 0;
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    EXPECT_TRUE(identities->pending());
    EXPECT_EQ(changes, 1);
    EXPECT_EQ(identities->deadline(), Instant(seconds(1000)) + 4 * slow);
    const std::string text = encode_statement(statement());
    for (int i = 0; i < 2; ++i)
        ASSERT_EQ(code_of(identities->add_ssh(text, signed_text(text), "uid 0")), "bound");
    EXPECT_EQ(writes, 0);
    peers.clock.boot += 3 * slow;
    identities->tick();
    EXPECT_FALSE(identities->pending());
    EXPECT_EQ(changes, 2);
    EXPECT_EQ(writes, 1);
}

// Compiling that is quick may take a tenth of the time, and nobody waits longer than he notices.
TEST_F(IdentitiesTest, ABurstLeavesTimeForProofs) {
    slow = std::chrono::milliseconds(2);
    trust_ca();
    certify();
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    EXPECT_EQ(identities->deadline(), Instant(seconds(1000)) + 10 * slow);
    slow = std::chrono::milliseconds(8);
    peers.clock.boot = Instant(seconds(1001));
    identities->tick();
    ASSERT_FALSE(identities->pending());
    const std::string text = encode_statement(statement());
    ASSERT_EQ(code_of(identities->add_ssh(text, signed_text(text), "uid 0")), "bound");
    EXPECT_EQ(identities->deadline(), Instant(seconds(1001)) + slow + std::chrono::milliseconds(40));
}

TEST_F(IdentitiesTest, AnEndWaitsForNoCrowd) {
    slow = std::chrono::milliseconds(20);
    trust_ca();
    certify();
    const auto bound = present(statement(nonce()));
    ASSERT_EQ(code_of(bound), "bound");
    ASSERT_TRUE(identities->remove(bound->id, "uid 0"));
    EXPECT_EQ(identities->deadline(), Instant(seconds(1000)) + 2 * slow);
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

    const auto by_tls = present_tls(kLaptopAddress, {pki.shown("ada")});
    ASSERT_TRUE(by_tls) << by_tls.error().sentence;
    EXPECT_EQ(by_tls->means, Means::tunnel_tls);
    EXPECT_EQ(by_tls->ends, trust::test::kLeafUntil + 1);
    EXPECT_EQ(identities->registry().size(), 1u);
    EXPECT_EQ(code_of(present_tls(kOtherAddress, {pki.shown("ada")})), "duplicate");
    EXPECT_EQ(code_of(present_tls(kLaptopAddress, {})), "malformed");
    // Shorter than the certificate, where that is wanted.
    EXPECT_EQ(present_tls(kLaptopAddress, {pki.shown("ada")}, trust::test::kNow + 30)->ends,
              trust::test::kNow + 30);
    EXPECT_EQ(code_of(present_tls(kLaptopAddress, {pki.shown("ada")}, trust::test::kNow)),
              "statement-expired");
    // Passed on by another peer, or from another daemon: the client says inside TLS whom it means.
    const auto passed_on = [&](const PublicKey& wg, const PublicKey& audience) {
        return code_of(identities->present_tls(kLaptop, kLaptopAddress, {pki.shown("ada")},
                                               {.wg = wg, .audience = audience}));
    };
    EXPECT_EQ(passed_on(kOther, kDaemon), "peer-key");
    EXPECT_EQ(passed_on(kLaptop, kOther), "audience");
    EXPECT_EQ(passed_on(kLaptop, kDaemon), "bound");
    trust::test::Issue agrees;
    agrees.extensions =
        "basicConstraints = CA:false\nkeyUsage = critical, keyAgreement\nextendedKeyUsage = clientAuth\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
    pki.issue("agrees", "ca", agrees);
    EXPECT_EQ(code_of(present_tls(kLaptopAddress, {pki.shown("agrees")})), "purpose");
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

}  // namespace
}  // namespace vern::identity
