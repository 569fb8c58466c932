// Which signature algorithms of X.509 and CMS (RFC 5280, 4055, 5758, 8410) are taken: those with SHA-2 of at
// least 256 bits or SHA-3, and EdDSA. Not SHA-1, not MD5, in none of their places.
#pragma once

#include <openssl/x509.h>

namespace vern::trust {

bool is_strong_hash(int nid) noexcept;
bool is_strong_signature(const X509_ALGOR& algorithm) noexcept;

}  // namespace vern::trust
