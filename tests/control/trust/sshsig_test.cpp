#include "control/trust/sshsig.h"

#include "ssh_workshop.h"

namespace vern::test {
namespace {

using namespace std::literals;

const std::string kPurpose = "wg-binding@vern";
const std::string kMessage = "{\"version\":1}\n";

struct HandSigned {
    Signer signer{2};
    std::string magic = "SSHSIG";
    std::uint32_t version = 1;
    std::string key = HandMade().bytes();
    std::string purpose = kPurpose;
    std::string reserved;
    std::string hash = "sha512";
    std::string after;

    std::string bytes() const {
        std::string digest(hash == "sha256" ? 32 : 64, '\0');
        auto* out = reinterpret_cast<unsigned char*>(digest.data());
        const auto* in = reinterpret_cast<const unsigned char*>(kMessage.data());
        if (hash == "sha256") {
            crypto_hash_sha256(out, in, kMessage.size());
        } else {
            crypto_hash_sha512(out, in, kMessage.size());
        }
        const std::string signed_bytes = SshWriter()
                                             .raw("SSHSIG"sv)
                                             .string(purpose)
                                             .string(reserved)
                                             .string(hash)
                                             .string(digest)
                                             .written();
        return SshWriter()
            .raw(magic)
            .u32(version)
            .string(key)
            .string(purpose)
            .string(reserved)
            .string(hash)
            .string(signer.signature(signed_bytes))
            .raw(after)
            .written();
    }
    Verdict<SshCertificate> verified() const {
        return parse_sshsig(as_bytes(bytes())).and_then([](const Sshsig& sshsig) {
            return verify_certified_sshsig(sshsig, kPurpose, as_bytes(kMessage));
        });
    }
};

Verdict<void> verify(const Verdict<Sshsig>& sshsig, std::string_view purpose = kPurpose,
                     std::string_view message = kMessage) {
    if (!sshsig) return tl::unexpected(sshsig.error());
    return verify_sshsig(*sshsig, purpose, as_bytes(message));
}

TEST(Sshsig, OfSshKeygenWithEveryTypeOfKey) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    for (const std::string type : {"ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048"}) {
        const std::string key = workshop.key(type);
        const auto sshsig = parse_sshsig_text(workshop.sign(key, kPurpose, kMessage));
        EXPECT_TRUE(verify(sshsig)) << type;
        EXPECT_TRUE(is_refused(verify(sshsig, "file"), Refusal::namespace_, "wg-binding@vern"));
        EXPECT_TRUE(is_refused(verify(sshsig, kPurpose, kMessage + "\n"), Refusal::bad_signature));
        ASSERT_TRUE(sshsig);
        EXPECT_TRUE(is_refused(verify_certified_sshsig(*sshsig, kPurpose, as_bytes(kMessage)),
                               Refusal::cert_type, "with the certificate"));

        const auto certificate =
            parse_ssh_certificate_line(workshop.certify(workshop.key("ed25519", "-ca"), key));
        ASSERT_TRUE(certificate);
        const auto certified = parse_sshsig_text(workshop.sign(key + "-cert", kPurpose, kMessage));
        ASSERT_TRUE(certified) << certified.error().sentence;
        const auto shown = verify_certified_sshsig(*certified, kPurpose, as_bytes(kMessage));
        ASSERT_TRUE(shown) << type << shown.error().sentence;
        EXPECT_EQ(shown->signed_bytes, certificate->signed_bytes);
        EXPECT_TRUE(
            is_refused(verify_certified_sshsig(*certified, kPurpose, as_bytes("x")), Refusal::bad_signature));
        EXPECT_TRUE(
            is_refused(verify_certified_sshsig(*certified, "x", as_bytes(kMessage)), Refusal::namespace_));
    }
}

TEST(Sshsig, BothHashes) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    for (const std::string hash : {"sha256", "sha512"}) {
        const auto sshsig = parse_sshsig_text(
            workshop.sign(workshop.key("ed25519"), kPurpose, kMessage, {"-O", "hashalg=" + hash}));
        EXPECT_TRUE(verify(sshsig));
        EXPECT_EQ(sshsig->hash, hash);
    }
    HandSigned made;
    made.hash = "sha256";
    EXPECT_TRUE(made.verified());
    made.hash = "sha1";
    EXPECT_TRUE(is_refused(made.verified(), Refusal::weak_hash, "sha1"));
}

