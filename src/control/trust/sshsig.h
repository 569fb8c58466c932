// Signatures of `ssh-keygen -Y sign` (PROTOCOL.sshsig), version 1, binary or armoured. The key in one may be
// a certificate (`-f id-cert.pub`): then whoever verifies learns the signer's certificate with the signature.
//
// Stricter than ssh-keygen -Y verify: what ssh_key.h and ssh_certificate.h ask holds here too, the armour is
// exactly the one that ssh-keygen writes, and its base64 has no second spelling.
//
// Threads: any; values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/trust/ssh_certificate.h"
#include "control/trust/ssh_key.h"

namespace vern::trust {

inline constexpr std::size_t kSshsigBytesMax = std::size_t{80} * 1024;
inline constexpr std::size_t kSshsigTextBytesMax = std::size_t{128} * 1024;

struct Sshsig {
    SshPublicKey key;  // that signed: the certified one if there is a certificate
    std::optional<SshCertificate> certificate;
    std::string namespace_;  // not empty
    std::string reserved;    // signed, and ignored
    std::string hash;        // "sha256" or "sha512"
    std::string signature;
};

// Refusals: malformed, too_large, weak_hash, and those of the key or certificate inside.
Verdict<Sshsig> parse_sshsig(Bytes bytes);
// Armoured: "-----BEGIN SSH SIGNATURE-----" and so on.
Verdict<Sshsig> parse_sshsig_text(std::string_view text);

// Whether the key signed this message for this purpose. Refusals: namespace_, weak_hash, bad_signature,
// malformed.
Verdict<void> verify_sshsig(const Sshsig& sshsig, std::string_view namespace_, Bytes message);
// The same, and the certificate that the signer showed, which is as yet only that: give it to
// verify_ssh_certificate. Refusal besides: cert_type (signed with a key alone).
Verdict<SshCertificate> verify_certified_sshsig(const Sshsig& sshsig, std::string_view namespace_,
                                                Bytes message);

}  // namespace vern::trust
