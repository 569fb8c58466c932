#include "control/trust/sshsig.h"

#include <sodium.h>

#include <array>

namespace vern::trust {
namespace {

constexpr std::string_view kMagic = "SSHSIG";
constexpr std::uint32_t kVersion = 1;
constexpr std::string_view kBegin = "-----BEGIN SSH SIGNATURE-----\n";
constexpr std::string_view kEnd = "\n-----END SSH SIGNATURE-----";

std::string digest_of(std::string_view hash, Bytes message) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(message.data());
    std::array<char, crypto_hash_sha512_BYTES> digest;
    auto* out = reinterpret_cast<unsigned char*>(digest.data());
    if (hash == "sha256") {
        crypto_hash_sha256(out, bytes, message.size());
        return {digest.data(), crypto_hash_sha256_BYTES};
    }
    crypto_hash_sha512(out, bytes, message.size());
    return {digest.data(), crypto_hash_sha512_BYTES};
}

}  // namespace

Verdict<Sshsig> parse_sshsig(Bytes bytes) {
    if (bytes.size() > kSshsigBytesMax)
        return refuse(Refusal::too_large, "the signature is larger than 80 KiB");
    SshReader reader(bytes);
    if (as_text(reader.raw(kMagic.size())) != kMagic)
        return refuse(Refusal::malformed, "not a signature of ssh-keygen -Y sign");
    const std::uint32_t version = reader.u32();
    const Bytes key_blob = reader.string();
    const std::string_view purpose = reader.text();
    const Bytes reserved = reader.string();
    const std::string_view hash = reader.name();
    const Bytes signature = reader.string();
    if (auto done = reader.finish("the signature"); !done) return tl::unexpected(done.error());
    if (version != kVersion)
        return refuse(Refusal::malformed,
                      "the signature is of version " + std::to_string(version) + ", not 1");
    if (purpose.empty()) return refuse(Refusal::malformed, "the signature has no namespace");
    if (hash != "sha256" && hash != "sha512")
        return refuse(Refusal::weak_hash,
                      "the message is hashed with '" + shown(hash) + "', neither sha256 nor sha512");

    std::optional<SshCertificate> certificate;
    if (SshReader(key_blob).name().ends_with(kSshCertificateSuffix)) {
        auto parsed = parse_ssh_certificate(key_blob);
        if (!parsed) return tl::unexpected(parsed.error());
        certificate = std::move(*parsed);
    }
    auto key = certificate ? certificate->key : SshPublicKey::parse(key_blob);
    if (!key) return tl::unexpected(key.error());
    return Sshsig{.key = std::move(*key),
                  .certificate = std::move(certificate),
                  .namespace_ = std::string(purpose),
                  .reserved = std::string(as_text(reserved)),
                  .hash = std::string(hash),
                  .signature = std::string(as_text(signature))};
}

Verdict<Sshsig> parse_sshsig_text(std::string_view text) {
    if (text.size() > kSshsigTextBytesMax)
        return refuse(Refusal::too_large, "the signature's text is larger than 128 KiB");
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (!text.starts_with(kBegin) || !text.ends_with(kEnd) || text.size() < kBegin.size() + kEnd.size())
        return refuse(Refusal::malformed,
                      "a signature begins with -----BEGIN SSH SIGNATURE----- and ends with its END line");
    text.remove_prefix(kBegin.size());
    text.remove_suffix(kEnd.size());
    auto bytes = decode_base64(text, "\n", "the signature");
    if (!bytes) return tl::unexpected(bytes.error());
    return parse_sshsig(as_bytes(*bytes));
}

Verdict<void> verify_sshsig(const Sshsig& sshsig, std::string_view namespace_, Bytes message) {
    if (sshsig.namespace_ != namespace_)
        return refuse(Refusal::namespace_,
                      "signed for '" + shown(sshsig.namespace_) + "', not for '" + shown(namespace_) + "'");
    SshWriter signed_bytes;
    signed_bytes.raw(kMagic).string(sshsig.namespace_).string(sshsig.reserved).string(sshsig.hash);
    signed_bytes.string(digest_of(sshsig.hash, message));
    return sshsig.key.verify(signed_bytes.bytes(), as_bytes(sshsig.signature));
}

Verdict<SshCertificate> verify_certified_sshsig(const Sshsig& sshsig, std::string_view namespace_,
                                                Bytes message) {
    if (!sshsig.certificate)
        return refuse(
            Refusal::cert_type,
            "signed with a key alone: sign with the certificate (ssh-keygen -Y sign -f id-cert.pub)");
    if (sshsig.certificate->key != sshsig.key)
        return refuse(Refusal::key_mismatch, "the signature is not by the certified key");
    if (auto good = verify_sshsig(sshsig, namespace_, message); !good) return tl::unexpected(good.error());
    return *sshsig.certificate;
}

}  // namespace vern::trust
