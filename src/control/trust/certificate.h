// An X.509 certificate that is what RFC 5280 says, read strictly: everything that can be refused by looking
// at it alone is refused here. Nothing is said of who signed it.
//
// Refused beyond what OpenSSL refuses: what is not DER, also inside the extensions that decide something;
// versions other than 3; extensions that occur twice; critical extensions that are not enforced here (only
// key usage, extended key usage, basic constraints, alternative names and name constraints are); control
// characters, NUL among them, in names; RSA below 2048 or above 8192 bits or with an exponent that is even or
// 1; curves that are not named or not of the usual ones; DSA.
//
// Threads: a Certificate is a value that is cheap to copy and may be used by several at once.
#pragma once

#include <openssl/x509.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/trust/der.h"
#include "control/trust/identity.h"
#include "control/trust/refusal.h"
#include "crypto/keys.h"

namespace vern::trust {

inline constexpr std::size_t kCertificateBytesMax = 16 * 1024;

struct Certificate {
    std::shared_ptr<X509>
        x509;  // for OpenSSL's functions, most of which want it without const; never changed
    UnixSeconds not_before = 0;
    UnixSeconds not_after = 0;  // as in Identity: the first second that it is no longer good, notAfter + 1
};

Verdict<Certificate> parse_certificate(Bytes der);
std::string der_of(const X509* x509);
// One that OpenSSL has read already. What it took for DER is read again, strictly.
Verdict<Certificate> recheck_certificate(const X509* x509);
// The same of one that was read in certificate_library(): it is looked at in DER as strictly, but the object
// stays, as reading its key once more takes longer than verifying a signature with it. Nobody may change it
// any more.
Verdict<Certificate> take_certificate(std::shared_ptr<X509> x509);
// Every block of the text is a certificate, at least one and at most `count_max`.
Verdict<std::vector<Certificate>> parse_certificates(std::string_view pem, std::size_t count_max,
                                                     std::string_view what);

// RFC 2253, in printable ASCII, at most 256 characters and then "...": for sentences.
std::string name_text(const X509_NAME* name);
std::string subject_text(const X509* x509);
// RFC 2253, in printable ASCII, whole: as Identity has it.
std::string name_rfc2253(const X509_NAME* name);

// nullopt: no such time.
std::optional<UnixSeconds> unix_seconds(const ASN1_TIME* time);
// Lower-case hexadecimal without leading zeros; nullopt: negative or longer than RFC 5280's 20 bytes.
std::optional<std::string> serial_text(const ASN1_INTEGER* serial);

// "SHA256:" + lower-case hexadecimal, of the SubjectPublicKeyInfo.
std::string key_fingerprint(const X509* x509);

// Whose signature it is that a certificate or list bears: one name may have several keys, and one key several
// certificates.
struct Issuer {
    std::string name;  // DER
    std::string key;   // key_fingerprint()
};
Issuer issuer_of(const X509* ca);  // of what this CA signs
bool same_name(const Issuer& issuer, const X509_NAME* name);

// Of the whole certificate: SHA-256.
std::string anchor_digest(const X509* x509);
// Equal names have equal hashes, however they are written.
std::uint32_t name_hash(const X509_NAME* name);

// The subject's key where it is an X25519 key (RFC 8410), so that certificate and peer have one key; else
// nullopt.
std::optional<PublicKey> x25519_key_of(const Certificate& certificate);
// Key usage, where there is one, allows signatures: what mTLS and signed statements need.
bool may_sign(const Certificate& certificate);
bool is_ca(const Certificate& certificate);

}  // namespace vern::trust
