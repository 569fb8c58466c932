// Whom to believe about X.509 certificates: CAs of the operator's, each with its revocation lists and the
// groups that its identities get.
//
// Threads: a loaded CA is immutable and shared; a change makes a new X509Trust.
#pragma once

#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "control/trust/certificate.h"
#include "control/trust/crl.h"

namespace vern::trust {

inline constexpr std::size_t kCaCertificatesMax = 32;
inline constexpr std::size_t kCrlsMax = 32;
// How far a certificate's or list's beginning may lie ahead of our clock. An end is never stretched.
inline constexpr UnixSeconds kNotBeforeSkewSeconds = 60;

// As an operator gives it.
struct X509CaText {
    std::string certificates;              // PEM
    std::vector<std::string> crls;         // each PEM of one or more, or one in DER
    std::vector<std::string> crl_files{};  // their names, for sentences, as far as they have any
    std::vector<std::string> groups;       // that every identity of this CA is in
    std::string name{};                    // under which it is trusted here
};

struct X509Ca {
    // Each is an anchor: a chain ends at the first of these that it meets, self-signed or not.
    std::vector<Certificate> certificates;
    // At most one of an issuer's key. Not empty: every certificate below the anchors must be covered by one.
    std::vector<Crl> crls;
    std::vector<std::string> groups;
    std::string name;
    std::shared_ptr<X509_STORE> store;  // of `certificates`, for OpenSSL; never changed
    std::vector<std::string> anchors;   // anchor_digest() of each, sorted
    std::string anchor_set;             // SHA-256 of those
    std::vector<std::uint32_t> names;   // name_hash() of each subject, sorted

    bool has_anchor(const std::string& digest) const;
    // False: no chain ends here in which an issuer of one of these names is all that could be the anchor.
    bool may_end(const std::vector<std::uint32_t>& issuers) const;
};

struct X509Trust {
    std::vector<std::shared_ptr<const X509Ca>> cas;
};

// Takes all of it or nothing. Refuses certificates that are not CA certificates (not_ca: basic constraints,
// critical, say CA; key usage says keyCertSign) or that a list of this CA revokes; lists whose issuer is none
// of the certificates, that it did not sign or may not sign (crl_invalid), that are stale at `now`
// (crl_expired), and two lists of one issuer (duplicate). A certificate's own end is looked at when it is
// used.
Verdict<std::shared_ptr<const X509Ca>> load_x509_ca(const X509CaText& text, UnixSeconds now);

// The list that speaks for certificates which this issuer signed; nullptr if there is none.
const Crl* crl_of(const X509Ca& ca, const Issuer& issuer);

}  // namespace vern::trust
