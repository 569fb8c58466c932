#include "control/trust/x509_trust.h"

#include <openssl/x509v3.h>
#include <sodium.h>

#include <algorithm>

#include "control/trust/openssl_handles.h"

namespace vern::trust {
namespace {

using StorePtr = std::unique_ptr<X509_STORE, OpensslFree<X509_STORE_free>>;

bool is_of(const Crl& crl, const X509* issuer) {
    return X509_NAME_cmp(X509_CRL_get_issuer(crl.x509_crl.get()), X509_get_subject_name(issuer)) == 0;
}

std::string named(const Crl& crl) { return "CRL of " + name_text(X509_CRL_get_issuer(crl.x509_crl.get())); }

Verdict<void> check_is_ca(const Certificate& certificate) {
    X509* const x509 = certificate.x509.get();
    const std::string subject = subject_text(x509);
    const int at = X509_get_ext_by_NID(x509, NID_basic_constraints, -1);
    if (!is_ca(certificate) || at < 0 || X509_EXTENSION_get_critical(X509_get_ext(x509, at)) == 0)
        return refuse(Refusal::not_ca, subject + ": its basic constraints do not say CA, critical");
    const bool has_usage = (X509_get_extension_flags(x509) & EXFLAG_KUSAGE) != 0;
    if (!has_usage || (X509_get_key_usage(x509) & KU_KEY_CERT_SIGN) == 0)
        return refuse(Refusal::not_ca, subject + ": its key usage does not say keyCertSign");
    if (!X509_get0_subject_key_id(x509))
        return refuse(Refusal::not_ca, subject + ": has no subject key identifier");
    return {};
}

Verdict<void> check_times(const Crl& crl, UnixSeconds now) {
    if (crl.edition.made > now + kNotBeforeSkewSeconds)
        return refuse(Refusal::crl_invalid, named(crl) + ": is from the future");
    if (crl.next_update <= now) return refuse(Refusal::crl_expired, named(crl) + ": is stale");
    return {};
}

Verdict<std::shared_ptr<X509>> signer_of(const X509Ca& ca, const Crl& crl) {
    bool known = false;
    for (const Certificate& certificate : ca.certificates) {
        X509* const issuer = certificate.x509.get();
        if (!is_of(crl, issuer)) continue;
        known = true;
        if (X509_CRL_verify(crl.x509_crl.get(), X509_get0_pubkey(issuer)) != 1) continue;
        if ((X509_get_key_usage(issuer) & KU_CRL_SIGN) != 0) return certificate.x509;
        return refuse(Refusal::crl_invalid, named(crl) + ": its issuer may not sign CRLs");
    }
    return refuse(Refusal::crl_invalid,
                  named(crl) + (known ? ": its signature is not the issuer's"
                                      : ": its issuer is not among the CA certificates"));
}

Verdict<void> check_anchors(const X509Ca& ca) {
    for (const Certificate& certificate : ca.certificates) {
        for (const Certificate& issuer : ca.certificates) {
            if (X509_check_issued(issuer.x509.get(), certificate.x509.get()) != X509_V_OK) continue;
            const Crl* const crl = crl_of(ca, issuer_of(issuer.x509.get()));
            if (crl && lists(*crl, X509_get0_serialNumber(certificate.x509.get())))
                return refuse(Refusal::revoked, subject_text(certificate.x509.get()) + ": is revoked");
        }
    }
    return {};
}

Verdict<void> add_crls(X509Ca& ca, std::string_view text, std::string_view file, UnixSeconds now) {
    auto crls = parse_crls(text, kCrlsMax);
    if (!crls) return tl::unexpected(crls.error());
    for (Crl& crl : *crls) {
        if (auto times = check_times(crl, now); !times) return times;
        auto signer = signer_of(ca, crl);
        if (!signer) return tl::unexpected(signer.error());
        crl.speaks_for = issuer_of(signer->get());
        if (crl_of(ca, crl.speaks_for)) return refuse(Refusal::duplicate, named(crl) + ": there are two");
        crl.signer = std::move(*signer);
        crl.file = file;
        if (ca.crls.size() == kCrlsMax) return refuse(Refusal::too_large, "CRL: more than 32");
        ca.crls.push_back(std::move(crl));
    }
    return {};
}

std::string digest_of(const std::vector<std::string>& parts) {
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    for (const std::string& part : parts)
        crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(part.data()), part.size());
    std::string digest(crypto_hash_sha256_BYTES, '\0');
    crypto_hash_sha256_final(&state, reinterpret_cast<unsigned char*>(digest.data()));
    return digest;
}

StorePtr make_store(const std::vector<Certificate>& certificates) {
    StorePtr store(X509_STORE_new());
    for (const Certificate& certificate : certificates) {
        // It counts references of what it is given, and takes one certificate twice for once.
        if (!store || X509_STORE_add_cert(store.get(), certificate.x509.get()) != 1) return nullptr;
    }
    return store;
}

}  // namespace

Verdict<std::shared_ptr<const X509Ca>> load_x509_ca(const X509CaText& text, UnixSeconds now) {
    const ErrorQueueScope scope;
    auto certificates = parse_certificates(text.certificates, kCaCertificatesMax, "CA");
    if (!certificates) return tl::unexpected(certificates.error());
    auto ca = std::make_shared<X509Ca>();
    ca->certificates = std::move(*certificates);
    ca->groups = text.groups;
    ca->name = text.name;
    for (const Certificate& certificate : ca->certificates) {
        if (auto fit = check_is_ca(certificate); !fit) return tl::unexpected(fit.error());
        ca->anchors.push_back(anchor_digest(certificate.x509.get()));
        ca->names.push_back(name_hash(X509_get_subject_name(certificate.x509.get())));
    }
    std::ranges::sort(ca->anchors);
    ca->anchor_set = digest_of(ca->anchors);
    std::ranges::sort(ca->names);
    for (std::size_t i = 0; i < text.crls.size(); ++i) {
        const std::string_view file = i < text.crl_files.size() ? std::string_view(text.crl_files[i]) : "";
        if (auto added = add_crls(*ca, text.crls[i], file, now); !added)
            return tl::unexpected(in_file(file, added.error()));
    }
    if (auto anchors = check_anchors(*ca); !anchors) return tl::unexpected(anchors.error());
    ca->store = make_store(ca->certificates);
    if (!ca->store) return refuse(Refusal::limit, "CA: no memory for it");
    return ca;
}

bool X509Ca::has_anchor(const std::string& digest) const {
    return !digest.empty() && std::ranges::binary_search(anchors, digest);  // none: it could not be made
}

bool X509Ca::may_end(const std::vector<std::uint32_t>& issuers) const {
    return std::ranges::any_of(issuers, [&](auto one) { return std::ranges::binary_search(names, one); });
}

const Crl* crl_of(const X509Ca& ca, const Issuer& issuer) {
    const auto found = std::find_if(ca.crls.begin(), ca.crls.end(), [&](const Crl& crl) {
        return crl.speaks_for.key == issuer.key &&
               (crl.speaks_for.name == issuer.name ||
                same_name(issuer, X509_CRL_get_issuer(crl.x509_crl.get())));
    });
    return found == ca.crls.end() ? nullptr : &*found;
}

}  // namespace vern::trust
