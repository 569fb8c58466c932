// Which SSH certificate authorities are believed here, what they took back, and whom their certificates may
// name. A value: replaced whole, never changed. Threads: any.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/trust/krl.h"
#include "control/trust/principals.h"
#include "control/trust/ssh_key.h"

namespace vern::trust {

inline constexpr std::size_t kSshCasMax = 256;

struct SshCa {
    SshPublicKey key;
    std::optional<Krl> krl;                    // for what this CA signed
    std::optional<PrincipalsFile> principals;  // none: every principal that a certificate names
    std::vector<std::string> groups;           // of everybody whom it certifies
    std::string name{};                        // under which it is trusted here
};

class SshTrust {
  public:
    SshTrust() = default;
    // Refusals: duplicate (a CA that is there twice, perhaps once without its KRL), limit.
    static Verdict<SshTrust> make(std::vector<SshCa> cas);

    const SshCa* find(const SshPublicKey& key) const noexcept;  // lives as long as this
    const std::vector<SshCa>& cas() const noexcept { return cas_; }

  private:
    std::vector<SshCa> cas_;
};

}  // namespace vern::trust
