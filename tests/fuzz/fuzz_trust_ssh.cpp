// libFuzzer: OpenSSH's proofs of identity. Built once for each, see meson.build. What is read is canonical,
// what is accepted keeps the rules, and every refusal has its sentence.
#include <algorithm>
#include <cstdlib>

#include "control/trust/clean_text.h"
#include "control/trust/ssh_trust.h"
#include "control/trust/sshsig.h"

namespace {

using namespace vern::trust;

void require(bool held) {
    if (!held) std::abort();
}

template <typename T>
bool taken(const Verdict<T>& verdict) {
    if (!verdict) require(!verdict.error().sentence.empty() && is_clean_text(verdict.error().sentence));
    return verdict.has_value();
}

void require_canonical(const SshPublicKey& key) {
    const auto again = SshPublicKey::parse(as_bytes(key.blob()));
    require(taken(again) && *again == key && key.fingerprint().size() == 50);
}

// By the CA that the certificate names, so that everything behind its signature is reached only with a good
// one.
void verify(const SshCertificate& certificate) {
    require_canonical(certificate.key);
    require_canonical(certificate.ca);
    require(certificate.valid_after <= certificate.valid_before);
    require(!taken(verify_ssh_certificate(certificate, SshTrust(), certificate.valid_after, std::nullopt)));
    const auto trust =
        SshTrust::make({SshCa{.key = certificate.ca, .krl = {}, .principals = {}, .groups = {}}});
    require(taken(trust));
    const auto identity = verify_ssh_certificate(certificate, *trust, certificate.valid_after, std::nullopt);
    if (!taken(identity)) return;
    require(identity->not_after > certificate.valid_after && !identity->principals.empty());
    require(certificate.role == SshCertificate::Role::user && certificate.critical_options.empty());
}

[[maybe_unused]] void fuzz_certificate(std::string_view text) {
    const auto certificate = parse_ssh_certificate(as_bytes(text));
    if (taken(certificate)) verify(*certificate);
    const auto line = parse_ssh_certificate_line(text);
    if (taken(line)) verify(*line);
    const auto key = parse_ssh_key_line(text);
    if (taken(key)) require_canonical(*key);
}

[[maybe_unused]] void fuzz_sshsig(std::string_view text) {
    auto sshsig = parse_sshsig_text(text);
    if (!taken(sshsig)) sshsig = parse_sshsig(as_bytes(text));
    if (!taken(sshsig)) return;
    require_canonical(sshsig->key);
    require(!taken(verify_sshsig(*sshsig, sshsig->namespace_ + "x", as_bytes("message\n"))));
    const auto certificate = verify_certified_sshsig(*sshsig, sshsig->namespace_, as_bytes("message\n"));
    if (taken(certificate)) verify(*certificate);
}

// Points of the main subgroup from RFC 8032 section 7.1.
SshCertificate some_certificate() {
    constexpr std::string_view kPoint(
        "\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a"
        "\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a",
        32);
    SshWriter blob;
    blob.string(std::string_view("ssh-ed25519")).string(kPoint);
    const auto key = SshPublicKey::parse(blob.bytes());
    require(taken(key));
    return SshCertificate{.key = *key,
                          .serial = 7,
                          .role = SshCertificate::Role::user,
                          .key_id = "alice",
                          .principals = {},
                          .valid_after = 0,
                          .valid_before = 1,
                          .critical_options = {},
                          .extensions = {},
                          .ca = *key,
                          .signed_bytes = {},
                          .signature = {}};
}

[[maybe_unused]] void fuzz_krl(std::string_view text) {
    static const SshCertificate kCertificate = some_certificate();
    const auto krl = parse_krl(as_bytes(text));
    if (!taken(krl))
        return require(krl.error().code == Refusal::krl_invalid || krl.error().code == Refusal::too_large);
    if (krl->revokes(kCertificate.key)) require(krl->revokes(kCertificate));
    require(krl->edition().made >= 0);
}

[[maybe_unused]] void fuzz_principals(std::string_view text) {
    const auto file = parse_principals(text, "f");
    if (!taken(file)) return require(file.error().sentence.starts_with("f:"));
    require(!file->accepts(""));
    for (const std::string& principal : file->principals()) {
        require(file->accepts(principal) && is_clean_text(principal));
        require(principal.find_first_of("# \t\n") == std::string::npos);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FUZZ_ENTRY(std::string_view(reinterpret_cast<const char*>(data), size));
    return 0;
}
