#include "control/trust/ssh_key.h"

#include "ssh_workshop.h"

namespace vern::test {
namespace {

using namespace std::literals;

const std::vector<std::string> kTypes{"ed25519",   "ecdsa-256", "ecdsa-384",
                                      "ecdsa-521", "rsa-2048",  "rsa-3072"};

std::string rsa_blob(std::string_view exponent, std::string_view modulus) {
    return SshWriter().string("ssh-rsa"sv).string(exponent).string(modulus).written();
}
std::string odd_modulus(std::size_t bits) {
    std::string modulus((bits + 7) / 8, '\x5a');
    modulus.front() = static_cast<char>(1 << (bits - 1) % 8);
    modulus.back() = '\x5b';
    return bits % 8 == 0 ? '\0' + modulus : modulus;
}
Verdict<SshPublicKey> parse(std::string_view blob) { return SshPublicKey::parse(as_bytes(blob)); }
std::string ed25519_blob(std::string_view point) {
    return SshWriter().string("ssh-ed25519"sv).string(point).written();
}

TEST(SshKey, IsReadWithItsFingerprint) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    for (const std::string& type : kTypes) {
        const std::string name = workshop.key(type);
        const auto key = parse_ssh_key_line(workshop.public_line(name));
        ASSERT_TRUE(key) << key.error().sentence;
        const auto listed = run_process({"ssh-keygen", "-l", "-f", workshop.path(name + ".pub")});
        ASSERT_TRUE(listed);
        EXPECT_NE(listed->output.find(" " + key->fingerprint() + " "), std::string::npos) << listed->output;
        EXPECT_EQ(parse(key->blob()), *key);
        for (std::size_t size = 0; size < key->blob().size(); ++size)
            EXPECT_TRUE(is_refused(parse(key->blob().substr(0, size)), Refusal::malformed)) << type << size;
        EXPECT_TRUE(is_refused(parse(key->blob() + '\0'), Refusal::malformed, "after its end"));
    }
}

TEST(SshKey, LinesHaveOneForm) {
    const std::string good =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDPiPRT0AdorI5ayRqBTQROHMRyoQCDpE6dk5PGdue9w";
    EXPECT_TRUE(parse_ssh_key_line(good));
    EXPECT_TRUE(parse_ssh_key_line(good + "\n"));
    EXPECT_TRUE(parse_ssh_key_line(good + " a comment of several words\n"));
    for (const std::string& bad :
         {std::string(), std::string("ssh-ed25519"), "restrict " + good, good + "\n" + good, good.substr(12),
          "ssh-rsa" + good.substr(11), good + "=", good.substr(0, good.size() - 1),
          "ssh-ed25519  " + good.substr(12), good + "\r\n"})
        EXPECT_TRUE(is_refused(parse_ssh_key_line(bad), Refusal::malformed)) << bad;
    EXPECT_TRUE(
        is_refused(parse_ssh_key_line(good + std::string(kSshKeyLineBytesMax, ' ')), Refusal::too_large));
}

TEST(SshKey, TypesThatAreNotTaken) {
    NEEDS_SSH_KEYGEN();
    const std::string sk = SshWriter()
                               .string("sk-ssh-ed25519@openssh.com"sv)
                               .string(Signer(1).point())
                               .string("ssh:"sv)
                               .written();
    EXPECT_TRUE(is_refused(parse(sk), Refusal::cert_type, "security keys"));
    EXPECT_TRUE(is_refused(parse(strings({"ssh-dss", "x"})), Refusal::weak_key, "DSA"));
    EXPECT_TRUE(is_refused(parse(strings({"ssh-new\n", "x"})), Refusal::cert_type, "'ssh-new?'"));
    EXPECT_TRUE(is_refused(parse(HandMade().bytes()), Refusal::ca_is_cert));
    const Workshop& workshop = Workshop::get();
    const std::string line = workshop.certify(workshop.key("ed25519", "-ca"), workshop.key("ed25519"));
    EXPECT_TRUE(is_refused(parse_ssh_key_line(line), Refusal::ca_is_cert));
}

TEST(SshKey, WeakRsa) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    EXPECT_TRUE(is_refused(parse_ssh_key_line(workshop.public_line(workshop.key("rsa-1024"))),
                           Refusal::weak_key, "2048"));
    const std::string modulus = odd_modulus(2048);
    EXPECT_TRUE(parse(rsa_blob("\x01\0\x01"sv, modulus)));
    EXPECT_TRUE(parse(rsa_blob("\x01\0\x01"sv, odd_modulus(8192))));
    EXPECT_TRUE(is_refused(parse(rsa_blob("\x01\0\x01"sv, odd_modulus(2047))), Refusal::weak_key, "2048"));
    EXPECT_TRUE(is_refused(parse(rsa_blob("\x01\0\x01"sv, odd_modulus(8193))), Refusal::too_large));
    for (const auto& exponent :
         {""sv, "\x01"sv, "\x03"sv, "\x11"sv, "\0\xff\xff"sv, "\x01\0\0"sv, "\x01\0\x02"sv})
        EXPECT_TRUE(is_refused(parse(rsa_blob(exponent, modulus)), Refusal::weak_key, "exponent"));
    EXPECT_TRUE(is_refused(parse(rsa_blob("\x01\0\0\0\0\0\0\0\x01"sv, modulus)), Refusal::too_large));
    std::string even = modulus;
    even.back() = '\x5a';
    EXPECT_TRUE(is_refused(parse(rsa_blob("\x01\0\x01"sv, even)), Refusal::weak_key, "even"));
    EXPECT_TRUE(
        is_refused(parse(rsa_blob("\0\x01\0\x01"sv, modulus)), Refusal::malformed, "longer than needed"));
    EXPECT_TRUE(is_refused(parse(rsa_blob("\x81"sv, modulus)), Refusal::malformed, "negative"));
}

