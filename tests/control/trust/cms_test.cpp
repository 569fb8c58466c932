#include "control/trust/cms_statement.h"

#include <gtest/gtest.h>

#include "control/trust/statement.h"
#include "openssl_pki.h"

namespace vern::trust {
namespace {

using namespace test;
using namespace std::string_literals;

class CmsTest : public testing::Test {
  protected:
    void SetUp() override {
        if (find_program("openssl").empty()) GTEST_SKIP() << "no openssl";
        pki.root("root");
        pki.issue("middle", "root", ca_issue());
        pki.issue("leaf", "middle");
        Statement statement;
        statement.wg.bytes.fill(std::byte{1});
        statement.audience.bytes.fill(std::byte{2});
        statement.not_after = kNow + 3600;
        content = encode_statement(statement);
        pki.write("statement", content);
        trust = trust_of({.certificates = pki.read("root.pem"), .crls = {}, .groups = {"staff"}});
    }
    std::string sign(const std::string& name, std::vector<std::string> more = {},
                     const std::string& form = "DER") const {
        std::vector<std::string> arguments{"cms",
                                           "-sign",
                                           "-binary",
                                           "-in",
                                           pki.path("statement"),
                                           "-signer",
                                           pki.path(name + ".pem"),
                                           "-inkey",
                                           pki.path(name + ".key"),
                                           "-certfile",
                                           pki.path("middle.pem"),
                                           "-outform",
                                           form,
                                           "-out",
                                           pki.path("out")};
        arguments.insert(arguments.end(), more.begin(), more.end());
        pki.openssl(arguments);
        return pki.read("out");
    }
    std::string attached(const std::string& name, std::vector<std::string> more = {},
                         const std::string& form = "DER") const {
        more.push_back("-nodetach");
        return sign(name, more, form);
    }
    Verdict<SignedContent> open(const std::string& text, UnixSeconds now = kNow) const {
        return open_cms_statement(text, trust, now);
    }
    Pki pki;
    std::string content;
    X509Trust trust;
};

TEST_F(CmsTest, TakesWhatTheCommandSigns) {
    for (const char* form : {"DER", "PEM"}) {
        const auto opened = open(attached("leaf", {}, form));
        ASSERT_TRUE(opened) << form << why(opened);
        EXPECT_EQ(opened->content, content);
        EXPECT_EQ(opened->signer.identity.common_name, "leaf");
        EXPECT_EQ(opened->signer.identity.groups, std::vector<std::string>{"staff"});
        EXPECT_TRUE(parse_statement(opened->content));
    }
    Issue rsa;
    rsa.algorithm = "RSA";
    pki.issue("rsa", "middle", rsa);
    EXPECT_EQ(code(open(attached("rsa"))), "");
    EXPECT_EQ(code(open(attached("rsa", {"-keyopt", "rsa_padding_mode:pss"}))), "");
    EXPECT_EQ(code(open(attached("leaf", {"-keyid"}))), "");
    EXPECT_EQ(code(open(attached("leaf", {"-md", "sha512"}))), "");
}

TEST_F(CmsTest, RefusesWeakHashes) {
    EXPECT_EQ(code(open(attached("leaf", {"-md", "sha1"}))), "weak-hash");
    Issue rsa;
    rsa.algorithm = "RSA";
    pki.issue("rsa", "middle", rsa);
    EXPECT_EQ(code(open(attached("rsa", {"-md", "sha1"}))), "weak-hash");
    EXPECT_EQ(code(open(attached("rsa", {"-md", "sha1", "-keyopt", "rsa_padding_mode:pss"}))), "weak-hash");
}

TEST_F(CmsTest, RefusesOtherShapes) {
    EXPECT_EQ(code(open(sign("leaf"))), "malformed");  // content elsewhere
    EXPECT_EQ(code(open(attached("leaf", {"-noattr"}))), "malformed");
    EXPECT_EQ(code(open(attached("leaf", {"-nocerts"}))), "malformed");
    EXPECT_EQ(code(open(attached("leaf", {"-stream"}))), "malformed");  // BER
    pki.issue("second", "middle");
    EXPECT_EQ(
        code(open(attached("leaf", {"-signer", pki.path("second.pem"), "-inkey", pki.path("second.key")}))),
        "malformed");
    EXPECT_EQ(code(open(attached("leaf", {"-econtent_type", "1.2.3.4"}))), "malformed");
    pki.openssl(
        {"cms", "-data_create", "-in", pki.path("statement"), "-outform", "DER", "-out", pki.path("data")});
    EXPECT_EQ(code(open(pki.read("data"))), "malformed");
    EXPECT_EQ(code(open("")), "malformed");
    EXPECT_EQ(code(open(pki.read("leaf.pem"))), "malformed");
    const std::string pem = attached("leaf", {}, "PEM");
    EXPECT_EQ(code(open(pem + pem)), "too-large");
    EXPECT_EQ(code(open(std::string(kCmsBytesMax + 1, '0'))), "too-large");
    pki.write("statement", std::string(kStatementBytesMax, 'x'));
    EXPECT_EQ(code(open(attached("leaf"))), "");
    pki.write("statement", std::string(kStatementBytesMax + 1, 'x'));
    EXPECT_EQ(code(open(attached("leaf"))), "too-large");
}

TEST_F(CmsTest, TheChainIsVerifyX509s) {
    EXPECT_EQ(code(open(attached("leaf"), kLeafUntil)), "");
    EXPECT_EQ(code(open(attached("leaf"), kLeafUntil + 1)), "expired");
    Issue mail;
    mail.extensions =
        "keyUsage = digitalSignature\nextendedKeyUsage = emailProtection\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
    pki.issue("mail", "middle", mail);
    EXPECT_EQ(code(open(attached("mail"))), "purpose");
    Issue agree;
    agree.extensions =
        "keyUsage = keyAgreement\nextendedKeyUsage = clientAuth\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
    pki.issue("agree", "middle", agree);
    EXPECT_EQ(code(open(attached("agree"))), "purpose");
    pki.root("other");
    EXPECT_EQ(code(open_cms_statement(
                  attached("leaf"),
                  trust_of({.certificates = pki.read("other.pem"), .crls = {}, .groups = {}}), kNow)),
              "unknown-ca");
    EXPECT_EQ(code(open_cms_statement(attached("leaf"), X509Trust{}, kNow)), "unknown-ca");
    pki.revoke("leaf", "middle");
    const auto revoking =
        trust_of({.certificates = pki.read("middle.pem"), .crls = {pki.crl("middle")}, .groups = {}});
    EXPECT_EQ(code(open_cms_statement(attached("leaf"), revoking, kNow)), "revoked");
}

TEST_F(CmsTest, NoOtherContentAndNoOtherKey) {
    std::string der = attached("leaf");
    const auto at = der.find("\"not_after\":");
    ASSERT_NE(at, std::string::npos);
    der[at + 12] = '9';
    EXPECT_EQ(code(open(der)), "bad-signature");
    // The certificate of somebody else's with the same name and serial number, but another key.
    pki.root("twin");
    const std::string good = pki.read("leaf.pem");
    const std::string twin = pki.changed(
        "leaf", "root", [&](X509* x509) { X509_set_pubkey(x509, pki.private_key("twin").get()); });
    pki.write("leaf.der", twin);
    pki.openssl({"x509", "-inform", "DER", "-in", pki.path("leaf.der"), "-out", pki.path("leaf.pem")});
    pki.openssl({"pkey", "-in", pki.path("twin.key"), "-out", pki.path("leaf.key")});
    EXPECT_FALSE(open(attached("leaf")));
}

TEST_F(CmsTest, TruncatedOrFlippedItIsNotOpened) {
    const std::string der = attached("leaf");
    ASSERT_TRUE(open(der));
    for (std::size_t size = 0; size < der.size(); ++size) EXPECT_FALSE(open(der.substr(0, size))) << size;
    EXPECT_EQ(code(open(der + '\0')), "malformed");
    for (std::size_t at = 0; at < der.size(); ++at) {
        std::string bad = der;
        bad[at] = static_cast<char>(bad[at] ^ 0x01);
        EXPECT_FALSE(open(bad)) << at;
    }
}

}  // namespace
}  // namespace vern::trust
