// A chain of X.509 certificates whose signatures were verified up to an anchor (x509_verify.h), and what of
// it time and revocation lists still decide. It stays verified for as long as its anchor is trusted: neither
// certificates nor signatures change.
//
// Threads: a value that is cheap to copy and may be used by several at once.
#pragma once

#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "control/trust/identity.h"
#include "control/trust/refusal.h"
#include "control/trust/x509_trust.h"

namespace vern::trust {

struct X509Path {
    struct Link {
        std::string subject;  // for sentences
        UnixSeconds not_before = 0;
        UnixSeconds not_after = 0;                   // the first second that it is no longer good
        std::shared_ptr<const ASN1_INTEGER> serial;  // not of the anchor
        Issuer issuer;                               // not of the anchor
    };
    std::vector<Link> links;  // the leaf first, the anchor last
    std::string anchor;       // anchor_digest()
    std::string anchor_set;   // X509Ca's, among which this one was found
    std::string issuer_name;  // of the leaf's issuer, RFC 2253
};

// `chain` is OpenSSL's, verified by this CA. Refuses with `malformed` times that are no times, and `limit`.
Verdict<X509Path> path_of(STACK_OF(X509) * chain, const X509Ca& ca);

// All but the anchor, from the anchor down: revoked, crl_expired, or crl_invalid (a list is missing). Narrows
// the identity's end to those of the lists.
Verdict<void> check_revocation(const X509Path& path, const X509Ca& ca, UnixSeconds now, Identity& identity);
// All of it: not_yet_valid, expired. Narrows the identity's times to those of the path.
Verdict<void> check_times(const X509Path& path, UnixSeconds now, UnixSeconds skew, Identity& identity);

}  // namespace vern::trust
