#include "control/identity/proof.h"

#include <algorithm>

#include "control/trust/cms_statement.h"
#include "control/trust/ssh_certificate.h"
#include "control/trust/sshsig.h"
#include "control/trust/x509_verify.h"

namespace vern::identity {
namespace {

using trust::Certificate;
using trust::Identity;
using trust::Refusal;
using trust::refuse;
using trust::Statement;
using trust::UnixSeconds;
using trust::Verdict;
using trust::VerifiedX509;

constexpr std::size_t kPemCertificatesMax = 1 + trust::kIntermediatesMax;

Verdict<VerifiedX509> verify_chain(const std::vector<Certificate>& chain, const Trusted& trusted) {
    if (chain.empty()) return refuse(Refusal::malformed, "no certificate");
    return trust::verify_x509_to_keep(chain.front(), std::span(chain).subspan(1), *trusted.x509, trusted.now);
}

Verdict<std::vector<Certificate>> read_chain(const TlsChain& shown) {
    if (shown.size() > kPemCertificatesMax) return refuse(Refusal::too_large, "more than 8 intermediates");
    std::vector<Certificate> chain;
    for (const auto& x509 : shown) {
        auto certificate = trust::take_certificate(x509);
        if (!certificate) return tl::unexpected(certificate.error());
        chain.push_back(std::move(*certificate));
    }
    return chain;
}

// Who signed it is known now, and will not change: all that is asked again is what it says.
Evidence kept(trust::SshCertificate certificate) {
    certificate.signed_bytes = {};
    certificate.signature = {};
    certificate.extensions = {};
    return certificate;
}

}  // namespace

Verdict<Statement> read_statement(std::string_view text, const Expected& expected, UnixSeconds now) {
    auto statement = trust::parse_statement(text);
    if (!statement) return statement;
    if (statement->audience != expected.audience)
        return refuse(Refusal::audience, "the statement is for another daemon");
    if (expected.peer && statement->wg != *expected.peer)
        return refuse(Refusal::peer_key, "the statement names another peer than the one that it came from");
    if (statement->not_after <= now) return refuse(Refusal::statement_expired, "the statement has ended");
    return statement;
}

Verdict<Proof> prove_by_ssh(std::string_view statement_text, std::string_view signature,
                            const Expected& expected, const Trusted& trusted) {
    const auto statement = read_statement(statement_text, expected, trusted.now);
    if (!statement) return tl::unexpected(statement.error());
    const auto sshsig = trust::parse_sshsig_text(signature);
    if (!sshsig) return tl::unexpected(sshsig.error());
    auto certificate = trust::verify_certified_sshsig(*sshsig, kNamespace, trust::as_bytes(statement_text));
    if (!certificate) return tl::unexpected(certificate.error());
    auto identity = trust::verify_ssh_certificate(*certificate, *trusted.ssh, trusted.now, expected.source);
    if (!identity) return tl::unexpected(identity.error());
    return Proof{statement->wg, std::move(*identity), statement->not_after, kept(std::move(*certificate))};
}

Verdict<Proof> prove_by_cms(std::string_view cms, const Expected& expected, const Trusted& trusted) {
    auto opened = trust::open_cms_statement(cms, *trusted.x509, trusted.now);
    if (!opened) return tl::unexpected(opened.error());
    const auto statement = read_statement(opened->content, expected, trusted.now);
    if (!statement) return tl::unexpected(statement.error());
    VerifiedX509& signer = opened->signer;
    return Proof{statement->wg, std::move(signer.identity), statement->not_after, std::move(signer.evidence)};
}

Verdict<Proof> prove_by_certificate(std::string_view pem, const Trusted& trusted) {
    const auto chain = trust::parse_certificates(pem, kPemCertificatesMax, "the certificate");
    if (!chain) return tl::unexpected(chain.error());
    const auto peer = trust::x25519_key_of(chain->front());
    if (!peer)
        return refuse(Refusal::peer_key,
                      "the certificate's key is no X25519 key, so it is no peer's: a statement is needed");
    auto verified = verify_chain(*chain, trusted);
    if (!verified) return tl::unexpected(verified.error());
    return Proof{*peer, std::move(verified->identity), kNever, std::move(verified->evidence)};
}

Verdict<Proof> prove_by_tls(const TlsChain& chain, const PublicKey& peer, const Trusted& trusted) {
    const auto certificates = read_chain(chain);
    if (!certificates) return tl::unexpected(certificates.error());
    if (!certificates->empty() && !trust::may_sign(certificates->front()))
        return refuse(Refusal::purpose, trust::subject_text(certificates->front().x509.get()) +
                                            ": its key usage does not say digitalSignature");
    auto verified = verify_chain(*certificates, trusted);
    if (!verified) return tl::unexpected(verified.error());
    return Proof{peer, std::move(verified->identity), kNever, std::move(verified->evidence)};
}

Verdict<Identity> prove_again(Binding& binding, const Trusted& trusted) {
    if (const auto* ssh = std::get_if<trust::SshCertificate>(&binding.evidence))
        return trust::verify_ssh_certificate_again(*ssh, *trusted.ssh, trusted.now, binding.source);
    return trust::verify_x509_again(std::get<trust::X509Evidence>(binding.evidence), binding.identity,
                                    *trusted.x509, trusted.now);
}

}  // namespace vern::identity
