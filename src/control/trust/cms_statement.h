// A statement signed with `openssl cms -sign -nodetach -binary -outform DER` or PEM (RFC 5652): the content,
// one signature over it, and the signer's certificates, all in one object.
//
// Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "control/trust/x509_verify.h"

namespace vern::trust {

inline constexpr std::size_t kCmsBytesMax = 64 * 1024;

struct SignedContent {
    VerifiedX509 signer;  // as verify_x509_to_keep says
    std::string content;  // the bytes that were signed, at most kStatementBytesMax; not yet looked into
};

// `text` is DER or PEM ("CMS" or "PKCS7"). Beyond a good signature it has to have: DER throughout; content of
// kind data, within; exactly one signer, with signed attributes, whose certificate is within and may sign; no
// SHA-1. The chain is verified as verify_x509 does and by nothing else; lists that come within are not used.
Verdict<SignedContent> open_cms_statement(std::string_view text, const X509Trust& trust, UnixSeconds now);

}  // namespace vern::trust
