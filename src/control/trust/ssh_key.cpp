#include "control/trust/ssh_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <bit>

#include "crypto/openssl.h"

namespace vern::trust {

struct SshKeyType {
    enum class Kind { ed25519, ecdsa, rsa };
    Kind kind;
    std::string_view name;
    // ecdsa only
    std::string_view curve = {};
    const char* group = nullptr;
    std::size_t point_bytes = 0;
    const char* hash = nullptr;
};

namespace {

using Kind = SshKeyType::Kind;

constexpr std::array kTypes{
    SshKeyType{.kind = Kind::ed25519, .name = "ssh-ed25519"},
    SshKeyType{Kind::ecdsa, "ecdsa-sha2-nistp256", "nistp256", "P-256", 65, "SHA256"},
    SshKeyType{Kind::ecdsa, "ecdsa-sha2-nistp384", "nistp384", "P-384", 97, "SHA384"},
    SshKeyType{Kind::ecdsa, "ecdsa-sha2-nistp521", "nistp521", "P-521", 133, "SHA512"},
    SshKeyType{.kind = Kind::rsa, .name = "ssh-rsa"},
};

constexpr std::size_t kEd25519KeyBytes = 32;
constexpr std::size_t kEd25519SignatureBytes = 64;
constexpr std::size_t kRsaExponentBytesMax = 8;  // what OpenSSL takes with large moduli
constexpr std::size_t kRsaExponentMin = 65537;
constexpr std::size_t kEcdsaNumberBytesMax = 66;

template <auto Free>
struct FreeWith {
    template <typename T>
    void operator()(T* object) const noexcept {
        Free(object);
    }
};
template <typename T, auto Free>
using Owned = std::unique_ptr<T, FreeWith<Free>>;
using OwnedKey = Owned<EVP_PKEY, EVP_PKEY_free>;
using Number = Owned<BIGNUM, BN_free>;

Number number_of(Bytes magnitude) {
    return Number(BN_bin2bn(reinterpret_cast<const unsigned char*>(magnitude.data()),
                            static_cast<int>(magnitude.size()), nullptr));
}

std::size_t bits_of(Bytes magnitude) {
    if (magnitude.empty()) return 0;
    return (magnitude.size() - 1) * 8 +
           static_cast<std::size_t>(std::bit_width(std::to_integer<unsigned>(magnitude.front())));
}

bool is_odd(Bytes magnitude) {
    return !magnitude.empty() && (magnitude.back() & std::byte{1}) != std::byte{};
}

OwnedKey key_from(const char* algorithm, OSSL_PARAM* parameters) {
    const Owned<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(
        EVP_PKEY_CTX_new_from_name(openssl_library(), algorithm, nullptr));
    EVP_PKEY* key = nullptr;
    if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
        EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1) {
        ERR_clear_error();
    }
    return OwnedKey(key);
}

// The point is all there is: libsodium has no other form of it.
Verdict<void> read_ed25519(SshReader& reader) {
    const Bytes point = reader.string();
    if (point.size() != kEd25519KeyBytes) return refuse(Refusal::malformed, "an Ed25519 key has 32 bytes");
    const auto* octets = reinterpret_cast<const unsigned char*>(point.data());
    if (crypto_core_ed25519_is_valid_point(octets) != 1)
        return refuse(Refusal::weak_key, "the Ed25519 key is no point of the curve's main subgroup");
    return {};
}

Verdict<OwnedKey> read_ecdsa(const SshKeyType& type, SshReader& reader) {
    const std::string_view curve = reader.name();
    const Bytes point = reader.string();
    if (curve != type.curve || point.size() != type.point_bytes || point.front() != std::byte{4})
        return refuse(Refusal::malformed, "not an uncompressed point of " + std::string(type.curve));
    std::string group = type.group;
    std::string octets(as_text(point));
    std::array parameters{
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group.data(), group.size()),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, octets.data(), octets.size()),
        OSSL_PARAM_construct_end()};
    return key_from("EC", parameters.data());  // none if the point is not on the curve
}

