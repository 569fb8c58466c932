// Who the peers of an interface are, beyond their keys: takes proofs, binds identities, and ends them when
// the first of their ends comes, when trust is taken back, or when somebody says so. Rules are compiled anew
// by whoever is told of a change. Control thread only.
//
// On disk, in the interface's state directory: trust.json (trust/store.h), and identities.json with what was
// handed in and must outlive a restart; it is proven again then. Proofs that came through the tunnel are
// given again by those who gave them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/identity/description.h"
#include "control/identity/nonces.h"
#include "control/identity/proof.h"
#include "control/identity/registry.h"
#include "control/json.h"
#include "control/trust/store.h"
#include "dataplane/core/admission.h"

namespace vern::identity {

// Proofs cost signatures to look at, and refusals a line in the audit trail.
inline constexpr unsigned kPresentationsPerSecond = 8;  // of one peer

// What is asked of the interface.
class Peers {
  public:
    virtual ~Peers() = default;
    virtual policy::ClockPair now() const = 0;
    virtual std::optional<PublicKey> own_public_key() const = 0;
    virtual std::optional<PublicKey> peer_of(const IpAddress& address) const = 0;
    virtual bool has_peer(const PublicKey& peer) const = 0;
    // Device::set_identity_limits()
    virtual void set_identity_limits(std::span<const IdentityLimit> limits) = 0;
};

// What happened to identities, for the audit trail and for who listens to events.
struct IdentityEvent {
    enum class Kind : std::uint8_t { bound, renewed, refused, ended, trust_changed };
    Kind kind = Kind::bound;
    std::optional<PublicKey> peer;
    const Binding* binding = nullptr;  // bound, renewed, ended; gone after the call
    std::string reason;                // refused: refusal_code(); ended: "expired", "revoked", "removed", ...
    std::string detail;                // a sentence
    std::string by;                    // who asked for it; empty: the peer, or time
};
std::string_view name_of(IdentityEvent::Kind kind) noexcept;  // "identity.bound"

class Identities {
  public:
    using Tell = std::function<void(const IdentityEvent& event)>;
    // Rules are to be compiled with holders() anew. False, or thrown: they could not be, and it is tried
    // again.
    using Changed = std::function<bool()>;

    Identities(std::string directory, Peers& peers, Random& random, Tell tell, Changed changed,
               StateDirectory::StepHook before_step = nullptr);
    ~Identities();  // notes the time, so that a clock that is set back meanwhile is noticed

    // What the disk holds. What cannot be read is nobody's: the sentences for the log.
    std::vector<std::string> start();
    // Peers or the interface's key may be others: who is no peer any more proves nothing, and what was handed
    // in for a peer that was not there, or for the key, is looked at again.
    void peers_changed();

    // Whether something has changed that rules do not know yet, or the disk, if it is to outlive a restart:
    // an answer that tells of it waits for on_settled(). What failed is tried again, but nobody waits for
    // that.
    bool pending() const { return (dirty_ && !rules_failed_) || (unwritten_ && !write_failed_); }
    bool in_force() const { return !dirty_; }
    bool on_disk() const { return !unwritten_; }
    // Called when nothing is pending: all that has changed before is in force and on the disk, or in_force()
    // and on_disk() say that it is not.
    void on_settled(std::function<void()> settled) { settled_hook_ = std::move(settled); }
    // Why one that was bound was over before that. For who is called then.
    std::string why_over(std::uint64_t id) const;

    // When tick() must be called.
    std::optional<Instant> deadline() const;
    void tick();
    void clock_was_set();
    // How long a binding may last, whatever its proof says; nothing: as long as that. Of bindings that are
    // there too.
    void set_longest(std::optional<std::chrono::seconds> longest);

    // --- through the tunnel: `source` is where the connection comes from

    struct Invitation {
        PublicKey peer, audience;
        Nonces::Nonce nonce;
    };
    trust::Verdict<Invitation> invite(const IpAddress& source);
    // Whose proof it is that comes from there. Before anything of it is read: it refuses who tries too often.
    trust::Verdict<PublicKey> presenter(const IpAddress& source);
    trust::Verdict<Binding> present_ssh(const PublicKey& presenter, const IpAddress& source,
                                        std::string_view statement, std::string_view signature);
    // What the client says inside TLS: whom it takes itself and this daemon for, since else another peer
    // could pass the connection on, and have the certificate bound to itself; and until when it is to hold.
    struct Claim {
        PublicKey wg, audience;
        trust::UnixSeconds not_after = kNever;
    };
    trust::Verdict<Binding> present_tls(const PublicKey& presenter, const IpAddress& source,
                                        const TlsChain& chain, const Claim& claim);

