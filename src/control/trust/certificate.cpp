#include "control/trust/certificate.h"

#include <openssl/core_names.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <set>
#include <string_view>

#include "control/text.h"
#include "control/trust/certificate_library.h"
#include "control/trust/openssl_handles.h"
#include "control/trust/pem.h"
#include "crypto/openssl.h"

namespace vern::trust {
namespace {

constexpr std::size_t kNameCharactersMax = 256;
using NamePtr = std::unique_ptr<X509_NAME, OpensslFree<X509_NAME_free>>;

constexpr int kRsaBitsMin = 2048;
constexpr int kRsaBitsMax = 8192;  // checking a signature must stay cheap

Bytes view(const ASN1_STRING* string) {
    return std::as_bytes(
        std::span(ASN1_STRING_get0_data(string), static_cast<std::size_t>(ASN1_STRING_length(string))));
}

// What decides whether and for what a certificate is good.
bool decides(int nid) {
    constexpr std::array kDeciding{NID_key_usage,
                                   NID_ext_key_usage,
                                   NID_basic_constraints,
                                   NID_subject_alt_name,
                                   NID_name_constraints,
                                   NID_subject_key_identifier,
                                   NID_authority_key_identifier,
                                   NID_netscape_cert_type};
    return std::find(kDeciding.begin(), kDeciding.end(), nid) != kDeciding.end();
}

bool enforced(int nid) {
    constexpr std::array kEnforced{NID_key_usage, NID_ext_key_usage, NID_basic_constraints,
                                   NID_subject_alt_name, NID_name_constraints};
    return std::find(kEnforced.begin(), kEnforced.end(), nid) != kEnforced.end();
}

std::string oid_text(const ASN1_OBJECT* object) {
    std::array<char, 128> text{};
    OBJ_obj2txt(text.data(), text.size(), object, 1);
    return text.data();
}

std::string_view oid_bytes(const ASN1_OBJECT* object) {
    return {reinterpret_cast<const char*>(OBJ_get0_data(object)), OBJ_length(object)};
}

Verdict<void> check_extensions(const X509* x509) {
    std::set<std::string_view> seen;
    for (int i = 0; i < X509_get_ext_count(x509); ++i) {
        X509_EXTENSION* const extension = X509_get_ext(x509, i);
        const ASN1_OBJECT* const object = X509_EXTENSION_get_object(extension);
        const int nid = OBJ_obj2nid(object);
        const auto says = [&] { return subject_text(x509) + ": extension " + oid_text(object); };
        if (!seen.insert(oid_bytes(object)).second)
            return refuse(Refusal::malformed, says() + " occurs twice");
        if (X509_EXTENSION_get_critical(extension) != 0 && !enforced(nid))
            return refuse(Refusal::unknown_critical, subject_text(x509) + ": critical extension " +
                                                         oid_text(object) + " is not known here");
        if (!decides(nid)) continue;
        const Bytes value = view(X509_EXTENSION_get_data(extension));
        if (auto der = check_der(value, kCertificateBytesMax, ""); !der)
            return refuse(der.error().code, says() + der.error().sentence);
    }
    return {};
}

Verdict<void> check_name(const X509_NAME* name, const char* which) {
    for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
        const ASN1_STRING* const raw = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i));
        unsigned char* text = nullptr;
        const int size = ASN1_STRING_to_UTF8(&text, raw);
        const Bytes utf8 = std::as_bytes(std::span(text, static_cast<std::size_t>(std::max(size, 0))));
        const bool plain =
            size >= 0 && is_utf8(utf8) && std::none_of(utf8.begin(), utf8.end(), [](auto byte) {
                return byte < std::byte{0x20} || byte == std::byte{0x7f};
            });
        OPENSSL_free(text);
        if (!plain)
            return refuse(Refusal::malformed,
                          name_text(name) + ": the " + which + "'s name has control characters or no text");
    }
    return {};
}

bool is_odd_above_one(const EVP_PKEY* key) {
    BIGNUM* e = nullptr;
    const bool got = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1;
    const bool good = got && BN_is_odd(e) != 0 && BN_is_one(e) == 0;
    BN_free(e);
    return good;
}

// By name: explicit parameters can be made to fit a signature.
bool is_usual_curve(const X509* x509, const EVP_PKEY* key) {
    X509_ALGOR* algorithm = nullptr;
    int type = V_ASN1_UNDEF;
    if (X509_PUBKEY_get0_param(nullptr, nullptr, nullptr, &algorithm, X509_get_X509_PUBKEY(x509)) != 1)
        return false;
    X509_ALGOR_get0(nullptr, &type, nullptr, algorithm);
    std::array<char, 64> name{};
    std::size_t size = 0;
    if (type != V_ASN1_OBJECT || EVP_PKEY_get_group_name(key, name.data(), name.size(), &size) != 1)
        return false;
    constexpr std::array kUsual{NID_X9_62_prime256v1, NID_secp384r1,       NID_secp521r1,
                                NID_brainpoolP256r1,  NID_brainpoolP384r1, NID_brainpoolP512r1};
    return std::find(kUsual.begin(), kUsual.end(), OBJ_sn2nid(name.data())) != kUsual.end();
}

