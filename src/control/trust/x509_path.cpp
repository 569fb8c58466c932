#include "control/trust/x509_path.h"

#include <algorithm>

#include "control/trust/openssl_handles.h"

namespace vern::trust {
namespace {

Verdict<X509Path::Link> link_of(const X509* x509) {
    const auto from = unix_seconds(X509_get0_notBefore(x509));
    const auto until = unix_seconds(X509_get0_notAfter(x509));
    if (!from || !until) return refuse(Refusal::malformed, subject_text(x509) + ": its times are no times");
    return X509Path::Link{.subject = subject_text(x509),
                          .not_before = *from,
                          .not_after = *until + 1,
                          .serial = {},
                          .issuer = {}};
}

}  // namespace

Verdict<X509Path> path_of(STACK_OF(X509) * chain, const X509Ca& ca) {
    X509Path path;
    const int anchor = sk_X509_num(chain) - 1;
    for (int i = 0; i <= anchor; ++i) {
        const X509* const x509 = sk_X509_value(chain, i);
        auto link = link_of(x509);
        if (!link) return tl::unexpected(link.error());
        if (i < anchor) {
            link->issuer = issuer_of(sk_X509_value(chain, i + 1));
            link->serial = {ASN1_INTEGER_dup(X509_get0_serialNumber(x509)), OpensslFree<ASN1_INTEGER_free>()};
            if (!link->serial) return refuse(Refusal::limit, "certificate: no memory to keep it");
        }
        path.links.push_back(std::move(*link));
    }
    path.anchor = anchor_digest(sk_X509_value(chain, anchor));
    path.anchor_set = ca.anchor_set;
    path.issuer_name = name_rfc2253(X509_get_subject_name(sk_X509_value(chain, std::min(1, anchor))));
    return path;
}

Verdict<void> check_revocation(const X509Path& path, const X509Ca& ca, UnixSeconds now, Identity& identity) {
    if (ca.crls.empty()) return {};
    for (std::size_t i = path.links.size() - 1; i-- > 0;) {
        const X509Path::Link& link = path.links[i];
        const Crl* const crl = crl_of(ca, link.issuer);
        if (!crl) return refuse(Refusal::crl_invalid, link.subject + ": there is no CRL of its issuer");
        if (lists(*crl, link.serial.get())) return refuse(Refusal::revoked, link.subject + ": is revoked");
        if (crl->next_update <= now)
            return refuse(Refusal::crl_expired, link.subject + ": the CRL of its issuer is stale");
        identity.not_after = std::min(identity.not_after, crl->next_update);
    }
    return {};
}

Verdict<void> check_times(const X509Path& path, UnixSeconds now, UnixSeconds skew, Identity& identity) {
    for (const X509Path::Link& link : path.links) {
        if (link.not_before > now + skew)
            return refuse(Refusal::not_yet_valid, link.subject + ": is not valid yet");
        if (link.not_after <= now) return refuse(Refusal::expired, link.subject + ": has expired");
        identity.not_before = std::max(identity.not_before, link.not_before);
        identity.not_after = std::min(identity.not_after, link.not_after);
    }
    return {};
}

}  // namespace vern::trust
