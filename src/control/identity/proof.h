// Proofs of identity, from bytes to what is proven: which peer, whose certificate, until when. They are
// judged by themselves; who may claim what at the same time is the registry's. Threads: any; values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/identity/registry.h"
#include "control/trust/ssh_trust.h"
#include "control/trust/statement.h"
#include "control/trust/x509_trust.h"

namespace vern::identity {

// What ssh-keygen -Y sign -n is to be given.
inline constexpr std::string_view kNamespace = "wg-binding@vern";

// Who is believed, and when it is: never earlier than the latest time that was seen.
struct Trusted {
    std::shared_ptr<const trust::SshTrust> ssh;
    std::shared_ptr<const trust::X509Trust> x509;
    trust::UnixSeconds now = 0;
};

struct Proof {
    PublicKey peer;
    trust::Identity identity;
    trust::UnixSeconds statement_ends = kNever;
    Evidence evidence;
};

// What a statement has to say besides being well signed.
struct Expected {
    PublicKey audience;               // this daemon
    std::optional<PublicKey> peer;    // whom it came from; nothing: whom it names is to be seen by the caller
    std::optional<IpAddress> source;  // from where, inside the tunnel
};
// Whose, for which daemon, until when; before anything costs a signature's verification.
trust::Verdict<trust::Statement> read_statement(std::string_view text, const Expected& expected,
                                                trust::UnixSeconds now);

trust::Verdict<Proof> prove_by_ssh(std::string_view statement, std::string_view signature,
                                   const Expected& expected, const Trusted& trusted);
// The statement is within.
trust::Verdict<Proof> prove_by_cms(std::string_view cms, const Expected& expected, const Trusted& trusted);
// PEM: a certificate whose subject key is the peer's own (RFC 8410), then its intermediates.
trust::Verdict<Proof> prove_by_certificate(std::string_view pem, const Trusted& trusted);
// `chain`: what the client sent in a TLS handshake that proved its key, the leaf first.
using TlsChain = std::vector<std::shared_ptr<X509>>;
trust::Verdict<Proof> prove_by_tls(const TlsChain& chain, const PublicKey& peer, const Trusted& trusted);

// Does what was proven once still hold, by what is trusted now? Signatures that were good are good: who
// signed them must still be trusted, and revocation, times, names and groups are looked at again.
trust::Verdict<trust::Identity> prove_again(Binding& binding, const Trusted& trusted);

}  // namespace vern::identity
