#include "control/trust/ssh_trust.h"

#include <algorithm>

namespace vern::trust {

Verdict<SshTrust> SshTrust::make(std::vector<SshCa> cas) {
    if (cas.size() > kSshCasMax) return refuse(Refusal::limit, "more than 256 SSH CAs");
    SshTrust trust;
    for (SshCa& ca : cas) {
        if (trust.find(ca.key) != nullptr)
            return refuse(Refusal::duplicate, "the CA " + ca.key.fingerprint() + " is there twice");
        trust.cas_.push_back(std::move(ca));
    }
    return trust;
}

const SshCa* SshTrust::find(const SshPublicKey& key) const noexcept {
    const auto ca =
        std::find_if(cas_.begin(), cas_.end(), [&](const SshCa& known) { return known.key == key; });
    return ca == cas_.end() ? nullptr : &*ca;
}

}  // namespace vern::trust
