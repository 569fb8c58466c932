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
    const auto subject = [&] { return subject_text(leaf.x509.get()); };
    if (is_ca(leaf)) return refuse(Refusal::purpose, subject() + ": is a CA, which is no identity");
    const auto flags = X509_get_extension_flags(leaf.x509.get());
    const auto usage = X509_get_extended_key_usage(leaf.x509.get());
    if ((flags & EXFLAG_XKUSAGE) == 0 || (usage & XKU_SSL_CLIENT) == 0)
        return refuse(Refusal::purpose, subject() + ": its extended key usage does not say clientAuth");
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

// Below the anchor, whose own signature says nothing.
Verdict<void> check_signatures(STACK_OF(X509) * chain) {
    for (int i = 0; i < sk_X509_num(chain) - 1; ++i) {
        const X509* const x509 = sk_X509_value(chain, i);
        const X509_ALGOR* algorithm = nullptr;
        X509_get0_signature(nullptr, &algorithm, x509);
        if (!is_strong_signature(*algorithm))
            return refuse(Refusal::weak_hash,
                          subject_text(x509) + ": is signed with an algorithm that is not taken");
    }
    return {};
}

// What this CA says of somebody whose path to one of its anchors is good. Revocation first: it is what must
// be told whatever else is wrong.
Verdict<Identity> identity_by(const X509Ca& ca, const X509Path& path, Identity identity, UnixSeconds now,
                              UnixSeconds skew) {
    identity.issuer = path.issuer_name;
    identity.groups = ca.groups;
    identity.authority = ca.name;
    identity.not_before = path.links.front().not_before;
    identity.not_after = path.links.front().not_after;
    if (auto good = check_revocation(path, ca, now, identity); !good) return tl::unexpected(good.error());
    if (auto good = check_times(path, now, skew, identity); !good) return tl::unexpected(good.error());
    return identity;
}

struct Found {
    Identity identity;
    X509Path path;
};

Verdict<Found> verify_by(const X509Ca& ca, const Question& question) {
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
    auto path = path_of(chain, ca);
    if (!path) return tl::unexpected(path.error());
    auto said = identity_of(question.leaf, sk_X509_value(chain, 1));
    if (!said) return tl::unexpected(said.error());
    auto identity = identity_by(ca, *path, std::move(*said), question.now, question.skew);
    if (!identity && identity.error().code == Refusal::revoked) return tl::unexpected(identity.error());
    if (auto strong = check_signatures(chain); !strong) return tl::unexpected(strong.error());
    if (!identity) return tl::unexpected(identity.error());
    return Found{std::move(*identity), std::move(*path)};
}

// One that knows of a revocation is believed against all others; else the first that takes the leaf counts.
template <typename Ask, typename Subject>
Verdict<Identity> ask_each(const X509Trust& trust, Ask ask, Subject subject) {
    std::optional<Refused> why;
    std::optional<Identity> taken;
    for (const auto& ca : trust.cas) {
        Verdict<Identity> verdict = ask(*ca);
        if (verdict) {
            if (!taken) taken = std::move(*verdict);
        } else if (verdict.error().code == Refusal::revoked) {
            return verdict;
        } else if (!why || why->code == Refusal::unknown_ca) {
            why = std::move(verdict.error());
        }
    }
    if (taken) return std::move(*taken);
    if (why) return tl::unexpected(std::move(*why));
    return refuse(Refusal::unknown_ca, subject() + ": was signed by no CA that is trusted");
}

X509Evidence evidence_of(const Certificate& leaf, std::span<const Certificate> intermediates) {
    X509Evidence evidence;
    const auto add = [&](const Certificate& certificate) {
        evidence.certificates.push_back(der_of(certificate.x509.get()));
        evidence.issuers.push_back(name_hash(X509_get_issuer_name(certificate.x509.get())));
    };
    add(leaf);
    for (const Certificate& certificate : intermediates) add(certificate);
    return evidence;
}