// Is it a key at all, if not of a kind that certificate_library() reads?
Verdict<void> refuse_unread_key(const X509* x509) {
    unsigned char* der = nullptr;
    const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der);
    const OpensslMemory<unsigned char> owner(der);
    const unsigned char* at = der;
    const KeyPtr key(size > 0 ? d2i_PUBKEY_ex(nullptr, &at, size, openssl_library(), nullptr) : nullptr);
    if (!key) return refuse(Refusal::malformed, subject_text(x509) + ": its public key cannot be read");
    return refuse(Refusal::weak_key, subject_text(x509) + ": its kind of key is not taken");
}

Verdict<void> check_key(const X509* x509) {
    const EVP_PKEY* const key = X509_get0_pubkey(x509);
    const auto subject = [&] { return subject_text(x509); };
    if (!key) return refuse_unread_key(x509);
    switch (EVP_PKEY_get_base_id(key)) {
        case EVP_PKEY_RSA:
        case EVP_PKEY_RSA_PSS: {
            // The key is DER within a BIT STRING, which was not looked into.
            if (auto der = check_der(view(X509_get0_pubkey_bitstr(x509)), kCertificateBytesMax, ""); !der)
                return refuse(der.error().code, subject() + ": its public key" + der.error().sentence);
            const int bits = EVP_PKEY_get_bits(key);
            if (bits < kRsaBitsMin || bits > kRsaBitsMax || !is_odd_above_one(key))
                return refuse(Refusal::weak_key,
                              subject() + ": RSA keys have 2048 to 8192 bits and an odd exponent above 1");
            return {};
        }
        case EVP_PKEY_EC:
            if (!is_usual_curve(x509, key))
                return refuse(Refusal::weak_key, subject() + ": its elliptic curve is not taken");
            return {};
        case EVP_PKEY_ED25519:
        case EVP_PKEY_ED448:
        case EVP_PKEY_X25519: return {};
        default: return refuse(Refusal::weak_key, subject() + ": its kind of key is not taken");
    }
}

Verdict<Certificate> check(std::shared_ptr<X509> x509) {
    if (auto name = check_name(X509_get_subject_name(x509.get()), "subject"); !name)
        return tl::unexpected(name.error());
    if (auto name = check_name(X509_get_issuer_name(x509.get()), "issuer"); !name)
        return tl::unexpected(name.error());
    const auto subject = [&] { return subject_text(x509.get()); };
    if (X509_get_version(x509.get()) != X509_VERSION_3)
        return refuse(Refusal::malformed, subject() + ": is not of version 3");
    if (!serial_text(X509_get0_serialNumber(x509.get())))
        return refuse(Refusal::malformed, subject() + ": its serial number is negative or too long");
    if (auto extensions = check_extensions(x509.get()); !extensions)
        return tl::unexpected(extensions.error());
    if ((X509_get_extension_flags(x509.get()) & EXFLAG_INVALID) != 0)
        return refuse(Refusal::malformed, subject() + ": an extension is not what its kind says");
    if (auto key = check_key(x509.get()); !key) return tl::unexpected(key.error());
    const auto from = unix_seconds(X509_get0_notBefore(x509.get()));
    const auto until = unix_seconds(X509_get0_notAfter(x509.get()));
    if (!from || !until || *from > *until)
        return refuse(Refusal::malformed, subject() + ": its times are no times or in the wrong order");
    return Certificate{std::move(x509), *from, *until + 1};
}

}  // namespace

Verdict<Certificate> parse_certificate(Bytes der) {
    const ErrorQueueScope scope;
    if (auto strict = check_der(der, kCertificateBytesMax, "certificate"); !strict)
        return tl::unexpected(strict.error());
    X509* raw = X509_new_ex(certificate_library(), nullptr);
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    if (raw) d2i_X509(&raw, &at, static_cast<long>(der.size()));  // a failure frees it
    if (!raw) return refuse(Refusal::malformed, "certificate: is not an X.509 certificate");
    return check(std::shared_ptr<X509>(raw, X509_free));
}

std::string der_of(const X509* x509) {
    unsigned char* der = nullptr;
    const int size = i2d_X509(x509, &der);
    const OpensslMemory<unsigned char> owner(der);
    return {reinterpret_cast<const char*>(der), static_cast<std::size_t>(std::max(size, 0))};
}

Verdict<Certificate> recheck_certificate(const X509* x509) {
    return parse_certificate(bytes_of(der_of(x509)));
}

Verdict<Certificate> take_certificate(std::shared_ptr<X509> x509) {
    const ErrorQueueScope scope;
    if (auto strict = check_der(bytes_of(der_of(x509.get())), kCertificateBytesMax, "certificate"); !strict)
        return tl::unexpected(strict.error());
    return check(std::move(x509));
}

