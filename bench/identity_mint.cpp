#include "identity_mint.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sodium.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "control/identity/proof.h"
#include "control/trust/certificate_library.h"
#include "control/trust/openssl_handles.h"

namespace vern::bench {
namespace {

using namespace vern::trust;

using CrlPtr = std::unique_ptr<X509_CRL, OpensslFree<X509_CRL_free>>;
using RevokedPtr = std::unique_ptr<X509_REVOKED, OpensslFree<X509_REVOKED_free>>;
using NumberPtr = std::unique_ptr<ASN1_INTEGER, OpensslFree<ASN1_INTEGER_free>>;

void must(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "identity_mint: %s\n", what);
    std::exit(1);
}

class SshKey {
  public:
    explicit SshKey(std::uint64_t number) {
        std::array<unsigned char, crypto_sign_SEEDBYTES> seed{};
        for (std::size_t i = 0; i < 8; ++i) seed[i] = static_cast<unsigned char>(number >> (8 * i) & 0xff);
        crypto_sign_seed_keypair(public_.data(), secret_.data(), seed.data());
    }
    std::string point() const { return {reinterpret_cast<const char*>(public_.data()), public_.size()}; }
    std::string blob() const { return SshWriter().string("ssh-ed25519").string(point()).written(); }
    std::string sign(std::string_view message) const {
        std::string raw(crypto_sign_BYTES, '\0');
        crypto_sign_detached(reinterpret_cast<unsigned char*>(raw.data()), nullptr,
                             reinterpret_cast<const unsigned char*>(message.data()), message.size(),
                             secret_.data());
        return SshWriter().string("ssh-ed25519").string(raw).written();
    }

  private:
    std::array<unsigned char, crypto_sign_PUBLICKEYBYTES> public_;
    std::array<unsigned char, crypto_sign_SECRETKEYBYTES> secret_;
};

std::string certificate_of(const SshKey& holder, const SshKey& ca, std::uint64_t serial, UnixSeconds from,
                           UnixSeconds until) {
    SshWriter writer;
    writer.string("ssh-ed25519-cert-v01@openssh.com").string(std::string(32, 'n')).string(holder.point());
    writer.u64(serial).u32(1).string("user-" + std::to_string(serial));
    writer.string(SshWriter().string("dba").written());
    writer.u64(static_cast<std::uint64_t>(from)).u64(static_cast<std::uint64_t>(until));
    writer.string("").string("").string("").string(ca.blob());
    const std::string signature = ca.sign(writer.written());
    return writer.string(signature).written();
}

std::string sshsig_of(const SshKey& holder, const std::string& certificate, const std::string& message) {
    std::string digest(crypto_hash_sha512_BYTES, '\0');
    crypto_hash_sha512(reinterpret_cast<unsigned char*>(digest.data()),
                       reinterpret_cast<const unsigned char*>(message.data()), message.size());
    SshWriter said;
    said.raw("SSHSIG").string(identity::kNamespace).string("").string("sha512").string(digest);
    SshWriter sshsig;
    sshsig.raw("SSHSIG").u32(1).string(certificate).string(identity::kNamespace).string("").string("sha512");
    sshsig.string(holder.sign(said.written()));
    return "-----BEGIN SSH SIGNATURE-----\n" + encode_base64(sshsig.written()) +
           "\n-----END SSH SIGNATURE-----\n";
}

std::string krl_of_serial_1(const SshKey& ca) {
    const std::string serials = SshWriter().u64(1).written();
    const std::string issued = SshWriter().string(ca.blob()).string("").u8(0x20).string(serials).written();
    SshWriter krl;
    krl.raw(std::string_view("SSHKRL\n\0", 8)).u32(1).u64(1).u64(0).u64(0).string("").string("");
    return krl.u8(1).string(issued).written();
}

class X509Issuer {
  public:
    X509Issuer(UnixSeconds from, UnixSeconds until)
        : from_(from), until_(until), key_(EVP_EC_gen("P-256")), ca_(X509_new()) {
        X509_NAME_add_entry_by_txt(X509_get_subject_name(ca_.get()), "CN", MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>("Bench CA"), -1, -1, 0);
        fill(ca_.get(), 0x7fffffff, key_.get());
        add(ca_.get(), NID_basic_constraints, "critical,CA:true");
        add(ca_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
        add(ca_.get(), NID_subject_key_identifier, "hash");
        must(X509_sign(ca_.get(), key_.get(), EVP_sha256()) > 0, "the CA is not signed");
    }
    std::string ca_pem() const { return pem(ca_.get()); }

    std::string certify(const PublicKey& peer, long serial) const {
        const KeyPtr key(EVP_PKEY_new_raw_public_key(
            EVP_PKEY_X25519, nullptr, reinterpret_cast<const unsigned char*>(peer.bytes.data()),
            peer.bytes.size()));
        return pem(certify(key.get(), "critical,keyAgreement", serial).get());
    }
    X509Ptr certify(EVP_PKEY* key, const char* usage, long serial) const {
        X509Ptr leaf(X509_new_ex(certificate_library(), nullptr));
        X509_NAME* const name = X509_get_subject_name(leaf.get());
        const std::string common = "user-" + std::to_string(serial);
        for (const auto& [field, value] : {std::pair("OU", std::string("DBA")), {"CN", common}})
            X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                       reinterpret_cast<const unsigned char*>(value.c_str()), -1, -1, 0);
        fill(leaf.get(), serial, key);
        add(leaf.get(), NID_basic_constraints, "CA:false");
        add(leaf.get(), NID_key_usage, usage);
        add(leaf.get(), NID_ext_key_usage, "clientAuth");
        add(leaf.get(), NID_subject_key_identifier, "hash");
        add(leaf.get(), NID_authority_key_identifier, "keyid");
        must(X509_sign(leaf.get(), key_.get(), EVP_sha256()) > 0, "a certificate is not signed");
        return leaf;
    }

