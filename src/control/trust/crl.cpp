#include "control/trust/crl.h"

#include <openssl/x509v3.h>

#include <set>

#include "control/text.h"
#include "control/trust/openssl_handles.h"
#include "control/trust/pem.h"
#include "control/trust/signature_algorithm.h"
#include "crypto/openssl.h"

namespace vern::trust {
namespace {

using CrlPtr = std::unique_ptr<X509_CRL, OpensslFree<X509_CRL_free>>;
using IntegerPtr = std::unique_ptr<ASN1_INTEGER, OpensslFree<ASN1_INTEGER_free>>;

Verdict<void> check_extensions(const X509_CRL* crl, const std::string& what) {
    std::set<int> seen;
    for (int i = 0; i < X509_CRL_get_ext_count(crl); ++i) {
        X509_EXTENSION* const extension = X509_CRL_get_ext(crl, i);
        const int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_delta_crl) return refuse(Refusal::crl_invalid, what + ": is a delta CRL");
        if (nid == NID_issuing_distribution_point)
            return refuse(Refusal::crl_invalid, what + ": speaks of a part of the certificates only");
        const bool harmless = nid == NID_crl_number || nid == NID_authority_key_identifier;
        if (!harmless && X509_EXTENSION_get_critical(extension) != 0)
            return refuse(Refusal::crl_invalid, what + ": has a critical extension that is not known here");
        if (nid != NID_undef && !seen.insert(nid).second)
            return refuse(Refusal::crl_invalid, what + ": has an extension twice");
    }
    return {};
}

// An entry that is another issuer's, or means something else than "revoked".
Verdict<void> check_entries(X509_CRL* crl, const std::string& what) {
    const auto* const entries = X509_CRL_get_REVOKED(crl);
    for (int i = 0; i < sk_X509_REVOKED_num(entries); ++i) {
        const X509_REVOKED* const entry = sk_X509_REVOKED_value(entries, i);
        for (int k = 0; k < X509_REVOKED_get_ext_count(entry); ++k) {
            X509_EXTENSION* const extension = X509_REVOKED_get_ext(entry, k);
            if (X509_EXTENSION_get_critical(extension) != 0 ||
                OBJ_obj2nid(X509_EXTENSION_get_object(extension)) == NID_certificate_issuer)
                return refuse(Refusal::crl_invalid,
                              what + ": an entry has an extension that is not known here");
        }
    }
    return {};
}

Verdict<std::string> number_of(const X509_CRL* crl, const std::string& what) {
    int status = 0;
    const IntegerPtr number(
        static_cast<ASN1_INTEGER*>(X509_CRL_get_ext_d2i(crl, NID_crl_number, &status, nullptr)));
    if (!number && status == -1) return std::string();
    auto text = number ? serial_text(number.get()) : std::nullopt;
    if (!text) return refuse(Refusal::crl_invalid, what + ": its number is negative or too long");
    return *text;
}

Verdict<Crl> check(CrlPtr x509_crl) {
    X509_CRL* const crl = x509_crl.get();
    const std::string what = "CRL of " + name_text(X509_CRL_get_issuer(crl));
    const X509_ALGOR* algorithm = nullptr;
    X509_CRL_get0_signature(crl, nullptr, &algorithm);
    if (!is_strong_signature(*algorithm))
        return refuse(Refusal::weak_hash, what + ": is signed with an algorithm that is not taken");
    if (auto extensions = check_extensions(crl, what); !extensions) return tl::unexpected(extensions.error());
    if (auto entries = check_entries(crl, what); !entries) return tl::unexpected(entries.error());
    auto number = number_of(crl, what);
    if (!number) return tl::unexpected(number.error());
    if (!X509_CRL_get0_nextUpdate(crl))
        return refuse(Refusal::crl_invalid, what + ": does not say when the next one comes");
    const auto from = unix_seconds(X509_CRL_get0_lastUpdate(crl));
    const auto until = unix_seconds(X509_CRL_get0_nextUpdate(crl));
    if (!from || !until || *from >= *until)
        return refuse(Refusal::crl_invalid, what + ": its times are no times or in the wrong order");
    return Crl{.x509_crl = std::shared_ptr<X509_CRL>(std::move(x509_crl)),
               .issuer = name_rfc2253(X509_CRL_get_issuer(crl)),
               .edition = {.number = std::move(*number), .made = *from},
               .next_update = *until,
               .signer = nullptr,
               .speaks_for = {},
               .file = {}};
}

}  // namespace

Verdict<Crl> parse_crl(Bytes der) {
    const ErrorQueueScope scope;
    if (auto strict = check_der(der, kCrlBytesMax, "CRL"); !strict) return tl::unexpected(strict.error());
    X509_CRL* raw = X509_CRL_new_ex(openssl_library(), nullptr);
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    if (raw) d2i_X509_CRL(&raw, &at, static_cast<long>(der.size()));  // a failure frees it
    if (!raw) return refuse(Refusal::malformed, "CRL: is not a certificate revocation list");
    return check(CrlPtr(raw));
}

Verdict<std::vector<Crl>> parse_crls(std::string_view text, std::size_t count_max) {
    std::vector<PemBlock> blocks;
    if (text.find("-----BEGIN ") == std::string_view::npos) {
        blocks.push_back({"X509 CRL", std::string(text)});
    } else {
        auto read = read_pem(text, count_max, "CRL");
        if (!read) return tl::unexpected(read.error());
        blocks = std::move(*read);
    }
    if (blocks.empty()) return refuse(Refusal::malformed, "CRL: holds neither DER nor PEM");
    std::vector<Crl> crls;
    for (const PemBlock& block : blocks) {
        if (block.label != "X509 CRL")
            return refuse(Refusal::malformed, "CRL: holds a block of " + printable(block.label) +
                                                  ", only X509 CRL belongs there");
        auto crl = parse_crl(bytes_of(block.der));
        if (!crl) return tl::unexpected(crl.error());
        crls.push_back(std::move(*crl));
    }
    return crls;
}

bool lists(const Crl& crl, const ASN1_INTEGER* serial) {
    // It takes its first argument without const, and writes to it under a lock of its own only.
    X509_REVOKED* entry = nullptr;
    return X509_CRL_get0_by_serial(crl.x509_crl.get(), &entry, serial) != 0;
}

}  // namespace vern::trust