Verdict<OwnedKey> read_rsa(SshReader& reader) {
    const Bytes exponent = reader.mpint();
    const Bytes modulus = reader.mpint();
    if (reader.failed()) return OwnedKey();
    if (bits_of(modulus) < kSshRsaBitsMin) return refuse(Refusal::weak_key, "RSA of less than 2048 bits");
    if (bits_of(modulus) > kSshRsaBitsMax) return refuse(Refusal::too_large, "RSA of more than 8192 bits");
    if (exponent.size() > kRsaExponentBytesMax)
        return refuse(Refusal::too_large, "an RSA exponent of more than 64 bits");
    const Number e = number_of(exponent), n = number_of(modulus);
    const Owned<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free> builder(OSSL_PARAM_BLD_new());
    if (!e || !n || !builder) return OwnedKey();
    if (!is_odd(modulus) || !is_odd(exponent) || BN_get_word(e.get()) < kRsaExponentMin)
        return refuse(Refusal::weak_key,
                      "RSA with an even modulus, or an exponent that is even or below 65537");
    if (OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
        OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1)
        return OwnedKey();
    const Owned<OSSL_PARAM, OSSL_PARAM_free> parameters(OSSL_PARAM_BLD_to_param(builder.get()));
    return parameters ? key_from("RSA", parameters.get()) : OwnedKey();
}

Verdict<OwnedKey> read_key(const SshKeyType& type, SshReader& reader) {
    switch (type.kind) {
        case Kind::ed25519: return read_ed25519(reader).map([] { return OwnedKey(); });
        case Kind::ecdsa: return read_ecdsa(type, reader);
        case Kind::rsa: return read_rsa(reader);
    }
    return OwnedKey();
}

tl::unexpected<Refused> not_taken(std::string_view type) {
    if (type.ends_with(kSshCertificateSuffix))
        return refuse(Refusal::ca_is_cert, "a certificate stands where a key is due");
    if (type.starts_with("sk-"))
        return refuse(
            Refusal::cert_type,
            "keys of security keys (sk-…) are not taken: nothing here asks whether one was touched");
    if (type == "ssh-dss") return refuse(Refusal::weak_key, "DSA keys (ssh-dss) are not taken");
    return refuse(Refusal::cert_type, "keys of the type '" + shown(type) + "' are not taken");
}

// L, the order of the main subgroup (RFC 8032 section 5.1), little-endian as S is.
constexpr std::array<std::uint8_t, 32> kEd25519Order = {
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0x10};

bool is_below_order(Bytes s) {
    return std::lexicographical_compare(
        s.rbegin(), s.rend(), kEd25519Order.rbegin(), kEd25519Order.rend(),
        [](auto a, auto b) { return static_cast<unsigned>(a) < static_cast<unsigned>(b); });
}

struct Signed {
    const char* hash = nullptr;  // none: the algorithm has its own
    std::string signature;       // as OpenSSL wants it
};

Verdict<Signed> read_ed25519_signature(Bytes body) {
    if (body.size() != kEd25519SignatureBytes)
        return refuse(Refusal::malformed, "an Ed25519 signature has 64 bytes");
    if (!is_below_order(body.subspan(32)))
        return refuse(Refusal::bad_signature, "the Ed25519 signature is not in its one form (S < L)");
    return Signed{.hash = nullptr, .signature = std::string(as_text(body))};
}

