// A certificate revocation list (RFC 5280 5), read strictly: DER, full (no delta, no part of one by an
// issuing distribution point), of no critical extensions that mean something unknown, with a time of the next
// one. Who signed it is for x509_trust.h.
//
// Threads: a value that is cheap to copy and may be used by several at once.
#pragma once

#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "control/trust/certificate.h"
#include "control/trust/der.h"
#include "control/trust/edition.h"
#include "control/trust/identity.h"
#include "control/trust/refusal.h"

namespace vern::trust {

inline constexpr std::size_t kCrlBytesMax = std::size_t{8} << 20;

struct Crl {
    std::shared_ptr<X509_CRL> x509_crl;  // for OpenSSL's functions; never changed
    std::string issuer;                  // RFC 2253
    Edition edition;                     // crlNumber in lower-case hexadecimal, thisUpdate
    UnixSeconds next_update = 0;         // the first second that it is stale
    std::shared_ptr<X509> signer;  // the CA certificate whose key signed it; nullptr: nobody has looked yet
    Issuer speaks_for;             // its name, and the signer's key
    std::string file;              // the name of what held it, for sentences; empty: it has none
};

// `text` is one DER object or PEM of one or more. Refuses with crl_invalid, weak_hash, too_large, malformed.
Verdict<std::vector<Crl>> parse_crls(std::string_view text, std::size_t count_max);
Verdict<Crl> parse_crl(Bytes der);

// By serial number; whether certificate and list are of the same issuer is for the caller to know.
bool lists(const Crl& crl, const ASN1_INTEGER* serial);

}  // namespace vern::trust