TEST(SshKey, WeakEd25519) {
    const std::string zeros(32, '\0');
    std::string one = zeros, minus_one(32, '\xff'),
                order_8 =
                    "\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0"
                    "\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05";
    one[0] = 1;
    minus_one[0] = '\xec';
    minus_one[31] = '\x7f';
    std::string not_canonical = minus_one;  // p + 1, which is 1
    not_canonical[0] = '\xee';
    for (const std::string& point : {zeros, one, minus_one, order_8, not_canonical, std::string(32, '\xff')})
        EXPECT_TRUE(is_refused(parse(ed25519_blob(point)), Refusal::weak_key));
    EXPECT_TRUE(is_refused(parse(ed25519_blob(Signer(1).point() + "x")), Refusal::malformed, "32"));
}

TEST(SshKey, PointsAreOnTheirCurve) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const std::string blob = workshop.public_key(workshop.key("ecdsa-256")).blob();
    const auto with = [&](std::size_t at_from_end, char value) {
        std::string changed = blob;
        changed[changed.size() - at_from_end] = value;
        return changed;
    };
    const char last = blob.back();
    EXPECT_TRUE(
        is_refused(parse(with(1, static_cast<char>(last ^ 1))), Refusal::malformed, "ecdsa-sha2-nistp256"));
    EXPECT_TRUE(is_refused(parse(with(65, '\x02')), Refusal::malformed, "uncompressed"));
    std::string_view point = std::string_view(blob).substr(blob.size() - 65);
    EXPECT_TRUE(is_refused(parse(strings({"ecdsa-sha2-nistp256", "nistp384", point})), Refusal::malformed));
    EXPECT_TRUE(is_refused(parse(strings({"ecdsa-sha2-nistp384", "nistp384", point})), Refusal::malformed));
    EXPECT_TRUE(is_refused(parse(strings({"ecdsa-sha2-nistp256", "nistp256", std::string_view("\0", 1)})),
                           Refusal::malformed));
    const std::string compressed =
        std::string(1, (last & 1) != 0 ? '\x03' : '\x02') + std::string(point.substr(1, 32));
    EXPECT_TRUE(
        is_refused(parse(strings({"ecdsa-sha2-nistp256", "nistp256", compressed})), Refusal::malformed));
}