    // --- handed in

    trust::Verdict<Binding> add_ssh(std::string_view statement, std::string_view signature,
                                    std::string_view by);
    trust::Verdict<Binding> add_cms(std::string_view cms, std::string_view by);
    trust::Verdict<Binding> add_certificate(std::string_view pem, std::string_view by);
    bool remove(std::uint64_t id, std::string_view by);  // false: none was bound under that number

    // --- trust

    trust::Verdict<void> trust(trust::SshSource source, std::string_view by);
    trust::Verdict<void> trust(trust::X509CaText source, std::string_view by);
    Result<bool> distrust(trust::Identity::Kind kind, std::string_view name, std::string_view by);
    const trust::TrustStore& store() const { return store_; }
    trust::UnixSeconds now() const;  // never before the latest that was seen

    const Registry& registry() const { return registry_; }

  private:
    policy::ClockPair clock() const;
    void note_time();
    void set_end(Binding& binding, const policy::ClockPair& now) const;
    Trusted trusted() const;
    trust::Verdict<PublicKey> peer_at(const IpAddress& source) const;
    trust::Verdict<PublicKey> own_key() const;
    trust::Verdict<Binding> bind(trust::Verdict<Proof> proof, Means means,
                                 const std::optional<IpAddress>& source, nlohmann::json handed_in,
                                 std::string_view by);
    trust::Verdict<Binding> add_again(const nlohmann::json& handed_in);
    bool too_often(const PublicKey& peer);
    trust::Verdict<Binding> refused(trust::Refused why, const std::optional<PublicKey>& peer,
                                    std::string_view by);
    void cut(const std::vector<Registry::Ended>& ended, std::string_view by);
    void trust_changed(trust::Identity::Kind kind, std::string_view name, std::string_view what,
                       std::string_view by);
    void changed();
    void rules_owe(const Binding& binding, Instant lost);
    IdentityLimit limit_of(const PublicKey& peer) const;
    void limit(const PublicKey& peer);
    void limit_overdue();
    void limit_all();
    Instant not_before() const;
    Instant write_not_before() const;
    void settle();
    void compile();
    void finish();
    void tell_bound();
    void keep();
    void prove_waiting();

    Peers& peers_;
    Tell tell_;
    Changed changed_;
    StateDirectory files_;
    trust::TrustStore store_;
    Registry registry_;
    Nonces nonces_;
    WallTime latest_{};  // that was seen or must have come since: it was at `latest_at_`
    Instant latest_at_{};
    trust::UnixSeconds kept_at_ = 0;  // on disk
    std::optional<Instant> keep_due_;
    std::optional<std::chrono::seconds> longest_;
    // What is proven again at a restart, as it was handed in: of bindings, and of what waits for its peer.
    std::map<std::uint64_t, nlohmann::json> handed_in_;
    std::vector<nlohmann::json> waiting_;
    std::optional<PublicKey> audience_;  // the interface's key that statements were for
    struct Attempts {
        Instant from{};
        unsigned count = 0;
    };
    std::map<PublicKey, Attempts> attempts_;  // of those who present themselves
    bool dirty_ = false;                      // `changed_` is due
    bool urgent_ = false;                     // and not only because somebody is bound
    bool rules_failed_ = false;               // `changed_` could not do it
    bool unread_ = false;                     // what the file holds is not known: it is set aside
    bool unwritten_ = false;                  // keep() is due
    bool write_failed_ = false;               // at `written_`
    std::function<void()> settled_hook_;
    struct Untold {
        IdentityEvent::Kind kind;
        std::string by;
    };
    std::map<std::uint64_t, Untold> untold_;      // who is bound, but not settled
    std::map<std::uint64_t, std::string> over_;   // who was, and why he is not
    std::map<PublicKey, Instant> overdue_;        // when rules must say at the latest that somebody is less
    Instant compiled_{}, written_{}, settled_{};  // when rules, the disk, and both were done last
    Duration compiling_took_{}, settling_took_{};
};

}  // namespace vern::identity