Verdict<std::vector<Certificate>> read_certificates(const X509Evidence& evidence) {
    std::vector<Certificate> certificates;
    for (const std::string& der : evidence.certificates) {
        auto certificate = parse_certificate(bytes_of(der));
        if (!certificate) return tl::unexpected(certificate.error());
        certificates.push_back(std::move(*certificate));
    }
    if (certificates.empty()) return refuse(Refusal::malformed, "no certificate");
    return certificates;
}

// nullopt: it takes another look at the certificates. Among the same anchors the same path would be found, so
// what it says is said. Among others it is a good path still, if it is; but where it is not, there may be
// another.
std::optional<Verdict<Identity>> by_known_path(const X509Evidence& evidence, const Identity& identity,
                                               const X509Ca& ca, UnixSeconds now) {
    const X509Path* known = nullptr;
    for (const X509Path& path : evidence.paths) {
        if (ca.has_anchor(path.anchor) && (!known || path.anchor_set == ca.anchor_set)) known = &path;
    }
    if (!known) return std::nullopt;
    auto verdict = identity_by(ca, *known, identity, now, kNotBeforeSkewSeconds);
    if (!verdict && known->anchor_set != ca.anchor_set) return std::nullopt;
    return verdict;
}

// With signatures; what is found is kept in the place of what was.
Verdict<Identity> verify_anew(X509Evidence& evidence, const X509Ca& ca, UnixSeconds now) {
    const auto certificates = read_certificates(evidence);
    if (!certificates) return tl::unexpected(certificates.error());
    auto found = verify_by(
        ca, {certificates->front(), std::span(*certificates).subspan(1), now, kNotBeforeSkewSeconds});
    if (!found) return tl::unexpected(found.error());
    std::erase_if(evidence.paths, [&](const X509Path& path) {
        return path.anchor == found->path.anchor || path.anchor_set == found->path.anchor_set;
    });
    evidence.paths.push_back(std::move(found->path));
    return std::move(found->identity);
}

}  // namespace

Verdict<VerifiedX509> verify_x509_to_keep(const Certificate& leaf, std::span<const Certificate> intermediates,
                                          const X509Trust& trust, UnixSeconds now, UnixSeconds skew) {
    const ErrorQueueScope scope;
    if (auto fit = check_leaf(leaf); !fit) return tl::unexpected(fit.error());
    if (intermediates.size() > kIntermediatesMax)
        return refuse(Refusal::too_large, subject_text(leaf.x509.get()) + ": more than 8 intermediates");
    VerifiedX509 verified{.identity = {}, .evidence = evidence_of(leaf, intermediates)};
    const auto ask = [&](const X509Ca& ca) -> Verdict<Identity> {
        auto found = verify_by(ca, {leaf, intermediates, now, skew});
        if (!found) return tl::unexpected(found.error());
        verified.evidence.paths.push_back(std::move(found->path));
        return std::move(found->identity);
    };
    auto identity = ask_each(trust, ask, [&] { return subject_text(leaf.x509.get()); });
    if (!identity) return tl::unexpected(identity.error());
    verified.identity = std::move(*identity);
    return verified;
}

Verdict<Identity> verify_x509(const Certificate& leaf, std::span<const Certificate> intermediates,
                              const X509Trust& trust, UnixSeconds now, UnixSeconds skew) {
    auto verified = verify_x509_to_keep(leaf, intermediates, trust, now, skew);
    if (!verified) return tl::unexpected(verified.error());
    return std::move(verified->identity);
}

Verdict<Identity> verify_x509_again(X509Evidence& evidence, const Identity& identity, const X509Trust& trust,
                                    UnixSeconds now) {
    const ErrorQueueScope scope;
    std::erase_if(evidence.paths, [&](const X509Path& path) {
        return std::ranges::none_of(trust.cas, [&](const auto& ca) { return ca->has_anchor(path.anchor); });
    });
    const auto ask = [&](const X509Ca& ca) -> Verdict<Identity> {
        if (auto verdict = by_known_path(evidence, identity, ca, now)) return std::move(*verdict);
        if (!ca.may_end(evidence.issuers))
            return refuse(Refusal::unknown_ca, "the certificate was signed by no CA that is trusted");
        return verify_anew(evidence, ca, now);
    };
    return ask_each(trust, ask, [] { return std::string("the certificate"); });
}

}  // namespace vern::trust
