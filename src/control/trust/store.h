// The CAs that one interface trusts, with what they took back, as the operator gave them; on disk in
// trust.json, whole or not at all, whatever ends the process. Control thread only; what ssh() and x509() give
// is immutable, and any thread's.
//
// Revocations do not go back: a KRL or CRL is replaced by none but a newer one, also when its CA was removed
// and is trusted again.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/state_directory.h"
#include "control/trust/refusal.h"
#include "control/trust/ssh_trust.h"
#include "control/trust/x509_trust.h"

namespace vern::trust {

inline constexpr std::size_t kX509CasMax = 64;
inline constexpr std::size_t kTrustBytesMax = std::size_t{96} << 20;  // of the file
inline constexpr std::size_t kAuthorityNameBytesMax = 64;
inline constexpr std::size_t kGroupsMax = 64;  // of a CA

// Of a CA, or of a group: up to 64 letters, digits and any of -_. but not "." or "..".
bool is_authority_name(std::string_view text);

struct SshSource {
    std::string name;
    std::string key;                        // a line of a .pub file
    std::optional<std::string> krl;         // the file's bytes
    std::string krl_file{};                 // its name, for errors
    std::optional<std::string> principals;  // the file's text
    std::string principals_file;            // its name, for errors
    std::vector<std::string> groups;
};

class TrustStore {
  public:
    explicit TrustStore(std::string directory, StateDirectory::StepHook before_step = nullptr)
        : files_(std::move(directory), std::move(before_step)) {}

    // What the disk holds. A CA that cannot be used any more (its CRL is stale) is kept, and trusted by
    // nobody: see entries(). Errors: the file cannot be read; then nothing is trusted, and nothing changes:
    // what would be written had lost the CAs and the floors that it holds.
    Result<void> load(UnixSeconds now);

    // Adds a CA, or replaces the one of that name. On an error nothing has changed. A disk that fails is
    // Refusal::limit's business: the sentence says so.
    Verdict<void> put(SshSource source);
    Verdict<void> put(X509CaText source, UnixSeconds now);
    // False: there is none of that name. Errors: the disk.
    Result<bool> remove(Identity::Kind kind, std::string_view name);

    std::shared_ptr<const SshTrust> ssh() const { return ssh_; }
    std::shared_ptr<const X509Trust> x509() const { return x509_; }
    // What the disk holds is known. If it is not, the daemon's start said why.
    bool readable() const { return unread_.empty(); }
    bool empty() const { return ssh_sources_.empty() && x509_sources_.empty(); }

    struct Entry {
        Identity::Kind kind = Identity::Kind::ssh;
        std::string name;
        std::string subject;  // ssh: type and fingerprint; x509: RFC 2253 name of the first certificate
        std::vector<std::string> groups;
        std::optional<std::string> revocations;  // "KRL version 7", "2 CRLs"
        std::optional<std::size_t> principals;   // how many
        std::string unusable;                    // why; empty: it is used
    };
    std::vector<Entry> entries() const;

  private:
    struct X509Source {
        X509CaText text;
        std::shared_ptr<const X509Ca> ca;  // nullptr: unusable
        std::string unusable;
    };
    struct SshEntry {
        SshSource source;
        std::optional<SshCa> ca;
        std::string unusable;
    };
    using SshSources = std::map<std::string, SshEntry, std::less<>>;
    using X509Sources = std::map<std::string, X509Source, std::less<>>;
    using Floors = std::map<std::string, Edition, std::less<>>;

    Result<void> read_file(UnixSeconds now);
    Verdict<void> commit(SshSources ssh, X509Sources x509, Floors floors);

    StateDirectory files_;
    SshSources ssh_sources_;
    X509Sources x509_sources_;
    Floors floors_;       // the newest KRL or CRL that was seen, by CA
    std::string unread_;  // why the file could not be read; empty: it was
    std::shared_ptr<const SshTrust> ssh_ = std::make_shared<const SshTrust>();
    std::shared_ptr<const X509Trust> x509_ = std::make_shared<const X509Trust>();
};

}  // namespace vern::trust