// OpenSSL wants the two numbers in DER; it looks at their range itself.
Verdict<Signed> read_ecdsa_signature(const SshKeyType& type, Bytes body) {
    SshReader reader(body);
    const Bytes r_bytes = reader.mpint(), s_bytes = reader.mpint();
    if (auto done = reader.finish("the ECDSA signature"); !done) return tl::unexpected(done.error());
    if (std::max(r_bytes.size(), s_bytes.size()) > kEcdsaNumberBytesMax)
        return refuse(Refusal::malformed, "the ECDSA signature is too long");
    Number r = number_of(r_bytes), s = number_of(s_bytes);
    const Owned<ECDSA_SIG, ECDSA_SIG_free> numbers(ECDSA_SIG_new());
    Signed made{.hash = type.hash, .signature = {}};
    if (!numbers || ECDSA_SIG_set0(numbers.get(), r.get(), s.get()) != 1) return made;
    (void)r.release();
    (void)s.release();
    const int bytes = i2d_ECDSA_SIG(numbers.get(), nullptr);
    made.signature.resize(static_cast<std::size_t>(std::max(bytes, 0)));
    auto* out = reinterpret_cast<unsigned char*>(made.signature.data());
    i2d_ECDSA_SIG(numbers.get(), &out);
    return made;
}

Verdict<Signed> read_rsa_signature(std::string_view algorithm, Bytes body, std::size_t modulus_bytes) {
    if (algorithm == "ssh-rsa")
        return refuse(Refusal::weak_hash, "an RSA signature with SHA-1 (ssh-rsa): make it with rsa-sha2-512");
    if (body.size() != modulus_bytes)
        return refuse(Refusal::malformed, "the RSA signature is not as long as the modulus");
    return Signed{.hash = algorithm == "rsa-sha2-256" ? "SHA256" : "SHA512",
                  .signature = std::string(as_text(body))};
}

bool makes(const SshKeyType& type, std::string_view algorithm) {
    if (type.kind != Kind::rsa) return algorithm == type.name;
    return algorithm == "rsa-sha2-256" || algorithm == "rsa-sha2-512" || algorithm == "ssh-rsa";
}

bool verifies(EVP_PKEY* key, const Signed& made, Bytes message) {
    const Owned<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
    const bool good =
        context &&
        EVP_DigestVerifyInit_ex(context.get(), nullptr, made.hash, openssl_library(), nullptr, key,
                                nullptr) == 1 &&
        EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(made.signature.data()),
                         made.signature.size(), reinterpret_cast<const unsigned char*>(message.data()),
                         message.size()) == 1;
    if (!good) ERR_clear_error();
    return good;
}

// libsodium's takes half the time of OpenSSL's, and no signature whose R is of small order.
bool verifies(Bytes point, const Signed& made, Bytes message) {
    const auto octets = [](Bytes bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); };
    return crypto_sign_verify_detached(octets(as_bytes(made.signature)), octets(message), message.size(),
                                       octets(point)) == 0;
}

}  // namespace

Verdict<SshPublicKey> SshPublicKey::read(std::string_view type_name, SshReader& reader) {
    const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                   [&](const SshKeyType& known) { return known.name == type_name; });
    if (type == kTypes.end()) return not_taken(type_name);
    const Bytes before = reader.rest();
    auto key = read_key(*type, reader);
    if (reader.failed()) return tl::unexpected(reader.finish("the key").error());
    if (!key) return tl::unexpected(key.error());
    if (!*key && type->kind != Kind::ed25519)
        return refuse(Refusal::malformed, "not a key of the type " + std::string(type->name));
    SshWriter blob;
    blob.string(type->name).raw(reader.since(before));
    return SshPublicKey(*type, std::move(blob).written(), std::shared_ptr<EVP_PKEY>(std::move(*key)));
}

Verdict<SshPublicKey> SshPublicKey::parse(Bytes blob) {
    if (blob.size() > kSshKeyBytesMax) return refuse(Refusal::too_large, "the key is larger than 8 KiB");
    SshReader reader(blob);
    const std::string_view type = reader.name();
    if (reader.failed()) return tl::unexpected(reader.finish("the key").error());
    auto key = read(type, reader);
    if (!key) return key;
    if (auto done = reader.finish("the key"); !done) return tl::unexpected(done.error());
    return key;
}

std::string_view SshPublicKey::type() const noexcept { return type_->name; }

