// OpenSSL's verdict on a chain, in our words.
#pragma once

#include <openssl/x509.h>

#include "control/trust/refusal.h"

namespace vern::trust {

// `error` is an X509_V_ERR_*, `at` the certificate that it was found at (nullptr: none in particular).
Refused refused_by_openssl(int error, const X509* at);

// The X509_V_ERR_* whose TLS alert fits best: libssl makes the alert of it.
int openssl_error_of(Refusal refusal) noexcept;

}  // namespace vern::trust
