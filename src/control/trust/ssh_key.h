// Public keys of OpenSSH and the signatures that they make: ssh-ed25519 (RFC 8709), ecdsa-sha2-nistp256, 384
// and 521 (RFC 5656), ssh-rsa (RFC 4253) with rsa-sha2-256 and 512 (RFC 8332). Ed25519 is libsodium's, all
// other arithmetic OpenSSL's, in a library context of our own.
//
// Stricter than ssh-keygen and sshd, because each of these lets somebody sign who has no private key, or
// gives one key two names:
//   - RSA of less than 2048 bits, an even modulus, or an exponent that is even or below 65537 is weak_key
//     (sshd takes 1024 bits, and keys of users with e = 1, for which everybody can sign).
//   - Ed25519 keys must be canonical points of the main subgroup (sshd takes points of small order), and the
//     signature's S must be less than L (OpenSSH 9.2 takes S + L).
//   - An RSA signature is as long as the modulus (sshd pads shorter ones). SHA-1 is weak_hash everywhere
//     (ssh-keygen -Y verify takes it in the CA's signature).
//   - Numbers are in their shortest form, points uncompressed, nothing follows the end.
// Keys of security keys (sk-…) are refused: their signatures say whether somebody touched the key, and for
// which application, and nobody here would ask.
//
// Threads: any; a key is immutable and shares what it holds with its copies.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <string_view>

#include "control/trust/refusal.h"
#include "control/trust/ssh_reader.h"

namespace vern::trust {

inline constexpr std::size_t kSshRsaBitsMin = 2048;
inline constexpr std::size_t kSshRsaBitsMax = 8192;  // as of X.509; a proof by more takes milliseconds
inline constexpr std::size_t kSshKeyBytesMax = std::size_t{8} * 1024;
inline constexpr std::size_t kSshKeyLineBytesMax = std::size_t{16} * 1024;
inline constexpr std::string_view kSshCertificateSuffix = "-cert-v01@openssh.com";

struct SshKeyType;  // what is known of one type

class SshPublicKey {
  public:
    // Refusals: malformed, weak_key, too_large, ca_is_cert (a certificate where a key is due), cert_type (a
    // type that is not taken here).
    static Verdict<SshPublicKey> parse(Bytes blob);
    // What follows the name of the type, from the middle of a certificate; leaves the reader behind it.
    static Verdict<SshPublicKey> read(std::string_view type, SshReader& reader);

    std::string_view type() const noexcept;                     // "ssh-ed25519"
    const std::string& blob() const noexcept { return blob_; }  // the wire form, canonical
    std::string fingerprint() const;                            // "SHA256:…" as ssh-keygen -l prints it

    // `signature` is the wire form: algorithm and what it made. Refusals: malformed, weak_hash,
    // bad_signature.
    Verdict<void> verify(Bytes message, Bytes signature) const;

    friend bool operator==(const SshPublicKey& a, const SshPublicKey& b) { return a.blob_ == b.blob_; }

  private:
    SshPublicKey(const SshKeyType& type, std::string blob, std::shared_ptr<EVP_PKEY> key)
        : type_(&type), blob_(std::move(blob)), key_(std::move(key)) {}

    const SshKeyType* type_;
    std::string blob_;
    std::shared_ptr<EVP_PKEY> key_;  // none for Ed25519
};

// "ssh-ed25519 AAAA… comment", as in a .pub file: one line, no options before it.
Verdict<SshPublicKey> parse_ssh_key_line(std::string_view line);

// The bytes in a line of that form, whatever they are: `what` is "the CA key" and begins the refusals. The
// first word is the type, and the bytes must begin with it.
Verdict<std::string> decode_ssh_line(std::string_view line, std::size_t bytes_max, std::string_view what);

// Strict base64 with padding (RFC 4648 section 4), letters of `ignored` left out.
Verdict<std::string> decode_base64(std::string_view text, const char* ignored, std::string_view what);
std::string encode_base64(std::string_view bytes);

}  // namespace vern::trust
