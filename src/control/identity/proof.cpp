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

constexpr std::size_t kPemCertificatesMax = 1 + trust::kIntermediatesMax;

// Certificates as evidence: one after the other, as SSH writes strings.
std::string joined(const std::vector<std::string>& ders) {
    trust::SshWriter all;
    for (const std::string& der : ders) all.string(der);
    return std::move(all).written();
}

std::vector<std::string> split(std::string_view all) {
    std::vector<std::string> ders;
    for (trust::SshReader reader(trust::as_bytes(all)); !reader.at_end();)
        ders.emplace_back(trust::as_text(reader.string()));
    return ders;
}

Verdict<Identity> verify_chain(const std::vector<Certificate>& chain, const Trusted& trusted) {
    if (chain.empty()) return refuse(Refusal::malformed, "no certificate");
    return trust::verify_x509(chain.front(), std::span(chain).subspan(1), *trusted.x509, trusted.now);
}

Verdict<std::vector<Certificate>> read_chain(const std::vector<std::string>& ders) {
    if (ders.size() > kPemCertificatesMax) return refuse(Refusal::too_large, "more than 8 intermediates");
    std::vector<Certificate> chain;
    for (const std::string& der : ders) {
        auto certificate = trust::parse_certificate(trust::bytes_of(der));
        if (!certificate) return tl::unexpected(certificate.error());
        chain.push_back(std::move(*certificate));
    }
    return chain;
}

std::string der_of(const Certificate& certificate) {
    unsigned char* bytes = nullptr;
    const int length = ::i2d_X509(certificate.x509.get(), &bytes);
    if (length <= 0) return {};
    std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length));
    ::OPENSSL_free(bytes);
    return der;
}

std::string blob_of(const trust::SshCertificate& certificate) {
    return trust::SshWriter().raw(certificate.signed_bytes).string(certificate.signature).written();
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
    const auto certificate =
        trust::verify_certified_sshsig(*sshsig, kNamespace, trust::as_bytes(statement_text));
    if (!certificate) return tl::unexpected(certificate.error());
    auto identity = trust::verify_ssh_certificate(*certificate, *trusted.ssh, trusted.now, expected.source);
    if (!identity) return tl::unexpected(identity.error());
    const UnixSeconds ends = std::min(identity->not_after, statement->not_after);
    return Proof{statement->wg, std::move(*identity), ends, blob_of(*certificate)};
}

Verdict<Proof> prove_by_cms(std::string_view cms, const Expected& expected, const Trusted& trusted) {
    auto opened = trust::open_cms_statement(cms, *trusted.x509, trusted.now);
    if (!opened) return tl::unexpected(opened.error());
    const auto statement = read_statement(opened->content, expected, trusted.now);
    if (!statement) return tl::unexpected(statement.error());
    const UnixSeconds ends = std::min(opened->identity.not_after, statement->not_after);
    return Proof{statement->wg, std::move(opened->identity), ends, std::string(cms)};
}

Verdict<Proof> prove_by_certificate(std::string_view pem, const Trusted& trusted) {
    const auto chain = trust::parse_certificates(pem, kPemCertificatesMax, "the certificate");
    if (!chain) return tl::unexpected(chain.error());
    const auto peer = trust::x25519_key_of(chain->front());
    if (!peer)
        return refuse(Refusal::peer_key,
                      "the certificate's key is no X25519 key, so it is no peer's: a statement is needed");
    auto identity = verify_chain(*chain, trusted);
    if (!identity) return tl::unexpected(identity.error());
    std::vector<std::string> ders;
    for (const Certificate& certificate : *chain) ders.push_back(der_of(certificate));
    const UnixSeconds ends = identity->not_after;
    return Proof{*peer, std::move(*identity), ends, joined(ders)};
}

Verdict<Proof> prove_by_tls(const std::vector<std::string>& chain, const PublicKey& peer,
                            const Trusted& trusted) {
    const auto certificates = read_chain(chain);
    if (!certificates) return tl::unexpected(certificates.error());
    if (!certificates->empty() && !trust::may_sign(certificates->front()))
        return refuse(Refusal::purpose, trust::subject_text(certificates->front().x509.get()) +
                                            ": its key usage does not say digitalSignature");
    auto identity = verify_chain(*certificates, trusted);
    if (!identity) return tl::unexpected(identity.error());
    const UnixSeconds ends = identity->not_after;
    return Proof{peer, std::move(*identity), ends, joined(chain)};
}

Verdict<Identity> prove_again(Means means, const std::string& evidence,
                              const std::optional<IpAddress>& source, const Trusted& trusted) {
    switch (means) {
        case Means::tunnel_ssh:
        case Means::statement_ssh: {
            const auto certificate = trust::parse_ssh_certificate(trust::as_bytes(evidence));
            if (!certificate) return tl::unexpected(certificate.error());
            return trust::verify_ssh_certificate_again(*certificate, *trusted.ssh, trusted.now, source);
        }
        case Means::statement_cms: {
            auto opened = trust::open_cms_statement(evidence, *trusted.x509, trusted.now);
            if (!opened) return tl::unexpected(opened.error());
            return std::move(opened->identity);
        }
        case Means::tunnel_tls:
        case Means::certificate: break;
    }
    const auto chain = read_chain(split(evidence));
    if (!chain) return tl::unexpected(chain.error());
    return verify_chain(*chain, trusted);
}

}  // namespace vern::identity
