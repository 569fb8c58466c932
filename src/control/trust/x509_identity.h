// What a certificate says of its holder.
#pragma once

#include "control/trust/certificate.h"

namespace vern::trust {

inline constexpr std::size_t kNamesMax = 64;  // organisational units, and alternative names, each

// Subject, alternative names, serial number, key and the certificate's own times. `issuer` is the certificate
// that signed it. Refuses with `malformed` two common names and alternative names that are not printable
// ASCII, and `too_large` more names than kNamesMax. Names of kinds that Identity has no word for are left
// out.
Verdict<Identity> identity_of(const Certificate& leaf, const X509* issuer);

}  // namespace vern::trust
