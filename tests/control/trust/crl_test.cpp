#include "control/trust/crl.h"

#include <gtest/gtest.h>

#include "openssl_pki.h"

namespace vern::trust {
namespace {

using namespace test;
using namespace std::string_literals;

class CrlTest : public testing::Test {
  protected:
    void SetUp() override {
        if (find_program("openssl").empty()) GTEST_SKIP() << "no openssl";
        pki.root("root");
        pki.issue("middle", "root", ca_issue());
        pki.issue("leaf", "middle");
        pki.issue("direct", "root");
    }
    Verdict<std::shared_ptr<const X509Ca>> load(const std::string& certificates,
                                                std::vector<std::string> crls, UnixSeconds now = kNow) const {
        return load_x509_ca({.certificates = certificates, .crls = std::move(crls), .groups = {}}, now);
    }
    Verdict<Identity> verify(const std::string& leaf, const std::string& certificates,
                             const std::vector<std::string>& crls, UnixSeconds now = kNow,
                             bool with_middle = true) const {
        X509Trust trust;
        auto ca = load(certificates, crls);
        EXPECT_TRUE(ca) << why(ca);
        if (ca) trust.cas.push_back(*ca);
        std::vector<Certificate> between;
        if (with_middle) between.push_back(pki.certificate("middle"));
        return verify_x509(pki.certificate(leaf), between, trust, now);
    }
    std::string root() const { return pki.read("root.pem"); }
    std::string both() const { return root() + pki.read("middle.pem"); }
    std::string der_of(const std::string& pem) const {
        pki.write("x.crl", pem);
        pki.openssl({"crl", "-in", pki.path("x.crl"), "-outform", "DER", "-out", pki.path("x.der")});
        return pki.read("x.der");
    }
    Pki pki;
};

TEST_F(CrlTest, EndsTheIdentityAtItsNextUpdate) {
    const std::string pem = pki.crl("root");
    for (const std::string& crl : {pem, der_of(pem)}) {
        const auto identity = verify("direct", root(), {crl});
        ASSERT_TRUE(identity) << why(identity);
        EXPECT_EQ(identity->not_after, kCrlUntil);
        EXPECT_TRUE(verify("direct", root(), {crl}, kCrlUntil - 1));
        EXPECT_EQ(code(verify("direct", root(), {crl}, kCrlUntil)), "crl-expired");
    }
    // Of the whole chain: the least.
    CrlIssue sooner;
    sooner.until = "20270115100000Z";
    const auto identity = verify("leaf", both(), {pem, pki.crl("middle", sooner)});
    ASSERT_TRUE(identity) << why(identity);
    EXPECT_EQ(identity->not_after, kNow + 2 * 3600);
}

TEST_F(CrlTest, RevokesLeaves) {
    pki.revoke("direct", "root");
    EXPECT_EQ(code(verify("direct", root(), {})), "");
    const std::string of_root = pki.crl("root");
    EXPECT_EQ(code(verify("direct", root(), {of_root})), "revoked");
    pki.revoke("leaf", "middle");
    EXPECT_EQ(code(verify("leaf", both(), {of_root, pki.crl("middle")})), "revoked");
    // Another spelling of its signature is the same certificate: it goes by serial number.
    const std::string again = pki.changed("direct", "root", [](X509*) {});
    ASSERT_NE(again, pki.der("direct"));
    const auto twin = parse_certificate(bytes_of(again));
    ASSERT_TRUE(twin);
    auto trust = trust_of({.certificates = root(), .crls = {of_root}, .groups = {}});
    EXPECT_EQ(code(verify_x509(*twin, {}, trust, kNow)), "revoked");
    // A CA of the same certificates without the list does not bring it back.
    trust.cas.insert(trust.cas.begin(),
                     trust_of({.certificates = root(), .crls = {}, .groups = {}}).cas.front());
    EXPECT_EQ(code(verify_x509(*twin, {}, trust, kNow)), "revoked");
}

TEST_F(CrlTest, RevokesIntermediates) {
    const std::string of_middle = pki.crl("middle");
    pki.revoke("middle", "root");
    const std::string of_root = pki.crl("root");
    // As an anchor of its own...
    EXPECT_EQ(code(load(both(), {of_root, of_middle})), "revoked");
    // ...and as what the holder sends.
    const auto verdict = verify("leaf", root(), {of_root});
    EXPECT_EQ(code(verdict), "revoked");
    EXPECT_EQ(why(verdict), "CN=middle: is revoked");
}

TEST_F(CrlTest, EveryCertificateNeedsOneWhereThereAreAny) {
    const std::string of_root = pki.crl("root");
    EXPECT_EQ(code(verify("leaf", root(), {})), "");
    EXPECT_EQ(code(verify("leaf", root(), {of_root})), "crl-invalid");
    EXPECT_EQ(code(verify("leaf", both(), {of_root})), "crl-invalid");
    EXPECT_EQ(code(verify("leaf", both(), {of_root, pki.crl("middle")})), "");
}

TEST_F(CrlTest, RefusedAtLoading) {
    const std::string good = pki.crl("root");
    EXPECT_EQ(code(load(root(), {good})), "");
    EXPECT_EQ(code(load(root(), {good}, kCrlUntil - 1)), "");
    EXPECT_EQ(code(load(root(), {good}, kCrlUntil)), "crl-expired");
    EXPECT_EQ(code(load(root(), {good}, kCrlFrom - 60)), "");
    EXPECT_EQ(code(load(root(), {good}, kCrlFrom - 61)), "crl-invalid");
    EXPECT_EQ(code(load(root(), {good, good})), "duplicate");
    EXPECT_EQ(code(load(root(), {good + good})), "duplicate");
    EXPECT_EQ(code(load(root(), {pki.crl("middle")})), "crl-invalid");  // of no CA of the set
    CrlIssue what;
    what.hash = "sha1";
    EXPECT_EQ(code(load(root(), {pki.crl("root", what)})), "weak-hash");
    for (const char* extensions :
         {"deltaCRL = critical, DER:020101", "issuingDistributionPoint = critical, onlyuser:TRUE",
          "issuingDistributionPoint = onlyCA:TRUE", "1.3.6.1.4.1.55555.1 = critical, DER:0500",
          "freshestCRL = critical, URI:http://127.0.0.1/delta"}) {
        what = CrlIssue();
        what.extensions = extensions + "\n"s;
        EXPECT_EQ(code(load(root(), {pki.crl("root", what)})), "crl-invalid") << extensions;
    }
    what.extensions = "1.3.6.1.4.1.55555.1 = DER:0500\n";
    EXPECT_EQ(code(load(root(), {pki.crl("root", what)})), "");

    Issue twin = ca_issue();
    twin.subject = "/CN=root";
    pki.root("twin", twin);
    EXPECT_EQ(code(load(root(), {pki.crl("twin")})), "crl-invalid");  // another key's
    Issue mute = ca_issue();
    mute.extensions.replace(mute.extensions.find(", cRLSign"), 9, "");
    pki.root("mute", mute);
    EXPECT_EQ(code(load(pki.read("mute.pem"), {pki.crl("mute")})), "crl-invalid");
    EXPECT_EQ(code(load(root(), {root()})), "malformed");
    EXPECT_EQ(code(load(root(), {""})), "malformed");
    EXPECT_EQ(code(load(root(), {"-----BEGIN X509 CRL-----\n"})), "malformed");
}

TEST_F(CrlTest, WithoutANextUpdateIsRefused) {
    std::string der = der_of(pki.crl("root"));
    const unsigned char* at = reinterpret_cast<const unsigned char*>(der.data());
    X509_CRL* const crl = d2i_X509_CRL(nullptr, &at, static_cast<long>(der.size()));
    X509_CRL* const bare = X509_CRL_new();
    X509_CRL_set_version(bare, 1);
    X509_CRL_set_issuer_name(bare, X509_CRL_get_issuer(crl));
    X509_CRL_set1_lastUpdate(bare, X509_CRL_get0_lastUpdate(crl));
    X509_CRL_sign(bare, pki.private_key("root").get(), EVP_sha256());
    unsigned char* made = nullptr;
    const int size = i2d_X509_CRL(bare, &made);
    const std::string text(reinterpret_cast<const char*>(made), static_cast<std::size_t>(size));
    OPENSSL_free(made);
    X509_CRL_free(bare);
    X509_CRL_free(crl);
    EXPECT_EQ(code(load(root(), {text})), "crl-invalid");
}

TEST_F(CrlTest, OtherBytesAreRefused) {
    const std::string der = der_of(pki.crl("root"));
    ASSERT_TRUE(load(root(), {der}));
    EXPECT_EQ(code(load(root(), {der + '\0'})), "malformed");
    EXPECT_EQ(code(load(root(), {"\x30\x83"s + '\0' + der.substr(2)})), "malformed");
    for (std::size_t size = 0; size < der.size(); ++size) EXPECT_FALSE(load(root(), {der.substr(0, size)}));
    for (std::size_t at = 0; at < der.size(); ++at) {
        for (const int flip : {0x01, 0x80}) {
            std::string bad = der;
            bad[at] = static_cast<char>(bad[at] ^ flip);
            EXPECT_FALSE(load(root(), {bad})) << at;
        }
    }
}

TEST_F(CrlTest, NumbersDoNotGoBack) {
    const auto parsed = [&](const CrlIssue& what = {}) {
        return parse_crls(pki.crl("root", what), 1)->front();
    };
    const Crl list = parsed();
    EXPECT_EQ(list.issuer, "CN=root");
    EXPECT_EQ(list.next_update, kCrlUntil);
    const Edition first = list.edition, second = parsed().edition;
    EXPECT_EQ(first.number, "1000");
    EXPECT_EQ(second.number, "1001");
    EXPECT_EQ(first.made, kCrlFrom);
    EXPECT_FALSE(goes_back(first, second));
    EXPECT_FALSE(goes_back(first, first));
    EXPECT_TRUE(goes_back(second, first));
    Edition without = first, shorter = first, later = first, later_without = first;
    without.number.clear();
    shorter.number = "fff";
    later.made += 1;
    later_without.number.clear();
    later_without.made += 1;
    EXPECT_TRUE(goes_back(first, without));
    EXPECT_FALSE(goes_back(without, first));
    EXPECT_TRUE(goes_back(later_without, first)) << "a number does not make it newer";
    EXPECT_TRUE(goes_back(first, later_without)) << "a number is not lost";
    EXPECT_TRUE(goes_back(first, shorter));
    EXPECT_FALSE(goes_back(shorter, first));
    EXPECT_TRUE(goes_back(later, first)) << "the same number";
    EXPECT_FALSE(goes_back(first, later));
    EXPECT_TRUE(goes_back(later_without, without));
    EXPECT_FALSE(goes_back(without, later_without));
}

}  // namespace
}  // namespace vern::trust
