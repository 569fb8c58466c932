// Key revocation lists of OpenSSH (PROTOCOL.krl, format 1), as `ssh-keygen -k` writes them.
//
// Stricter than ssh-keygen and sshd:
//   - An empty file is krl_invalid (sshd: nothing is revoked).
//   - Flags, which are all undefined, and unknown sections or critical extensions refuse the file, whichever
//     level they are on; lists of nothing, keys that are certificates (they could never match) and NULs in
//     key ids refuse it too.
//   - Serial 0 is revoked when a list says so (OpenSSH never revokes it, and can itself not read such a
//   list).
//   - The certified key, the CA's key, and the serial and key id under that CA are all looked for.
// A file with signature sections is refused, as OpenSSH since 9.4 does: it comes over a trusted way, or is
// signed with `ssh-keygen -Y sign`.
// The format cannot tell a list that ends between two sections from one that was cut there: a file is put in
// place whole, by renaming.
// An older list must not take the place of a newer one (OpenSSH does not care): that is for whoever keeps
// them to see, by edition().
//
// Threads: any; immutable, and copies share what it holds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "control/trust/edition.h"
#include "control/trust/identity.h"
#include "control/trust/ssh_certificate.h"
#include "control/trust/ssh_key.h"

namespace vern::trust {

inline constexpr std::size_t kKrlBytesMax = std::size_t{16} << 20;
inline constexpr std::size_t kKrlEntriesMax = std::size_t{1} << 20;  // keys, hashes, key ids and ranges
inline constexpr std::size_t kKrlCasMax = 4096;

class Krl {
  public:
    std::uint64_t version() const noexcept;  // krl_version: grows with each list of one kind
    Edition edition() const;                 // that, and when it was made

    bool revokes(const SshCertificate& certificate) const;
    bool revokes(const SshPublicKey& key) const;

    struct Lists;
    explicit Krl(std::shared_ptr<const Lists> lists) : lists_(std::move(lists)) {}

  private:
    std::shared_ptr<const Lists> lists_;
};

// All or nothing. Refusals: krl_invalid, too_large.
Verdict<Krl> parse_krl(Bytes bytes);

}  // namespace vern::trust