TEST(SshKey, Ed25519SignaturesHaveOneForm) {
    const Signer signer(3);
    const SshPublicKey key = signer.key();
    const auto verify = [&](const std::string& raw) {
        return key.verify(as_bytes("message"), as_bytes(strings({"ssh-ed25519", raw})));
    };
    const std::string good = signer.raw_signature("message");
    EXPECT_TRUE(verify(good));
    EXPECT_TRUE(is_refused(key.verify(as_bytes("massage"), as_bytes(signer.signature("message"))),
                           Refusal::bad_signature, key.fingerprint()));

    constexpr std::string_view kOrder(
        "\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10",
        32);
    std::string malleable = good;
    unsigned carry = 0;
    for (std::size_t i = 0; i < 32; ++i) {
        carry += static_cast<unsigned char>(good[32 + i]) +
                 static_cast<unsigned>(static_cast<unsigned char>(kOrder[i]));
        malleable[32 + i] = static_cast<char>(carry & 0xff);
        carry >>= 8;
    }
    EXPECT_TRUE(is_refused(verify(malleable), Refusal::bad_signature, "S < L"));
    EXPECT_TRUE(
        is_refused(verify(good.substr(0, 32) + std::string(kOrder)), Refusal::bad_signature, "S < L"));
    EXPECT_TRUE(is_refused(verify(good + "x"), Refusal::malformed, "64"));
    EXPECT_TRUE(is_refused(verify(good.substr(1)), Refusal::malformed, "64"));
    EXPECT_TRUE(is_refused(key.verify(as_bytes("message"), as_bytes(strings({"ssh-ed25519", good, ""}))),
                           Refusal::malformed));
    EXPECT_TRUE(is_refused(key.verify(as_bytes("message"), as_bytes(strings({"rsa-sha2-512", good}))),
                           Refusal::bad_signature, "rsa-sha2-512"));
    EXPECT_TRUE(is_refused(key.verify(as_bytes("message"), {}), Refusal::malformed));
}

TEST(SshKey, EcdsaNumbersAreInRange) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const SshPublicKey key = workshop.public_key(workshop.key("ecdsa-256"));
    const auto verify = [&](std::string_view r, std::string_view s) {
        return key.verify(as_bytes("message"), as_bytes(strings({"ecdsa-sha2-nistp256", strings({r, s})})));
    };
    EXPECT_TRUE(is_refused(verify("", ""), Refusal::bad_signature));
    EXPECT_TRUE(is_refused(verify("\x01", ""), Refusal::bad_signature));
    EXPECT_TRUE(is_refused(verify("\x01", "\x01"), Refusal::bad_signature));
    EXPECT_TRUE(is_refused(verify("\x81", "\x01"), Refusal::malformed, "negative"));
    EXPECT_TRUE(
        is_refused(verify("\x01", std::string_view("\0\x01", 2)), Refusal::malformed, "longer than needed"));
    EXPECT_TRUE(is_refused(verify("\x01", std::string(67, '\x01')), Refusal::malformed, "too long"));
}

TEST(SshKey, RsaSignaturesAreOfOneLengthAndNotSha1) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const SshPublicKey key = workshop.public_key(workshop.key("rsa-2048"));
    const auto verify = [&](std::string_view algorithm, std::size_t bytes) {
        return key.verify(as_bytes("message"), as_bytes(strings({algorithm, std::string(bytes, 'x')})));
    };
    for (const auto& algorithm : {"rsa-sha2-256", "rsa-sha2-512"}) {
        EXPECT_TRUE(is_refused(verify(algorithm, 256), Refusal::bad_signature));
        EXPECT_TRUE(is_refused(verify(algorithm, 255), Refusal::malformed, "as long as the modulus"));
        EXPECT_TRUE(is_refused(verify(algorithm, 257), Refusal::malformed, "as long as the modulus"));
    }
    EXPECT_TRUE(is_refused(verify("ssh-rsa", 256), Refusal::weak_hash, "SHA-1"));
    EXPECT_TRUE(is_refused(verify("ssh-rsa-cert-v01@openssh.com", 256), Refusal::bad_signature));
    EXPECT_TRUE(is_refused(verify("ssh-ed25519", 64), Refusal::bad_signature));
}

}  // namespace
}  // namespace vern::test