    std::string crl(long number, bool of_serial_1) const {
        const CrlPtr crl(X509_CRL_new());
        X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2);
        X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(ca_.get()));
        const std::unique_ptr<ASN1_TIME, OpensslFree<ASN1_TIME_free>> from(ASN1_TIME_set(nullptr, from_)),
            until(ASN1_TIME_set(nullptr, until_ + 86'400));
        X509_CRL_set1_lastUpdate(crl.get(), from.get());
        X509_CRL_set1_nextUpdate(crl.get(), until.get());
        const NumberPtr value(ASN1_INTEGER_new()), one(ASN1_INTEGER_new());
        ASN1_INTEGER_set(value.get(), number);
        ASN1_INTEGER_set(one.get(), 1);
        X509_CRL_add1_ext_i2d(crl.get(), NID_crl_number, value.get(), 0, 0);
        if (of_serial_1) {
            RevokedPtr entry(X509_REVOKED_new());
            X509_REVOKED_set_serialNumber(entry.get(), one.get());
            X509_REVOKED_set_revocationDate(entry.get(), from.get());
            X509_CRL_add0_revoked(crl.get(), entry.release());
        }
        must(X509_CRL_sign(crl.get(), key_.get(), EVP_sha256()) > 0, "a list is not signed");
        const BioPtr bio(BIO_new(BIO_s_mem()));
        PEM_write_bio_X509_CRL(bio.get(), crl.get());
        return text_of(bio.get());
    }

  private:
    void fill(X509* x509, long serial, EVP_PKEY* key) const {
        X509_set_version(x509, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(x509), serial);
        X509_set_issuer_name(x509, X509_get_subject_name(ca_.get()));
        ASN1_TIME_set(X509_getm_notBefore(x509), from_);
        ASN1_TIME_set(X509_getm_notAfter(x509), x509 == ca_.get() ? until_ + 86'400 : until_ - 1);
        X509_set_pubkey(x509, key);
    }
    void add(X509* x509, int nid, const char* value) const {
        X509V3_CTX context;
        X509V3_set_ctx(&context, ca_.get(), x509, nullptr, nullptr, 0);
        const std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>> extension(
            X509V3_EXT_nconf_nid(nullptr, &context, nid, value));
        must(extension && X509_add_ext(x509, extension.get(), -1) == 1, value);
    }
    static std::string text_of(BIO* bio) {
        char* text = nullptr;
        const long size = BIO_get_mem_data(bio, &text);
        return {text, static_cast<std::size_t>(size)};
    }
    static std::string pem(X509* x509) {
        const BioPtr bio(BIO_new(BIO_s_mem()));
        PEM_write_bio_X509(bio.get(), x509);
        return text_of(bio.get());
    }

    UnixSeconds from_, until_;
    KeyPtr key_;
    X509Ptr ca_;
};

}  // namespace

SshMint mint_ssh(const std::vector<PublicKey>& peers, const PublicKey& audience, UnixSeconds from,
                 UnixSeconds until) {
    const SshKey ca(0);
    SshMint mint{.ca_line = "ssh-ed25519 " + encode_base64(ca.blob()) + " bench\n",
                 .krl = krl_of_serial_1(ca),
                 .proofs = {}};
    for (std::uint64_t serial = 1; serial <= peers.size(); ++serial) {
        const SshKey holder(serial);
        Minted one;
        one.statement = encode_statement(
            {.wg = peers[serial - 1], .audience = audience, .nonce = {}, .not_after = until + 86'400});
        one.proof = sshsig_of(holder, certificate_of(holder, ca, serial, from, until), one.statement);
        mint.proofs.push_back(std::move(one));
    }
    return mint;
}

X509Mint mint_x509(const std::vector<PublicKey>& peers, UnixSeconds from, UnixSeconds until) {
    const X509Issuer issuer(from, until);
    X509Mint mint{.ca_pem = issuer.ca_pem(),
                  .crl_none = issuer.crl(1, false),
                  .crl_first = issuer.crl(2, true),
                  .proofs = {}};
    for (std::size_t i = 0; i < peers.size(); ++i)
        mint.proofs.push_back({.statement = {}, .proof = issuer.certify(peers[i], static_cast<long>(i + 1))});
    return mint;
}

SshUsers mint_ssh_users(std::size_t count, UnixSeconds from, UnixSeconds until) {
    const SshKey ca(0);
    SshUsers users{.ca_line = "ssh-ed25519 " + encode_base64(ca.blob()) + " bench\n", .sign = {}};
    for (std::uint64_t serial = 1; serial <= count; ++serial) {
        const SshKey holder(serial);
        users.sign.emplace_back(
            [holder, certificate = certificate_of(holder, ca, serial, from, until)](
                const std::string& statement) { return sshsig_of(holder, certificate, statement); });
    }
    return users;
}

TlsUsers mint_tls_users(std::size_t count, UnixSeconds from, UnixSeconds until) {
    const X509Issuer issuer(from, until);
    TlsUsers users{.ca_pem = issuer.ca_pem(), .users = {}};
    for (std::size_t i = 0; i < count; ++i) {
        KeyPtr key(EVP_PKEY_Q_keygen(certificate_library(), nullptr, "EC", "P-256"));
        auto certificate = issuer.certify(key.get(), "critical,digitalSignature", static_cast<long>(i + 1));
        users.users.push_back({std::move(certificate), std::move(key)});
    }
    return users;
}

}  // namespace vern::bench
