// A leaf that was verified before is asked about again by what was kept of it. Whatever happens to trust in
// the meantime, the answer must be that of somebody who verifies everything anew.
#include <gtest/gtest.h>
#include <openssl/x509v3.h>

#include <random>

#include "openssl_pki.h"

namespace vern::trust {
namespace {

using namespace vern::trust::test;

struct Held {
    Certificate leaf;
    std::vector<Certificate> intermediates;
    std::optional<VerifiedX509> verified;  // while it lives
};

class X509AgainTest : public ::testing::Test {
  protected:
    // Two roots; a CA that both certify (i1 by r1, x1 by r2); leaves of all, and lists that revoke more and
    // more.
    void SetUp() override {
        for (const char* root : {"r1", "r2"}) pki.root(root);
        pki.issue("i1", "r1", ca_issue());
        cross_certify();
        for (const auto& [leaf, issuer] : {std::pair("a", "r1"), {"b", "i1"}, {"c", "i1"}, {"d", "r2"}})
            pki.issue(leaf, issuer);
        for (const auto& [issuer, revoked] :
             {std::pair("r1", std::vector{"a", "i1"}), {"r2", {"d", "x1"}}, {"i1", {"b", "c"}}}) {
            lists[issuer].push_back(pki.crl(issuer));
            for (const char* name : revoked) {
                pki.revoke(name, issuer);
                lists[issuer].push_back(pki.crl(issuer));
            }
        }
        lists["x1"] = lists["i1"];
        hold("a", {});
        hold("b", {"i1"});
        hold("b", {"i1", "x1"});
        hold("c", {"x1"});
        hold("c", {"x1", "i1"});
        hold("c", {});
        hold("d", {});
    }
    void cross_certify() const {
        const std::string der = pki.changed("i1", "r2", [&](X509* x509) {
            const Certificate issuer = pki.certificate("r2");
            X509_set_issuer_name(x509, X509_get_subject_name(issuer.x509.get()));
            X509_EXTENSION_free(
                X509_delete_ext(x509, X509_get_ext_by_NID(x509, NID_authority_key_identifier, -1)));
            X509V3_CTX context;
            X509V3_set_ctx(&context, issuer.x509.get(), x509, nullptr, nullptr, 0);
            X509_EXTENSION* const id =
                X509V3_EXT_nconf_nid(nullptr, &context, NID_authority_key_identifier, "keyid");
            X509_add_ext(x509, id, -1);
            X509_EXTENSION_free(id);
        });
        pki.write("x1.pem", pki.pem_of(der));
    }
    void hold(const std::string& leaf, const std::vector<std::string>& intermediates) {
        Held one{.leaf = pki.certificate(leaf), .intermediates = {}, .verified = {}};
        for (const std::string& name : intermediates) one.intermediates.push_back(pki.certificate(name));
        held.push_back(std::move(one));
    }
    std::size_t below(std::size_t end) {
        return std::uniform_int_distribution<std::size_t>(0, end - 1)(random);
    }

    // Any of the certificates, with lists for none, some or all of them.
    std::optional<X509CaText> any_ca(const std::string& name) {
        X509CaText text{
            .certificates = {}, .crls = {}, .groups = {name, std::to_string(below(2))}, .name = name};
        for (const char* anchor : {"r1", "r2", "i1", "x1"}) {
            if (below(2) == 0) continue;
            text.certificates += pki.read(std::string(anchor) + ".pem");
            if (below(3) > 0) text.crls.push_back(lists[anchor][below(lists[anchor].size())]);
        }
        if (below(3) == 0) text.crls.clear();
        if (text.certificates.empty()) return std::nullopt;
        return text;
    }
    void change(X509Trust& trust) {
        const std::string name = below(2) == 0 ? "one" : "two";
        const auto text = any_ca(name);
        std::shared_ptr<const X509Ca> ca;
        if (text) {
            const auto loaded = load_x509_ca(*text, kNow);
            if (!loaded)
                return;  // two lists of one key, an anchor that another's list revokes: nothing changes
            ca = *loaded;
        }
        std::erase_if(trust.cas, [&](const auto& one) { return one->name == name; });
        if (ca) trust.cas.insert(name == "one" ? trust.cas.begin() : trust.cas.end(), std::move(ca));
    }