Verdict<std::vector<Certificate>> parse_certificates(std::string_view pem, std::size_t count_max,
                                                     std::string_view what) {
    const auto blocks = read_pem(pem, count_max, what);
    if (!blocks) return tl::unexpected(blocks.error());
    std::vector<Certificate> certificates;
    for (const PemBlock& block : *blocks) {
        if (block.label != "CERTIFICATE")
            return refuse(Refusal::malformed, std::string(what) + ": holds a block of " +
                                                  printable(block.label) +
                                                  ", only CERTIFICATE belongs there");
        auto certificate = parse_certificate(bytes_of(block.der));
        if (!certificate)
            return refuse(certificate.error().code, std::string(what) + ": " + certificate.error().sentence);
        certificates.push_back(std::move(*certificate));
    }
    if (certificates.empty())
        return refuse(Refusal::malformed, std::string(what) + ": holds no certificate in PEM");
    return certificates;
}

std::string name_rfc2253(const X509_NAME* name) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    if (!bio || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : std::string();
}

std::string name_text(const X509_NAME* name) {
    const ErrorQueueScope scope;
    const std::string text = name_rfc2253(name);
    return text.empty() ? "(no name)" : printable(text, kNameCharactersMax);
}

std::string subject_text(const X509* x509) { return name_text(X509_get_subject_name(x509)); }

std::optional<UnixSeconds> unix_seconds(const ASN1_TIME* time) {
    const ErrorQueueScope scope;
    tm parts{};
    if (!time || ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
    return ::timegm(&parts);
}

std::optional<std::string> serial_text(const ASN1_INTEGER* serial) {
    constexpr int kBytesMax = 20;
    if (ASN1_STRING_type(serial) != V_ASN1_INTEGER || ASN1_STRING_length(serial) > kBytesMax)
        return std::nullopt;
    const std::string digits = [&] {
        const Bytes bytes = view(serial);
        std::string text(bytes.size() * 2 + 1, '\0');
        sodium_bin2hex(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                       bytes.size());
        text.pop_back();
        return text;
    }();
    const auto first = digits.find_first_not_of('0');
    return first == std::string::npos ? "0" : digits.substr(first);
}

std::string key_fingerprint(const X509* x509) {
    unsigned char* der = nullptr;
    const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der);
    if (size <= 0) return {};
    std::array<unsigned char, crypto_hash_sha256_BYTES> hash;
    crypto_hash_sha256(hash.data(), der, static_cast<unsigned long long>(size));
    OPENSSL_free(der);
    std::array<char, 2 * crypto_hash_sha256_BYTES + 1> text;
    sodium_bin2hex(text.data(), text.size(), hash.data(), hash.size());
    return std::string("SHA256:") + text.data();
}

Issuer issuer_of(const X509* ca) {
    const unsigned char* der = nullptr;
    std::size_t size = 0;
    if (X509_NAME_get0_der(X509_get_subject_name(ca), &der, &size) != 1) size = 0;
    return {std::string(reinterpret_cast<const char*>(der), size), key_fingerprint(ca)};
}

bool same_name(const Issuer& issuer, const X509_NAME* name) {
    const ErrorQueueScope scope;
    const auto* der = reinterpret_cast<const unsigned char*>(issuer.name.data());
    const NamePtr read(d2i_X509_NAME(nullptr, &der, static_cast<long>(issuer.name.size())));
    return read && X509_NAME_cmp(read.get(), name) == 0;
}

std::string anchor_digest(const X509* x509) {
    std::string digest(SHA256_DIGEST_LENGTH, '\0');
    unsigned size = 0;
    return X509_digest(x509, EVP_sha256(), reinterpret_cast<unsigned char*>(digest.data()), &size) == 1
               ? digest
               : std::string();
}

std::uint32_t name_hash(const X509_NAME* name) {
    const ErrorQueueScope scope;
    return static_cast<std::uint32_t>(X509_NAME_hash_ex(name, openssl_library(), nullptr, nullptr));
}

std::optional<PublicKey> x25519_key_of(const Certificate& certificate) {
    const EVP_PKEY* const key = X509_get0_pubkey(certificate.x509.get());
    if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_X25519) return std::nullopt;
    PublicKey raw;
    std::size_t size = raw.bytes.size();
    if (EVP_PKEY_get_raw_public_key(key, reinterpret_cast<unsigned char*>(raw.bytes.data()), &size) != 1 ||
        size != raw.bytes.size() || raw.is_zero())
        return std::nullopt;
    return raw;
}

bool may_sign(const Certificate& certificate) {
    return (X509_get_key_usage(certificate.x509.get()) & KU_DIGITAL_SIGNATURE) != 0;
}

bool is_ca(const Certificate& certificate) {
    return (X509_get_extension_flags(certificate.x509.get()) & EXFLAG_CA) != 0;
}

}  // namespace vern::trust
