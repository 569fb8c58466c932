// A PKI of the real `openssl` command in a directory of its own, with times that do not depend on the clock.
#pragma once

#include <gtest/gtest.h>
#include <openssl/pem.h>

#include <functional>
#include <map>

#include "../temporary_directory.h"
#include "control/process.h"
#include "control/trust/openssl_handles.h"
#include "control/trust/x509_verify.h"
#include "crypto/openssl.h"

namespace vern::trust::test {

inline constexpr UnixSeconds kNow = 1'800'000'000;        // 2027-01-15 08:00:00
inline constexpr UnixSeconds kLeafFrom = 1'798'761'600;   // 2027-01-01
inline constexpr UnixSeconds kLeafUntil = 1'801'440'000;  // 2027-02-01: notAfter, its last good second
inline constexpr UnixSeconds kCrlFrom = 1'799'971'200;    // 2027-01-15
inline constexpr UnixSeconds kCrlUntil = 1'800'057'600;   // 2027-01-16

// As TLS reads what it is sent; nullptr: it does not take it.
inline std::shared_ptr<X509> read_by_openssl(const std::string& der) {
    X509* x509 = X509_new_ex(openssl_library(), nullptr);
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    d2i_X509(&x509, &at, static_cast<long>(der.size()));  // a failure frees it
    return {x509, X509_free};
}

inline constexpr const char* kCaExtensions =
    "basicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign, cRLSign\n"
    "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
inline constexpr const char* kLeafExtensions =
    "basicConstraints = CA:false\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = clientAuth\n"
    "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";

struct Issue {
    std::string subject;  // empty: /CN= and the name
    std::string extensions = kLeafExtensions;
    std::string algorithm = "EC";
    std::string from = "20270101000000Z";
    std::string until = "20270201000000Z";
    std::string hash = "sha256";
    std::string arguments;  // one more, for `openssl ca`
};

inline Issue ca_issue(const std::string& more = "", std::string algorithm = "EC") {
    return {.subject = {},
            .extensions = kCaExtensions + more,
            .algorithm = std::move(algorithm),
            .from = "20260101000000Z",
            .until = "20360101000000Z",
            .hash = "sha256",
            .arguments = {}};
}

struct CrlIssue {
    std::string from = "20270115000000Z";
    std::string until = "20270116000000Z";
    std::string hash = "sha256";
    std::string extensions = "authorityKeyIdentifier = keyid\n";
};

class Pki {
  public:
    std::string path(const std::string& file) const { return directory_.path() + "/" + file; }
    std::string read(const std::string& file) const { return vern::test::read_file(path(file)); }
    std::string write(const std::string& file, const std::string& text) const {
        return directory_.write(file, text);
    }

    ProcessResult openssl(std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(), "openssl");
        auto done = run_process(arguments);
        EXPECT_TRUE(done && done->ok())
            << arguments[1] << ": " << (done ? done->errors : done.error().message);
        return done ? *done : ProcessResult{};
    }

