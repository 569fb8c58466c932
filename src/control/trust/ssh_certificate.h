// OpenSSH certificates (PROTOCOL.certkeys): the *-cert-v01@openssh.com types of the keys that ssh_key.h
// takes, read strictly and verified against the CAs that are trusted here.
//
// Stricter than ssh-keygen and sshd, because a tunnel cannot do what a login can, and one certificate has one
// spelling:
//   - Every critical option that is not source-address is refused: force-command and verify-required cannot
//   be
//     enforced here (ssh-keygen -Y verify ignores every critical option).
//   - A certificate without principals is refused, not good for everybody.
//   - Options and extensions must be sorted and not repeated; names hold no NUL (OpenSSH drops one at the
//   end)
//     and no control characters; a network in source-address has no host bits; nothing follows the end.
//   - A certificate that could never be valid (after >= before) is malformed, so that no skew revives it.
//   - No SHA-1 in the CA's signature, and all that ssh_key.h asks of both keys.
//
// Threads: any; values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/trust/identity.h"
#include "control/trust/ssh_key.h"
#include "dataplane/base/address.h"

namespace vern::trust {

class SshTrust;

inline constexpr std::size_t kSshCertificateBytesMax = std::size_t{64} * 1024;
inline constexpr std::size_t kSshPrincipalsMax = 256;  // of one certificate, as in OpenSSH
inline constexpr std::size_t kSshOptionsMax = 256;
inline constexpr UnixSeconds kSshSkewSeconds = 60;

struct SshOption {
    std::string name;
    std::string data;  // as in the certificate: empty, or a value in its wire form
};

struct SshCertificate {
    enum class Role : std::uint8_t { user = 1, host = 2 };

    SshPublicKey key;
    std::uint64_t serial = 0;
    Role role = Role::user;
    std::string key_id;
    std::vector<std::string> principals;
    UnixSeconds valid_after = 0;
    UnixSeconds valid_before = 0;  // the first second that it is no longer good; "forever" is INT64_MAX
    std::vector<SshOption> critical_options;
    std::vector<SshOption> extensions;
    SshPublicKey ca;
    std::string signed_bytes;
    std::string signature;
};

// Says only that the bytes are a certificate, not that anybody signed it. Refusals: malformed, too_large,
// cert_type, weak_key, ca_is_cert.
Verdict<SshCertificate> parse_ssh_certificate(Bytes bytes);
// As in a -cert.pub file.
Verdict<SshCertificate> parse_ssh_certificate_line(std::string_view line);

// Whether a CA that is trusted here says now who has the certificate's key. `source` is the address that the
// peer has inside the tunnel. A clock that is behind the CA's is forgiven `skew` seconds, at the beginning
// only. Refusals, in the order in which they are looked for: unknown_ca, weak_hash or bad_signature,
// cert_type, unknown_critical, source_address (or malformed, too_large: what that option holds),
// not_yet_valid, expired, revoked, empty_principals, principal.
Verdict<Identity> verify_ssh_certificate(const SshCertificate& certificate, const SshTrust& trust,
                                         UnixSeconds now, const std::optional<IpAddress>& source,
                                         UnixSeconds skew = kSshSkewSeconds);
// The same of a certificate that was verified before, by the same CA key, and kept since: all but the
// signature is looked at again.
Verdict<Identity> verify_ssh_certificate_again(const SshCertificate& certificate, const SshTrust& trust,
                                               UnixSeconds now, const std::optional<IpAddress>& source);

}  // namespace vern::trust