TEST(Sshsig, ByHand) {
    EXPECT_TRUE(HandSigned().verified());
    HandSigned made;
    made.reserved = "for later";
    EXPECT_TRUE(made.verified());
    made = {};
    made.signer = Signer(5);
    EXPECT_TRUE(is_refused(made.verified(), Refusal::bad_signature));
    made = {};
    made.version = 2;
    EXPECT_TRUE(is_refused(made.verified(), Refusal::malformed, "version 2"));
    made = {};
    made.magic = "SSHSIH";
    EXPECT_TRUE(is_refused(made.verified(), Refusal::malformed, "ssh-keygen -Y sign"));
    for (const auto& purpose : {""sv, "wg-binding@vern\0"sv, "wg\n"sv}) {
        made = {};
        made.purpose = purpose;
        EXPECT_TRUE(is_refused(made.verified(), Refusal::malformed));
    }
    made = {};
    made.after = "x";
    EXPECT_TRUE(is_refused(made.verified(), Refusal::malformed, "after its end"));
    made.after = std::string(kSshsigBytesMax, 'x');
    EXPECT_TRUE(is_refused(made.verified(), Refusal::too_large));
    made = {};
    made.key = HandMade().bytes() + "x";
    EXPECT_TRUE(is_refused(made.verified(), Refusal::malformed));
    made.key = Signer(2).blob();
    EXPECT_TRUE(is_refused(made.verified(), Refusal::cert_type));
}

TEST(Sshsig, KeyThatIsNotTheCertifiedOne) {
    auto sshsig = parse_sshsig(as_bytes(HandSigned().bytes()));
    ASSERT_TRUE(sshsig);
    sshsig->key = Signer(5).key();
    EXPECT_TRUE(
        is_refused(verify_certified_sshsig(*sshsig, kPurpose, as_bytes(kMessage)), Refusal::key_mismatch));
}

TEST(Sshsig, CutAnywhereIsMalformed) {
    const std::string bytes = HandSigned().bytes();
    for (std::size_t size = 0; size < bytes.size(); ++size)
        ASSERT_TRUE(
            is_refused(parse_sshsig(as_bytes(std::string_view(bytes).substr(0, size))), Refusal::malformed))
            << size;
}

TEST(Sshsig, AnyBitFlippedNeverVerifies) {
    std::string bytes = HandSigned().bytes();
    const SshTrust trust = trusting(HandMade().ca.key());
    const auto accepted = [&] {
        return parse_sshsig(as_bytes(bytes))
            .and_then([](const Sshsig& sshsig) {
                return verify_certified_sshsig(sshsig, kPurpose, as_bytes(kMessage));
            })
            .and_then([&](const SshCertificate& certificate) {
                return verify_ssh_certificate(certificate, trust, kNow, std::nullopt);
            });
    };
    ASSERT_TRUE(accepted());
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
        ASSERT_FALSE(accepted()) << bit / 8;
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    }
}

TEST(Sshsig, ArmourHasOneForm) {
    NEEDS_SSH_KEYGEN();
    const std::string good = Workshop::get().sign(Workshop::get().key("ed25519"), kPurpose, kMessage);
    const std::string open = good.substr(0, good.size() - 1);
    EXPECT_TRUE(parse_sshsig_text(open));
    for (std::size_t size = 0; size < open.size(); ++size)
        ASSERT_TRUE(is_refused(parse_sshsig_text(open.substr(0, size)), Refusal::malformed)) << size;
    std::string crlf, dashes = good, inside = good;
    for (const char c : good) crlf += c == '\n' ? "\r\n" : std::string(1, c);
    dashes[0] = '=';
    inside[40] = '!';
    for (const std::string& bad : {" " + good, good + "\n", good + good, crlf, dashes, inside,
                                   "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"s,
                                   "-----BEGIN SSH SIGNATURE-----\n\n-----END SSH SIGNATURE-----\n"s})
        EXPECT_TRUE(is_refused(parse_sshsig_text(bad), Refusal::malformed)) << bad;
    EXPECT_TRUE(is_refused(parse_sshsig_text(std::string(kSshsigTextBytesMax + 1, 'A')), Refusal::too_large));
}

}  // namespace
}  // namespace vern::test