    void key(const std::string& name, const std::string& algorithm) const {
        const std::map<std::string, std::vector<std::string>> kinds{
            {"EC", {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}},
            {"RSA", {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}},
            {"RSA1024", {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"}},
            {"RSA-PSS", {"-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"}},
            {"ED25519", {"-algorithm", "ED25519"}},
            {"X25519", {"-algorithm", "X25519"}}};
        std::vector<std::string> arguments{"genpkey", "-out", path(name + ".key")};
        const auto& kind = kinds.at(algorithm);
        arguments.insert(arguments.end(), kind.begin(), kind.end());
        openssl(arguments);
    }

    // NAME.key and NAME.pem; by itself if `issuer` is its own name.
    void issue(const std::string& name, const std::string& issuer, const Issue& what = {}) const {
        key(name, what.algorithm);
        openssl({"req", "-new", "-utf8", "-key", path(name + ".key"), "-subj",
                 what.subject.empty() ? "/CN=" + name : what.subject, "-out", path(name + ".csr")});
        write(name + ".ext", what.extensions);
        std::vector<std::string> arguments{"ca",         "-batch",
                                           "-notext",    "-preserveDN",
                                           "-config",    config(issuer),
                                           "-in",        path(name + ".csr"),
                                           "-out",       path(name + ".pem"),
                                           "-extfile",   path(name + ".ext"),
                                           "-startdate", what.from,
                                           "-enddate",   what.until,
                                           "-md",        what.hash,
                                           "-keyfile",   path(issuer + ".key")};
        if (name == issuer) arguments.push_back("-selfsign");
        if (name != issuer) arguments.insert(arguments.end(), {"-cert", path(issuer + ".pem")});
        if (!what.arguments.empty()) arguments.push_back(what.arguments);
        openssl(arguments);
    }
    void root(const std::string& name, const Issue& what = ca_issue()) const { issue(name, name, what); }

    void revoke(const std::string& name, const std::string& issuer) const {
        openssl({"ca", "-config", config(issuer), "-keyfile", path(issuer + ".key"), "-cert",
                 path(issuer + ".pem"), "-revoke", path(name + ".pem")});
    }
    std::string crl(const std::string& issuer, const CrlIssue& what = {}) const {
        openssl({"ca", "-gencrl", "-config", config(issuer, what.extensions), "-crlexts", "crl", "-keyfile",
                 path(issuer + ".key"), "-cert", path(issuer + ".pem"), "-crl_lastupdate", what.from,
                 "-crl_nextupdate", what.until, "-md", what.hash, "-out", path(issuer + ".crl")});
        return read(issuer + ".crl");
    }

    std::string der(const std::string& name) const {
        openssl({"x509", "-in", path(name + ".pem"), "-outform", "DER", "-out", path(name + ".der")});
        return read(name + ".der");
    }
    std::shared_ptr<X509> shown(const std::string& name) const { return read_by_openssl(der(name)); }
    std::string pem_of(const std::string& der) const {
        const std::string file = write("some.der", der);
        openssl({"x509", "-inform", "DER", "-in", file, "-out", path("some.pem")});
        return read("some.pem");
    }
    Certificate certificate(const std::string& name) const {
        auto parsed = parse_certificates(read(name + ".pem"), 1, name);
        EXPECT_TRUE(parsed) << parsed.error().sentence;
        return parsed ? parsed->front() : Certificate{};
    }
    KeyPtr private_key(const std::string& name) const {
        const std::string pem = read(name + ".key");
        const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
        return KeyPtr(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
    }
    // A certificate that the command would not make: changed, and signed again by its issuer.
    std::string changed(const std::string& name, const std::string& issuer,
                        const std::function<void(X509*)>& change, const EVP_MD* hash = EVP_sha256()) const {
        const std::string before = der(name);
        const auto* at = reinterpret_cast<const unsigned char*>(before.data());
        const X509Ptr x509(d2i_X509(nullptr, &at, static_cast<long>(before.size())));
        change(x509.get());
        EXPECT_GT(X509_sign(x509.get(), private_key(issuer).get(), hash), 0);
        unsigned char* made = nullptr;
        const int size = i2d_X509(x509.get(), &made);
        const OpensslMemory<unsigned char> owner(made);
        return {reinterpret_cast<const char*>(made), static_cast<std::size_t>(size)};
    }

  private:
    std::string config(const std::string& issuer, const std::string& crl_extensions = "") const {
        if (!std::filesystem::exists(path(issuer + ".index"))) {
            write(issuer + ".index", "");
            write(issuer + ".crlnumber", "1000\n");
        }
        return write(issuer + ".cnf",
                     "[ca]\ndefault_ca = d\n[d]\ndatabase = " + path(issuer + ".index") +
                         "\nnew_certs_dir = " + directory_.path() +
                         "\nrand_serial = yes\ncrlnumber = " + path(issuer + ".crlnumber") +
                         "\ndefault_md = sha256\npolicy = p\nunique_subject = no\nemail_in_dn = yes\n"
                         "[p]\nCN = optional\nOU = optional\nO = optional\nemailAddress = optional\n[crl]\n" +
                         crl_extensions);
    }

    vern::test::TemporaryDirectory directory_;
};

inline X509Trust trust_of(const X509CaText& text, UnixSeconds now = kNow) {
    auto ca = load_x509_ca(text, now);
    EXPECT_TRUE(ca) << ca.error().sentence;
    X509Trust trust;
    if (ca) trust.cas.push_back(*ca);
    return trust;
}

// "" if it was taken.
template <typename T>
std::string code(const Verdict<T>& verdict) {
    return verdict ? "" : std::string(refusal_code(verdict.error().code));
}

template <typename T>
std::string why(const Verdict<T>& verdict) {
    return verdict ? "" : verdict.error().sentence;
}

}  // namespace vern::trust::test
