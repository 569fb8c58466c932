// Verification of X.509 proofs of identity (RFC 5280 6), stricter than OpenSSL's own; see certificate.h for
// what a certificate alone must be. Over a chain: X509_V_FLAG_X509_STRICT; security level 2; no SHA-1 or MD5
// below the anchor (an anchor's own signature says nothing and is not looked at); purpose clientAuth, which
// the leaf's extended key usage has to name; a leaf that is no CA; path length, depth and name constraints;
// and, where the CA has revocation lists, all of the chain below the anchor covered by them. Revocation goes
// by issuer and serial number. OCSP and policies (RFC 5280 6.1.1 c, e-g) are not done.
//
// Times: a certificate is good from notBefore, less the skew, through all of the second notAfter (RFC 5280
// 4.1.2.5), so the first second that it is no longer good, which Identity::not_after says, is notAfter + 1. A
// list is good until the second nextUpdate begins. Ends know no skew. `now` is the only clock.
//
// Threads: any; the trust is only read.
#pragma once

#include <span>

#include "control/trust/certificate.h"
#include "control/trust/identity.h"
#include "control/trust/refusal.h"
#include "control/trust/x509_path.h"
#include "control/trust/x509_trust.h"

namespace vern::trust {

inline constexpr std::size_t kIntermediatesMax = 8;  // that may be given
inline constexpr int kDepthMax = 4;                  // that a chain may have between leaf and anchor

// `intermediates` are what the leaf's holder sent: in any order, believed in nothing. Each CA of the trust is
// asked; one that knows of the leaf's revocation refuses it for all of them. Of several that take it the
// first counts. not_before of the identity is the greatest of the chain's, not_after the least of the chain's
// and of the lists'. Says nothing of who holds the key: that takes a signature of the leaf's.
Verdict<Identity> verify_x509(const Certificate& leaf, std::span<const Certificate> intermediates,
                              const X509Trust& trust, UnixSeconds now,
                              UnixSeconds not_before_skew = kNotBeforeSkewSeconds);

// What is kept of a verification, for when trust or lists change.
struct X509Evidence {
    std::vector<std::string> certificates;  // DER, the leaf first
    std::vector<std::uint32_t> issuers;     // name_hash() of the issuer of each
    std::vector<X509Path> paths;            // that were found, each to another anchor
};
struct VerifiedX509 {
    Identity identity;
    X509Evidence evidence;
};
Verdict<VerifiedX509> verify_x509_to_keep(const Certificate& leaf, std::span<const Certificate> intermediates,
                                          const X509Trust& trust, UnixSeconds now,
                                          UnixSeconds not_before_skew = kNotBeforeSkewSeconds);

// The same question by what is trusted now. A CA that has the anchor of a known path is asked for lists and
// times alone: no signature that was verified can have become another. One that has it not is asked in full,
// and so is one that has other anchors besides and refuses the known path, since there may be a better one
// now; but none of whose anchors bears the name of an issuer here: there no chain can end. So a change of
// lists costs lookups, and a CA that is gone takes its identities with it without a signature being looked
// at. `identity` is what was said before.
Verdict<Identity> verify_x509_again(X509Evidence& evidence, const Identity& identity, const X509Trust& trust,
                                    UnixSeconds now);

}  // namespace vern::trust
