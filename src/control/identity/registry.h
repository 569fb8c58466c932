// Which identities the peers have proven, and until when. Ends are points of the clock that never steps back,
// so a wall clock that is set back revives nothing. A value of the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "control/policy/document.h"
#include "control/trust/identity.h"
#include "control/trust/refusal.h"
#include "control/trust/ssh_certificate.h"
#include "control/trust/x509_verify.h"

namespace vern::identity {

inline constexpr std::size_t kBindingsMax = 1 << 16;
inline constexpr std::size_t kBindingsPerPeerMax = 16;

// How an identity was bound to a peer's key.
enum class Means : std::uint8_t {
    tunnel_ssh,     // a signed statement, through the tunnel
    tunnel_tls,     // a TLS handshake with a client certificate, through the tunnel
    statement_ssh,  // a signed statement that somebody handed in
    statement_cms,
    certificate,  // the certified key is the peer's own (RFC 8410)
};
std::string_view name_of(Means means) noexcept;  // "tunnel-ssh"; stable

// What was verified of the certificates, for when trust changes; see proof.h.
using Evidence = std::variant<trust::X509Evidence, trust::SshCertificate>;
inline constexpr trust::UnixSeconds kNever = std::numeric_limits<trust::UnixSeconds>::max();
// Beyond it is what a clock of nanoseconds cannot say: never.
inline constexpr trust::UnixSeconds kFar = 9'000'000'000;  // the year 2255
Instant deadline_of(trust::UnixSeconds ends, const policy::ClockPair& now);

struct Binding {
    std::uint64_t id = 0;  // given by the registry, never used again
    PublicKey peer;
    trust::Identity identity;
    Means means = Means::tunnel_ssh;
    trust::UnixSeconds bound_at = 0;
    trust::UnixSeconds statement_ends = kNever;
    trust::UnixSeconds ends = 0;  // the least of all ends
    Instant deadline{};           // of `ends`
    Evidence evidence;
    std::optional<IpAddress> source;  // where it was presented from, inside the tunnel
};

class Registry {
  public:
    // A peer that proves the same key again renews what it had. Refused: `duplicate`, when another peer has
    // bound that key and not lost it since; `limit`. `changed` says whether rules may see a difference.
    struct Bound {
        const Binding* binding;
        bool changed;
        bool renewed;
        Instant ended_before{};  // renewed: when it would have ended
    };
    trust::Verdict<Bound> bind(Binding binding);

    // What ends is given back, to be told of when rules do not hold it for anybody any more.
    struct Ended {
        Binding binding;
        std::string reason;
    };
    std::optional<Ended> end(std::uint64_t id, std::string_view reason);
    std::vector<Ended> end_due(Instant now);  // those that are over by `now`
    // `again` mends a binding (its identity and ends), or says why it is over.
    using Again = std::function<std::optional<std::string>(Binding&)>;
    std::vector<Ended> prove_again(const Again& again);
    // The wall clock has been set: ends that come sooner by it come sooner; none comes later.
    void clock_was_set(const policy::ClockPair& now);

    std::optional<Instant> next_end() const;
    const Binding* find(std::uint64_t id) const;
    std::vector<const Binding*> of(const PublicKey& peer) const;
    void each(const std::function<void(const Binding&)>& take) const;  // oldest first
    std::size_t size() const { return bindings_.size(); }
    std::vector<policy::Holder> holders() const;  // valid until the registry changes
    policy::PeerSet peers() const;                // each once

  private:
    using Key = std::pair<trust::Identity::Kind, std::string>;
    Binding take(std::map<std::uint64_t, Binding>::iterator at);

    std::map<std::uint64_t, Binding> bindings_;
    std::map<Key, std::uint64_t> by_key_;
    std::map<PublicKey, std::set<std::uint64_t>> by_peer_;
    std::set<std::pair<Instant, std::uint64_t>> ends_;
    std::uint64_t next_id_ = 1;
};

}  // namespace vern::identity