std::string SshPublicKey::fingerprint() const {
    std::array<unsigned char, crypto_hash_sha256_BYTES> digest;
    crypto_hash_sha256(digest.data(), reinterpret_cast<const unsigned char*>(blob_.data()), blob_.size());
    constexpr int kVariant = sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
    std::array<char, sodium_base64_ENCODED_LEN(crypto_hash_sha256_BYTES, kVariant)> text;
    sodium_bin2base64(text.data(), text.size(), digest.data(), digest.size(), kVariant);
    return std::string("SHA256:") + text.data();
}

Verdict<void> SshPublicKey::verify(Bytes message, Bytes signature) const {
    SshReader reader(signature);
    const std::string_view algorithm = reader.name();
    const Bytes body = reader.string();
    if (auto done = reader.finish("the signature"); !done) return done;
    if (!makes(*type_, algorithm))
        return refuse(Refusal::bad_signature, "a signature of the type '" + shown(algorithm) +
                                                  "' is not made by a key of the type " +
                                                  std::string(type_->name));
    const auto made = [&]() -> Verdict<Signed> {
        switch (type_->kind) {
            case Kind::ed25519: return read_ed25519_signature(body);
            case Kind::ecdsa: return read_ecdsa_signature(*type_, body);
            case Kind::rsa: break;
        }
        return read_rsa_signature(algorithm, body, static_cast<std::size_t>(EVP_PKEY_get_size(key_.get())));
    }();
    if (!made) return tl::unexpected(made.error());
    const bool good = type_->kind == Kind::ed25519
                          ? verifies(as_bytes(blob_).last(kEd25519KeyBytes), *made, message)
                          : verifies(key_.get(), *made, message);
    if (!good) return refuse(Refusal::bad_signature, "the signature is not by the key " + fingerprint());
    return {};
}

Verdict<std::string> decode_base64(std::string_view text, const char* ignored, std::string_view what) {
    std::string bytes(text.size() / 4 * 3 + 3, '\0');
    std::size_t size = 0;
    const char* end = nullptr;
    if (text.empty() ||
        sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(),
                          text.size(), ignored, &size, &end, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        end != text.data() + text.size())
        return refuse(Refusal::malformed, std::string(what) + " is not in base64");
    bytes.resize(size);
    return bytes;
}

std::string encode_base64(std::string_view bytes) {
    std::string text(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
    sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                      bytes.size(), sodium_base64_VARIANT_ORIGINAL);
    text.pop_back();  // the terminating zero
    return text;
}

Verdict<std::string> decode_ssh_line(std::string_view line, std::size_t bytes_max, std::string_view what) {
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.find('\n') != std::string_view::npos)
        return refuse(Refusal::malformed, std::string(what) + " is more than one line");
    const auto type_end = line.find(' ');
    if (type_end == std::string_view::npos)
        return refuse(Refusal::malformed,
                      std::string(what) + " is not a line like \"ssh-ed25519 AAAA… comment\"");
    const std::string_view type = line.substr(0, type_end);
    const std::string_view after = line.substr(type_end + 1);
    const std::string_view base64 = after.substr(0, after.find(' '));
    if (base64.size() / 4 * 3 > bytes_max)
        return refuse(Refusal::too_large, std::string(what) + " is too large");
    auto bytes = decode_base64(base64, nullptr, what);
    if (bytes && SshReader(as_bytes(*bytes)).name() != type)
        return refuse(Refusal::malformed, std::string(what) + " is of another type than its line says");
    return bytes;
}

Verdict<SshPublicKey> parse_ssh_key_line(std::string_view line) {
    if (line.size() > kSshKeyLineBytesMax) return refuse(Refusal::too_large, "the key's line is too long");
    auto blob = decode_ssh_line(line, kSshKeyBytesMax, "the key");
    if (!blob) return tl::unexpected(blob.error());
    return SshPublicKey::parse(as_bytes(*blob));
}

}  // namespace vern::trust
