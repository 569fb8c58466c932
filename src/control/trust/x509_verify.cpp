#include "control/trust/x509_verify.h"

#include <openssl/x509v3.h>

#include <algorithm>

#include "control/trust/openssl_handles.h"
#include "control/trust/signature_algorithm.h"
#include "control/trust/x509_identity.h"
#include "control/trust/x509_refusal.h"
#include "crypto/openssl.h"

namespace vern::trust {
namespace {

using ContextPtr = std::unique_ptr<X509_STORE_CTX, OpensslFree<X509_STORE_CTX_free>>;

constexpr int kSecurityLevel = 2;  // 112 bits

struct Question {
    const Certificate& leaf;
    std::span<const Certificate> intermediates;
    UnixSeconds now;
    UnixSeconds skew;
};

Verdict<void> check_leaf(const Certificate& leaf) {
    const std::string subject = subject_text(leaf.x509.get());
    if (is_ca(leaf)) return refuse(Refusal::purpose, subject + ": is a CA, which is no identity");
    const auto flags = X509_get_extension_flags(leaf.x509.get());
    const auto usage = X509_get_extended_key_usage(leaf.x509.get());
    if ((flags & EXFLAG_XKUSAGE) == 0 || (usage & XKU_SSL_CLIENT) == 0)
        return refuse(Refusal::purpose, subject + ": its extended key usage does not say clientAuth");
    return {};
}

// Times are judged afterwards, to the second and with a skew. OpenSSL still sees them, and prefers a valid
// one of several CAs of one name.
int pass_over_times(int good, X509_STORE_CTX* context) {
    const int error = X509_STORE_CTX_get_error(context);
    return good == 1 || error == X509_V_ERR_CERT_NOT_YET_VALID || error == X509_V_ERR_CERT_HAS_EXPIRED;
}

Verdict<ContextPtr> prepare(const X509Ca& ca, const Question& question, STACK_OF(X509) * intermediates) {
    ContextPtr context(X509_STORE_CTX_new_ex(openssl_library(), nullptr));
    if (!context ||
        X509_STORE_CTX_init(context.get(), ca.store.get(), question.leaf.x509.get(), intermediates) != 1)
        return refuse(Refusal::limit, "certificate: no memory to verify it");
    X509_VERIFY_PARAM* const parameters = X509_STORE_CTX_get0_param(context.get());
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_SSL_CLIENT);
    X509_VERIFY_PARAM_set_depth(parameters, kDepthMax);
    X509_VERIFY_PARAM_set_auth_level(parameters, kSecurityLevel);
    X509_VERIFY_PARAM_set_time(parameters, question.now);
    X509_STORE_CTX_set_verify_cb(context.get(), pass_over_times);
    return context;
}

Verdict<void> check_times(const X509* x509, const Question& question, Identity& identity) {
    const auto from = unix_seconds(X509_get0_notBefore(x509));
    const auto until = unix_seconds(X509_get0_notAfter(x509));
    if (!from || !until) return refuse(Refusal::malformed, subject_text(x509) + ": its times are no times");
    if (*from > question.now + question.skew)
        return refuse(Refusal::not_yet_valid, subject_text(x509) + ": is not valid yet");
    if (*until < question.now) return refuse(Refusal::expired, subject_text(x509) + ": has expired");
    identity.not_before = std::max(identity.not_before, *from);
    identity.not_after = std::min(identity.not_after, *until + 1);
    return {};
}

Verdict<void> check_revocation(const X509Ca& ca, const X509* x509, const X509* issuer, UnixSeconds now,
                               Identity& identity) {
    if (ca.crls.empty()) return {};
    const std::string subject = subject_text(x509);
    const Crl* const crl = crl_of(ca, issuer);
    if (!crl) return refuse(Refusal::crl_invalid, subject + ": there is no CRL of its issuer");
    if (lists(*crl, x509)) return refuse(Refusal::revoked, subject + ": is revoked");
    if (crl->next_update <= now)
        return refuse(Refusal::crl_expired, subject + ": the CRL of its issuer is stale");
    identity.not_after = std::min(identity.not_after, crl->next_update);
    return {};
}

Verdict<void> check_chain(const X509Ca& ca, STACK_OF(X509) * chain, const Question& question,
                          Identity& identity) {
    const int anchor = sk_X509_num(chain) - 1;
    // Revocation first, and from the anchor down: it is what must be told whatever else is wrong.
    for (int i = anchor - 1; i >= 0; --i) {
        const X509* const x509 = sk_X509_value(chain, i);
        if (auto good = check_revocation(ca, x509, sk_X509_value(chain, i + 1), question.now, identity);
            !good)
            return good;
        const X509_ALGOR* algorithm = nullptr;
        X509_get0_signature(nullptr, &algorithm, x509);
        if (!is_strong_signature(*algorithm))
            return refuse(Refusal::weak_hash,
                          subject_text(x509) + ": is signed with an algorithm that is not taken");
    }
    for (int i = 0; i <= anchor; ++i) {
        if (auto good = check_times(sk_X509_value(chain, i), question, identity); !good) return good;
    }
    return {};
}

Verdict<Identity> verify_by(const X509Ca& ca, const Question& question) {
    const X509ListPtr intermediates(sk_X509_new_null());
    for (const Certificate& certificate : question.intermediates) {
        if (!intermediates || sk_X509_push(intermediates.get(), certificate.x509.get()) <= 0)
            return refuse(Refusal::limit, "certificate: no memory to verify it");
    }
    const auto context = prepare(ca, question, intermediates.get());
    if (!context) return tl::unexpected(context.error());
    if (X509_verify_cert(context->get()) != 1)
        return tl::unexpected(refused_by_openssl(X509_STORE_CTX_get_error(context->get()),
                                                 X509_STORE_CTX_get_current_cert(context->get())));
    STACK_OF(X509)* const chain = X509_STORE_CTX_get0_chain(context->get());
    // A leaf that is itself the anchor was signed by nobody that is trusted; CAs alone are anchors.
    if (sk_X509_num(chain) < 2)
        return refuse(Refusal::chain, subject_text(question.leaf.x509.get()) + ": no CA signed it");
    auto identity = identity_of(question.leaf, sk_X509_value(chain, 1));
    if (!identity) return identity;
    if (auto good = check_chain(ca, chain, question, *identity); !good) return tl::unexpected(good.error());
    identity->groups = ca.groups;
    identity->authority = ca.name;
    return identity;
}

}  // namespace

Verdict<Identity> verify_x509(const Certificate& leaf, std::span<const Certificate> intermediates,
                              const X509Trust& trust, UnixSeconds now, UnixSeconds not_before_skew) {
    const ErrorQueueScope scope;
    if (auto fit = check_leaf(leaf); !fit) return tl::unexpected(fit.error());
    if (intermediates.size() > kIntermediatesMax)
        return refuse(Refusal::too_large, subject_text(leaf.x509.get()) + ": more than 8 intermediates");
    const Question question{leaf, intermediates, now, not_before_skew};
    Refused why{Refusal::unknown_ca, subject_text(leaf.x509.get()) + ": was signed by no CA that is trusted"};
    std::optional<Identity> taken;
    for (const auto& ca : trust.cas) {
        auto verdict = verify_by(*ca, question);
        if (verdict) {
            if (!taken) taken = std::move(*verdict);
        } else if (verdict.error().code == Refusal::revoked) {
            return verdict;
        } else if (why.code == Refusal::unknown_ca) {
            why = std::move(verdict.error());
        }
    }
    if (!taken) return tl::unexpected(std::move(why));
    return std::move(*taken);
}

}  // namespace vern::trust