    Pki pki;
    std::map<std::string, std::vector<std::string>> lists;
    std::vector<Held> held;
    std::mt19937_64 random{7};
};

TEST_F(X509AgainTest, AnswersAsWhoVerifiesAnew) {
    X509Trust trust;
    unsigned lived = 0, ended = 0, born = 0, revoked = 0;
    for (int step = 0; step < 1000; ++step) {
        change(trust);
        for (std::size_t i = 0; i < held.size(); ++i) {
            Held& one = held[i];
            const auto anew = verify_x509_to_keep(one.leaf, one.intermediates, trust, kNow);
            if (!one.verified) {
                if (anew && below(2) == 0) one.verified = *anew, ++born;
                continue;
            }
            const auto again = verify_x509_again(one.verified->evidence, one.verified->identity, trust, kNow);
            ASSERT_EQ(again.has_value(), anew.has_value())
                << "step " << step << ", held " << i << ": " << why(anew) << why(again);
            if (!again) {
                EXPECT_EQ(code(again) == "revoked", code(anew) == "revoked") << step;
                revoked += code(again) == "revoked";
                one.verified.reset();
                ++ended;
                continue;
            }
            ASSERT_EQ(*again, anew->identity) << "step " << step << ", held " << i;
            one.verified->identity = *again;
            EXPECT_LE(one.verified->evidence.paths.size(), 8u);
            ++lived;
        }
    }
    // All of it must have happened often, to say anything.
    EXPECT_GT(lived, 400u);
    EXPECT_GT(born, 200u);
    EXPECT_GT(ended, 200u);
    EXPECT_GT(revoked, 40u);
}

TEST_F(X509AgainTest, EndsAreAskedForAgain) {
    const X509Trust trust =
        trust_of({.certificates = pki.read("r1.pem"), .crls = {}, .groups = {}, .name = "r1"});
    auto kept = verify_x509_to_keep(held[0].leaf, {}, trust, kNow);
    ASSERT_TRUE(kept);
    const auto at = [&](UnixSeconds now) {
        return code(verify_x509_again(kept->evidence, kept->identity, trust, now));
    };
    EXPECT_EQ(at(kLeafUntil), "");
    EXPECT_EQ(at(kLeafUntil + 1), "expired");
    EXPECT_EQ(at(kLeafFrom - kNotBeforeSkewSeconds - 1), "not-yet-valid");
}

// What a kept path says does not depend on signatures, so they are not what it costs.
TEST_F(X509AgainTest, ACaThatCannotBeTheEndIsNotAsked) {
    const X509Trust first =
        trust_of({.certificates = pki.read("r1.pem"), .crls = {}, .groups = {}, .name = "r1"});
    auto kept = verify_x509_to_keep(held[0].leaf, {}, first, kNow);
    ASSERT_TRUE(kept);
    kept->evidence.certificates = {"no certificate"};  // would be refused by who reads it
    const auto text = X509CaText{.certificates = pki.read("r2.pem"), .crls = {}, .groups = {}, .name = "r2"};
    EXPECT_EQ(code(verify_x509_again(kept->evidence, kept->identity, trust_of(text), kNow)), "unknown-ca");
    auto both = trust_of(text);
    both.cas.push_back(first.cas[0]);
    kept->evidence.paths = verify_x509_to_keep(held[0].leaf, {}, first, kNow)->evidence.paths;
    EXPECT_EQ(code(verify_x509_again(kept->evidence, kept->identity, both, kNow)), "");
}

}  // namespace
}  // namespace vern::trust
