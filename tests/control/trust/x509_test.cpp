#include <gtest/gtest.h>
#include <openssl/x509v3.h>

#include "openssl_pki.h"

namespace vern::trust {
namespace {

using namespace test;
using namespace std::string_literals;

class X509Test : public testing::Test {
  protected:
    void SetUp() override {
        if (find_program("openssl").empty()) GTEST_SKIP() << "no openssl";
    }
    X509CaText text(const std::string& names) const {
        return {.certificates = pki.read(names + ".pem"), .crls = {}, .groups = {"staff"}};
    }
    Verdict<Identity> verify(const std::string& leaf, const std::vector<std::string>& intermediates,
                             const std::string& ca = "root", UnixSeconds now = kNow) const {
        std::vector<Certificate> between;
        for (const auto& name : intermediates) between.push_back(pki.certificate(name));
        return verify_x509(pki.certificate(leaf), between, trust_of(text(ca)), now);
    }
    // Of bytes: what reading them or verifying them says. What is kept of OpenSSL's reading says the same.
    Verdict<Identity> verify_der(const std::string& der, const std::string& ca = "root") const {
        if (const auto x509 = read_by_openssl(der)) {
            const auto again = recheck_certificate(x509.get()), taken = take_certificate(x509);
            EXPECT_EQ(why(taken), why(again));
            EXPECT_EQ(code(taken), code(again));
        }
        const auto leaf = parse_certificate(bytes_of(der));
        if (!leaf) return tl::unexpected(leaf.error());
        return verify_x509(*leaf, {}, trust_of(text(ca)), kNow);
    }
    Pki pki;
};

TEST_F(X509Test, TakesChainsOfEveryKindOfKey) {
    for (const std::string algorithm : {"EC", "RSA", "RSA-PSS", "ED25519"}) {
        const std::string root = "root" + algorithm, middle = "middle" + algorithm, leaf = "leaf" + algorithm;
        pki.root(root, ca_issue("", algorithm));
        pki.issue(middle, root, ca_issue("", algorithm));
        Issue what;
        what.algorithm = algorithm;
        pki.issue(leaf, middle, what);
        pki.issue("direct" + leaf, root, what);
        const auto deep = verify(leaf, {middle}, root);
        ASSERT_TRUE(deep) << algorithm << why(deep);
        EXPECT_EQ(deep->issuer, "CN=" + middle);
        const auto direct = verify("direct" + leaf, {}, root);
        ASSERT_TRUE(direct) << algorithm << why(direct);
        EXPECT_EQ(direct->issuer, "CN=" + root);
        EXPECT_EQ(code(verify(leaf, {}, root)), "unknown-ca");
        // A CA that is not self-signed is an anchor all the same.
        EXPECT_TRUE(verify(leaf, {}, middle));
    }
}

TEST_F(X509Test, IdentityIsWhatTheCertificateSays) {
    pki.root("root");
    Issue what;
    what.subject = "/O=Vern/OU=Databases/OU=Nordic/CN=Åse, \"dba\"";
    what.extensions +=
        "subjectAltName = DNS:db.example.org, email:ase@example.org, URI:spiffe://vern/ase, "
        "IP:10.0.0.7, IP:fd00::7, RID:1.2.3\n";
    pki.issue("leaf", "root", what);
    const auto identity = verify("leaf", {});
    ASSERT_TRUE(identity) << why(identity);
    EXPECT_EQ(identity->kind, Identity::Kind::x509);
    EXPECT_EQ(identity->common_name, "Åse, \"dba\"");
    EXPECT_EQ(identity->org_units, (std::vector<std::string>{"Databases", "Nordic"}));
    EXPECT_EQ(identity->alternatives,
              (std::vector<std::string>{"dns:db.example.org", "email:ase@example.org",
                                        "uri:spiffe://vern/ase", "ip:10.0.0.7", "ip:fd00::7"}));
    EXPECT_EQ(identity->groups, std::vector<std::string>{"staff"});
    EXPECT_EQ(identity->issuer, "CN=root");
    EXPECT_EQ(identity->not_before, kLeafFrom);
    EXPECT_EQ(identity->not_after, kLeafUntil + 1);

    std::string serial = pki.openssl({"x509", "-in", pki.path("leaf.pem"), "-noout", "-serial"}).output;
    serial = serial.substr(7, serial.size() - 8);
    for (char& c : serial) c = static_cast<char>(std::tolower(c));
    EXPECT_EQ(identity->serial, serial.substr(serial.find_first_not_of('0')));
    pki.openssl(
        {"pkey", "-in", pki.path("leaf.key"), "-pubout", "-outform", "DER", "-out", pki.path("spki")});
    const auto hash = pki.openssl({"dgst", "-sha256", "-r", pki.path("spki")}).output;
    EXPECT_EQ(identity->key, "SHA256:" + hash.substr(0, 64));
}

TEST_F(X509Test, EdgesOfTheClock) {
    pki.root("root");
    pki.issue("leaf", "root");
    for (const auto& [now, expected] : {std::pair{kLeafFrom - 61, "not-yet-valid"},
                                        {kLeafFrom - 60, ""},
                                        {kLeafFrom, ""},
                                        {kLeafUntil - 1, ""},
                                        {kLeafUntil, ""},
                                        {kLeafUntil + 1, "expired"},
                                        {kLeafUntil + 60, "expired"}})
        EXPECT_EQ(code(verify("leaf", {}, "root", now)), expected) << now;
    const auto identity = verify("leaf", {});
    ASSERT_TRUE(identity);
    EXPECT_TRUE(verify("leaf", {}, "root", identity->not_after - 1));
    EXPECT_FALSE(verify("leaf", {}, "root", identity->not_after));
    const auto trust = trust_of(text("root"));
    EXPECT_EQ(code(verify_x509(pki.certificate("leaf"), {}, trust, kLeafFrom - 1, 0)), "not-yet-valid");
    EXPECT_TRUE(verify_x509(pki.certificate("leaf"), {}, trust, kLeafFrom, 0));
}

TEST_F(X509Test, TheLeastOfTheChainEndsIt) {
    pki.root("root");
    Issue middle = ca_issue();
    middle.from = "20270110000000Z";
    middle.until = "20270116000000Z";
    pki.issue("middle", "root", middle);
    pki.issue("leaf", "middle");
    const auto identity = verify("leaf", {"middle"});
    ASSERT_TRUE(identity) << why(identity);
    EXPECT_EQ(identity->not_after, kCrlUntil + 1);
    EXPECT_EQ(identity->not_before, kCrlFrom - 5 * 86400);
    const auto late = verify("leaf", {"middle"}, "root", kCrlUntil + 1);
    EXPECT_EQ(code(late), "expired");
    EXPECT_EQ(why(late), "CN=middle: has expired");
    Issue root = ca_issue();
    root.until = "20270115080000Z";
    pki.root("old", root);
    pki.issue("of-old", "old");
    EXPECT_TRUE(verify("of-old", {}, "old", kNow));
    EXPECT_EQ(code(verify("of-old", {}, "old", kNow + 1)), "expired");
}

TEST_F(X509Test, OtherCasAreUnknownOrTheirSignatureIsBad) {
    pki.root("root");
    pki.root("other");
    Issue twin = ca_issue();
    twin.subject = "/CN=root";
    pki.root("twin", twin);
    pki.issue("leaf", "root");
    pki.issue("self", "self");
    EXPECT_EQ(code(verify("leaf", {}, "other")), "unknown-ca");
    EXPECT_EQ(code(verify("self", {}, "root")), "unknown-ca");
    EXPECT_EQ(code(verify("leaf", {"root"}, "other")), "unknown-ca");  // whatever the holder sends
    EXPECT_EQ(code(verify("leaf", {}, "twin")), "unknown-ca");         // its key is not the one that is named
    EXPECT_EQ(code(verify_x509(pki.certificate("leaf"), {}, X509Trust{}, kNow)), "unknown-ca");
    Issue bare;
    bare.extensions = "extendedKeyUsage = clientAuth\nauthorityKeyIdentifier = none\n";
    pki.issue("bare", "root", bare);
    EXPECT_FALSE(verify("bare", {}, "twin"));
    // Several CAs: the one that knows it says who it is.
    X509Trust both = trust_of({.certificates = pki.read("other.pem"), .crls = {}, .groups = {"others"}});
    both.cas.push_back(trust_of(text("root")).cas.front());
    const auto identity = verify_x509(pki.certificate("leaf"), {}, both, kNow);
    ASSERT_TRUE(identity) << why(identity);
    EXPECT_EQ(identity->groups, std::vector<std::string>{"staff"});
}

TEST_F(X509Test, PurposeIsClientAuthAndNoCa) {
    pki.root("root");
    const auto with = [&](const std::string& name, const std::string& extensions) {
        Issue what;
        what.extensions = extensions + "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
        pki.issue(name, "root", what);
        return code(verify(name, {}));
    };
    EXPECT_EQ(with("both", "extendedKeyUsage = serverAuth, clientAuth\n"), "");
    EXPECT_EQ(with("none", "keyUsage = digitalSignature\n"), "purpose");
    EXPECT_EQ(with("server", "extendedKeyUsage = serverAuth\n"), "purpose");
    EXPECT_EQ(with("any", "extendedKeyUsage = anyExtendedKeyUsage\n"), "purpose");
    EXPECT_EQ(with("encipher", "extendedKeyUsage = clientAuth\nkeyUsage = keyEncipherment\n"), "purpose");
    EXPECT_EQ(with("ca",
                   "extendedKeyUsage = clientAuth\nbasicConstraints = critical, CA:true\n"
                   "keyUsage = critical, digitalSignature, keyCertSign\n"),
              "purpose");
    EXPECT_EQ(code(verify("root", {})), "purpose");
    // A CA that is for servers makes no clients.
    pki.issue("servers", "root", ca_issue("extendedKeyUsage = serverAuth\n"));
    pki.issue("leaf", "servers");
    EXPECT_EQ(code(verify("leaf", {"servers"})), "purpose");
}

TEST_F(X509Test, OnlyCasSign) {
    pki.root("root");
    pki.issue("leaf", "root");
    pki.issue("child", "leaf");
    EXPECT_EQ(code(verify("child", {"leaf"})), "not-ca");
    EXPECT_EQ(code(load_x509_ca(text("leaf"), kNow)), "not-ca");
    EXPECT_EQ(
        code(load_x509_ca(
            {.certificates = pki.read("root.pem") + pki.read("leaf.pem"), .crls = {}, .groups = {}}, kNow)),
        "not-ca");
    Issue usage = ca_issue();
    usage.extensions =
        "basicConstraints = critical, CA:true\nkeyUsage = critical, cRLSign\n"
        "subjectKeyIdentifier = hash\n";
    pki.root("no-sign", usage);
    EXPECT_EQ(code(load_x509_ca(text("no-sign"), kNow)), "not-ca");
    usage.extensions = "basicConstraints = critical, CA:true\nsubjectKeyIdentifier = hash\n";
    pki.root("no-usage", usage);
    EXPECT_EQ(code(load_x509_ca(text("no-usage"), kNow)), "not-ca");
    usage.extensions = "basicConstraints = CA:true\nkeyUsage = keyCertSign\nsubjectKeyIdentifier = hash\n";
    pki.root("not-critical", usage);
    EXPECT_EQ(code(load_x509_ca(text("not-critical"), kNow)), "not-ca");
    EXPECT_EQ(code(load_x509_ca({}, kNow)), "malformed");
    EXPECT_EQ(code(load_x509_ca({.certificates = pki.read("root.key"), .crls = {}, .groups = {}}, kNow)),
              "malformed");
}

TEST_F(X509Test, PathLengthAndDepth) {
    pki.root("root", ca_issue());
    Issue last = ca_issue();
    last.extensions.replace(last.extensions.find("CA:true"), 7, "CA:true, pathlen:0");
    pki.issue("last", "root", last);
    pki.issue("below", "last", ca_issue());
    pki.issue("leaf", "last");
    pki.issue("deep-leaf", "below");
    EXPECT_EQ(code(verify("leaf", {"last"})), "");
    EXPECT_EQ(code(verify("deep-leaf", {"below", "last"})), "path-length");

    std::vector<std::string> chain;
    std::string above = "root";
    for (int i = 1; i <= kDepthMax + 1; ++i) {
        const std::string name = "i" + std::to_string(i);
        pki.issue(name, above, ca_issue());
        pki.issue("of-" + name, name);
        chain.insert(chain.begin(), name);
        above = name;
        EXPECT_EQ(verify("of-" + name, chain).has_value(), i <= kDepthMax) << i;
    }
    EXPECT_EQ(code(verify("of-i5", chain)), "chain");
    EXPECT_EQ(code(verify("leaf", std::vector<std::string>(kIntermediatesMax + 1, "last"))), "too-large");
}

TEST_F(X509Test, NameConstraints) {
    pki.root("root");
    pki.issue("middle", "root",
              ca_issue("nameConstraints = critical, permitted;DNS:example.org, "
                       "permitted;email:example.org, excluded;DNS:bad.example.org\n"));
    const auto with = [&](const std::string& name, const std::string& alternative) {
        Issue what;
        what.extensions += "subjectAltName = " + alternative + "\n";
        pki.issue(name, "middle", what);
        return code(verify(name, {"middle"}));
    };
    EXPECT_EQ(with("good", "DNS:a.example.org, email:a@example.org"), "");
    EXPECT_EQ(with("dns", "DNS:a.example.net"), "name-constraint");
    EXPECT_EQ(with("excluded", "DNS:x.bad.example.org"), "name-constraint");
    EXPECT_EQ(with("mail", "email:a@example.net"), "name-constraint");
    Issue what;
    what.subject = "/CN=a.example.net";  // a host's name without an alternative one
    pki.issue("cn", "middle", what);
    EXPECT_EQ(code(verify("cn", {"middle"})), "name-constraint");
}

TEST_F(X509Test, WeakKeysAndHashes) {
    pki.root("root");
    Issue weak;
    weak.algorithm = "RSA1024";
    pki.issue("weak", "root", weak);
    EXPECT_EQ(code(verify_der(pki.der("weak"))), "weak-key");
    pki.root("weak-root", ca_issue("", "RSA1024"));
    EXPECT_EQ(code(load_x509_ca(text("weak-root"), kNow)), "weak-key");
    pki.issue("leaf", "root");
    const auto nothing = [](X509*) {};
    EXPECT_EQ(code(verify_der(pki.changed("leaf", "root", nothing))), "");
    EXPECT_EQ(code(verify_der(pki.changed("leaf", "root", nothing, EVP_sha1()))), "weak-hash");
    pki.root("rsa", ca_issue("", "RSA"));
    pki.issue("of-rsa", "rsa");
    EXPECT_EQ(code(verify_der(pki.changed("of-rsa", "rsa", nothing, EVP_md5()), "rsa")), "weak-hash");
    EXPECT_EQ(code(verify_der(pki.changed("of-rsa", "rsa", nothing, EVP_sha512()), "rsa")), "");
    // An anchor's signature of itself is no proof of anything.
    Issue old = ca_issue("", "RSA");
    old.hash = "sha1";
    pki.root("old", old);
    pki.issue("of-old", "old");
    EXPECT_EQ(code(verify("of-old", {}, "old")), "");
    pki.write("curve.key", pki.openssl({"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
                                        "-pkeyopt", "ec_param_enc:explicit"})
                               .output);
    const KeyPtr explicit_curve = pki.private_key("curve");
    EXPECT_EQ(code(verify_der(pki.changed("leaf", "root",
                                          [&](X509* x509) { X509_set_pubkey(x509, explicit_curve.get()); }))),
              "weak-key");
}

// Kinds that are not even read say the same as they do where they are.
TEST_F(X509Test, OtherKindsOfKeys) {
    pki.root("root");
    pki.issue("leaf", "root");
    for (const char* kind : {"X448", "SM2"}) {
        const KeyPtr other(EVP_PKEY_Q_keygen(openssl_library(), nullptr, kind));
        ASSERT_TRUE(other) << kind;
        const std::string der =
            pki.changed("leaf", "root", [&](X509* x509) { X509_set_pubkey(x509, other.get()); });
        EXPECT_TRUE(read_by_openssl(der)) << kind;
        EXPECT_EQ(code(verify_der(der)), "weak-key") << kind;
    }
}

void set_name(X509* x509, int nid, std::string_view text, bool add) {
    X509_NAME* const name = X509_NAME_dup(X509_get_subject_name(x509));
    if (!add) {
        while (X509_NAME_entry_count(name) > 0) X509_NAME_ENTRY_free(X509_NAME_delete_entry(name, 0));
    }
    X509_NAME_add_entry_by_NID(name, nid, V_ASN1_UTF8STRING,
                               reinterpret_cast<const unsigned char*>(text.data()),
                               static_cast<int>(text.size()), -1, 0);
    X509_set_subject_name(x509, name);
    X509_NAME_free(name);
}

void add_extension(X509* x509, const char* oid, std::string_view value, bool critical) {
    ASN1_OBJECT* const object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING* const octets = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(octets, reinterpret_cast<const unsigned char*>(value.data()),
                          static_cast<int>(value.size()));
    X509_EXTENSION* const extension = X509_EXTENSION_create_by_OBJ(nullptr, object, critical ? 1 : 0, octets);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(octets);
    ASN1_OBJECT_free(object);
}

TEST_F(X509Test, WhatTheCommandWouldNotMake) {
    pki.root("root");
    pki.issue("leaf", "root");
    const auto verdict = [&](const std::function<void(X509*)>& change) {
        return verify_der(pki.changed("leaf", "root", change));
    };
    const auto name = [&](std::string_view text, bool add) {
        return verdict([&](X509* x509) { set_name(x509, NID_commonName, text, add); });
    };
    EXPECT_EQ(code(name("admin", false)), "");
    EXPECT_EQ(code(name("admin\0.example.org"s, false)), "malformed");
    EXPECT_EQ(code(name("admin\0"s, false)), "malformed");
    EXPECT_EQ(code(name("admin\nroot", false)), "malformed");
    std::string latin =
        pki.changed("leaf", "root", [](X509* x509) { set_name(x509, NID_commonName, "\xc3\xa6", false); });
    EXPECT_EQ(code(verify_der(latin)), "");
    latin.replace(latin.find("\xc3\xa6"), 2, "\xc3\xc3");  // no UTF-8
    EXPECT_EQ(code(verify_der(latin)), "malformed");
    EXPECT_EQ(code(name("second", true)), "malformed");  // two common names
    EXPECT_EQ(code(verdict([](X509* x509) { set_name(x509, NID_organizationalUnitName, "x\0y"s, true); })),
              "malformed");

    // "a\0b" as a dNSName.
    const auto alternative = [&](std::string_view der) {
        return verdict([&](X509* x509) { add_extension(x509, "2.5.29.17", der, false); });
    };
    EXPECT_EQ(code(alternative("\x30\x05\x82\x03"
                               "a.b"s)),
              "");
    EXPECT_EQ(code(alternative("\x30\x05\x82\x03"
                               "a\0b"s)),
              "malformed");
    EXPECT_EQ(code(alternative("\x30\x05\x81\x03"
                               "a\0b"s)),
              "malformed");
    EXPECT_EQ(code(alternative("\x30\x05\x86\x03"
                               "a b"s)),
              "malformed");
    EXPECT_EQ(code(alternative("\x30\x05\x87\x03"
                               "abc"s)),
              "malformed");  // no address
    EXPECT_EQ(code(alternative("\x30\x81\x05\x82\x03"
                               "a.b"s)),
              "malformed");
    EXPECT_EQ(code(alternative("\x30\x05\x82\x03"
                               "a.bx"s)),
              "malformed");
    std::string many;
    for (int i = 0; i < 65; ++i) many += "\x82\x01x"s;
    EXPECT_EQ(code(alternative("\x30\x81\xc3"s + many)), "too-large");

    // OpenSSL signs no other version by now where there are extensions. Without the check the signature would
    // be what is wrong.
    for (const char version : {'\x00', '\x03'}) {
        std::string other = pki.changed("leaf", "root", [](X509*) {});
        other[other.find("\xa0\x03\x02\x01\x02"s) + 4] = version;
        EXPECT_EQ(code(verify_der(other)), "malformed");
    }
    EXPECT_EQ(
        code(verdict([](X509* x509) { add_extension(x509, "1.3.6.1.4.1.55555.1", "\x05\x00"s, false); })),
        "");
    EXPECT_EQ(
        code(verdict([](X509* x509) { add_extension(x509, "1.3.6.1.4.1.55555.1", "\x05\x00"s, true); })),
        "unknown-critical");
    // OpenSSL knows policies, and enforces none.
    EXPECT_EQ(
        code(verdict([](X509* x509) { add_extension(x509, "2.5.29.36", "\x30\x03\x80\x01\x00"s, true); })),
        "unknown-critical");
    EXPECT_EQ(code(verdict([](X509* x509) {
                  add_extension(x509, "1.3.6.1.4.1.55555.1", "\x05\x00"s, false);
                  add_extension(x509, "1.3.6.1.4.1.55555.1", "\x05\x00"s, false);
              })),
              "malformed");
    EXPECT_EQ(code(verdict([](X509* x509) {
                  ASN1_INTEGER* const serial = ASN1_INTEGER_new();
                  ASN1_INTEGER_set_int64(serial, -5);
                  X509_set_serialNumber(x509, serial);
                  ASN1_INTEGER_free(serial);
              })),
              "malformed");
}

TEST_F(X509Test, SentencesArePrintable) {
    pki.root("root");
    pki.issue("leaf", "root");
    const auto verdict = verify_der(pki.changed("leaf", "root", [](X509* x509) {
        set_name(x509, NID_commonName, "a\x1b[2J\n" + std::string(1000, 'x'), false);
    }));
    EXPECT_EQ(code(verdict), "malformed");
    EXPECT_LT(why(verdict).size(), 400U);
    for (const char c : why(verdict)) EXPECT_TRUE(c >= ' ' && c < 0x7f);
}

TEST_F(X509Test, OtherSpellingsOfTheBytes) {
    pki.root("root");
    pki.issue("leaf", "root");
    const std::string der = pki.der("leaf");
    ASSERT_EQ(code(verify_der(der)), "");
    EXPECT_EQ(code(verify_der(der + '\0')), "malformed");
    EXPECT_EQ(code(verify_der(der + der)), "malformed");
    ASSERT_EQ(der.substr(0, 2), "\x30\x82");
    EXPECT_EQ(code(verify_der("\x30\x83"s + '\0' + der.substr(2))), "malformed");
    EXPECT_EQ(code(verify_der("\x30\x80"s + der.substr(4) + "\0\0"s)), "malformed");
    EXPECT_EQ(code(verify_der(std::string(kCertificateBytesMax + 1, '0'))), "too-large");
    for (std::size_t size = 0; size < der.size(); ++size)
        EXPECT_FALSE(verify_der(der.substr(0, size))) << size;
}

TEST_F(X509Test, NoFlippedByteVerifies) {
    pki.root("root", ca_issue("", "ED25519"));
    pki.issue("leaf", "root");
    const std::string der = pki.der("leaf");
    const auto trust = trust_of(text("root"));
    for (std::size_t at = 0; at < der.size(); ++at) {
        for (const int flip : {0x01, 0x10, 0x80, 0xff}) {
            std::string bad = der;
            bad[at] = static_cast<char>(bad[at] ^ flip);
            const auto leaf = parse_certificate(bytes_of(bad));
            EXPECT_FALSE(leaf && verify_x509(*leaf, {}, trust, kNow)) << at << " ^ " << flip;
            if (const auto x509 = read_by_openssl(bad)) {
                const auto again = recheck_certificate(x509.get()), taken = take_certificate(x509);
                EXPECT_EQ(why(taken), why(again)) << at << " ^ " << flip;
                ASSERT_EQ(taken.has_value(), again.has_value()) << at << " ^ " << flip;
                if (!taken) continue;
                EXPECT_EQ(why(verify_x509(*taken, {}, trust, kNow)),
                          why(verify_x509(*again, {}, trust, kNow)))
                    << at << " ^ " << flip;
            }
        }
    }
}

TEST_F(X509Test, Rfc8410Certificates) {
    pki.root("root");
    pki.issue("leaf", "root");
    pki.key("wg", "X25519");
    pki.openssl({"pkey", "-in", pki.path("wg.key"), "-pubout", "-out", pki.path("wg.pub")});
    pki.write("wg.ext",
              "keyUsage = critical, keyAgreement\nextendedKeyUsage = clientAuth\n"
              "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n");
    pki.openssl({"x509", "-new", "-force_pubkey", pki.path("wg.pub"), "-subj", "/CN=wg", "-CA",
                 pki.path("root.pem"), "-CAkey", pki.path("root.key"), "-days", "3650", "-extfile",
                 pki.path("wg.ext"), "-out", pki.path("wg.pem")});
    const Certificate certificate = pki.certificate("wg");
    const auto key = x25519_key_of(certificate);
    ASSERT_TRUE(key);
    pki.openssl(
        {"pkey", "-in", pki.path("wg.key"), "-pubout", "-outform", "DER", "-out", pki.path("wg.raw")});
    const std::string raw = pki.read("wg.raw");
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(key->bytes.data()), 32), raw.substr(raw.size() - 32));
    const auto identity =
        verify_x509(certificate, {}, trust_of(text("root")), std::max(kNow, certificate.not_before));
    ASSERT_TRUE(identity) << why(identity);
    EXPECT_EQ(identity->common_name, "wg");
    EXPECT_FALSE(may_sign(certificate));
    EXPECT_FALSE(x25519_key_of(pki.certificate("leaf")));
    pki.root("other");
    EXPECT_EQ(
        code(verify_x509(certificate, {}, trust_of(text("other")), std::max(kNow, certificate.not_before))),
        "unknown-ca");
}

}  // namespace
}  // namespace vern::trust
