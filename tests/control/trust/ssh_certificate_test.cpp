#include "control/trust/ssh_certificate.h"

#include <limits>

#include "control/text.h"
#include "ssh_workshop.h"

namespace vern::test {
namespace {

using namespace std::literals;

const std::vector<std::string> kTypes{"ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048"};
constexpr UnixSeconds kForever = std::numeric_limits<UnixSeconds>::max();

Verdict<Identity> verify(const Verdict<SshCertificate>& certificate, const SshTrust& trust,
                         UnixSeconds now = kNow, std::string_view source = "",
                         UnixSeconds skew = kSshSkewSeconds) {
    if (!certificate) return tl::unexpected(certificate.error());
    return verify_ssh_certificate(*certificate, trust, now, parse_address(source), skew);
}
Verdict<Identity> verify(const HandMade& made, UnixSeconds now = kNow, std::string_view source = "",
                         UnixSeconds skew = kSshSkewSeconds) {
    return verify(made.parsed(), trusting(made.ca.key()), now, source, skew);
}
std::string with_value(std::string_view name, std::string_view value) {
    return strings({name, strings({value})});
}

TEST(SshCertificate, OfEveryTypeByEveryTypeOfCa) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    for (const std::string& ca : kTypes) {
        const std::string ca_name = workshop.key(ca, "-ca");
        for (const std::string& type : kTypes) {
            const std::string name = workshop.key(type);
            const auto certificate =
                parse_ssh_certificate_line(workshop.certify(ca_name, name, {}, "alice,bob"));
            ASSERT_TRUE(certificate) << certificate.error().sentence;
            const auto identity = verify(certificate, trusting(workshop.public_key(ca_name)));
            ASSERT_TRUE(identity) << ca << " " << type << ": " << identity.error().sentence;
            Identity expected;
            expected.kind = Identity::Kind::ssh;
            expected.issuer = workshop.public_key(ca_name).fingerprint();
            expected.serial = "7";
            expected.key = workshop.public_key(name).fingerprint();
            expected.not_before = kBegin;
            expected.not_after = kEnd;
            expected.key_id = "alice@laptop";
            expected.principals = {"alice", "bob"};
            EXPECT_EQ(*identity, expected);
            EXPECT_EQ(certificate->extensions.size(), 5U);
        }
    }
}

TEST(SshCertificate, HandMadeIsGood) {
    const auto identity = verify(HandMade());
    ASSERT_TRUE(identity) << identity.error().sentence;
    EXPECT_EQ(identity->key, Signer(2).key().fingerprint());
}

TEST(SshCertificate, CutAnywhereIsMalformed) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    for (const std::string& type : kTypes) {
        const std::string line = workshop.certify(workshop.key(type, "-ca"), workshop.key(type));
        const std::string bytes = decode_ssh_line(line, kSshCertificateBytesMax, "it").value();
        ASSERT_TRUE(parse_ssh_certificate(as_bytes(bytes)));
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            const auto cut = parse_ssh_certificate(as_bytes(std::string_view(bytes).substr(0, size)));
            ASSERT_TRUE(is_refused(cut, Refusal::malformed)) << type << size;
        }
        EXPECT_TRUE(
            is_refused(parse_ssh_certificate(as_bytes(bytes + '\0')), Refusal::malformed, "after its end"));
    }
}

TEST(SshCertificate, AnyBitFlippedNeverVerifies) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    for (const std::string& type : kTypes) {
        const std::string ca = workshop.key(type, "-ca");
        const SshTrust trust = trusting(workshop.public_key(ca));
        std::string bytes =
            decode_ssh_line(workshop.certify(ca, workshop.key(type)), kSshCertificateBytesMax, "it").value();
        ASSERT_TRUE(verify(parse_ssh_certificate(as_bytes(bytes)), trust));
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            const auto flip = static_cast<char>(1 << i % 8);
            bytes[i] = static_cast<char>(bytes[i] ^ flip);
            ASSERT_FALSE(verify(parse_ssh_certificate(as_bytes(bytes)), trust)) << type << " at " << i;
            bytes[i] = static_cast<char>(bytes[i] ^ flip);
        }
    }
}

TEST(SshCertificate, ValidityIsFromAfterToBefore) {
    const HandMade made;
    EXPECT_TRUE(is_refused(verify(made, kBegin - 61), Refusal::not_yet_valid));
    EXPECT_TRUE(verify(made, kBegin - 60));
    EXPECT_TRUE(is_refused(verify(made, kBegin - 1, "", 0), Refusal::not_yet_valid));
    EXPECT_TRUE(is_refused(verify(made, kBegin - 1, "", -1), Refusal::not_yet_valid));
    EXPECT_TRUE(verify(made, kBegin, "", -1));
    EXPECT_TRUE(verify(made, kEnd - 1));
    EXPECT_TRUE(is_refused(verify(made, kEnd), Refusal::expired));
    EXPECT_TRUE(is_refused(verify(made, kEnd, "", 3600), Refusal::expired));
    EXPECT_TRUE(is_refused(verify(made, -1), Refusal::not_yet_valid));
}

TEST(SshCertificate, TheEndOfTime) {
    HandMade made;
    made.valid_after = 0;
    made.valid_before = ~std::uint64_t{0};
    const auto identity = verify(made);
    ASSERT_TRUE(identity);
    EXPECT_EQ(identity->not_after, kForever);
    EXPECT_TRUE(verify(made, -60));
    EXPECT_TRUE(is_refused(verify(made, std::numeric_limits<UnixSeconds>::min()), Refusal::not_yet_valid));
    made.valid_after = made.valid_before - 1;
    EXPECT_TRUE(is_refused(verify(made), Refusal::not_yet_valid));
    EXPECT_TRUE(is_refused(verify(made, kForever), Refusal::expired));
}

TEST(SshCertificate, ThatIsNeverValidIsNotRevivedBySkew) {
    HandMade made;
    made.valid_before = made.valid_after;
    EXPECT_TRUE(is_refused(verify(made, kBegin - 30), Refusal::malformed, "ends before it begins"));
    made.valid_before = made.valid_after - 10;
    EXPECT_TRUE(is_refused(verify(made, kBegin - 30), Refusal::malformed, "ends before it begins"));
}

TEST(SshCertificate, ExpiredAndComingOnesOfSshKeygen) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const std::string ca = workshop.key("ed25519", "-ca"), key = workshop.key("ed25519");
    const SshTrust trust = trusting(workshop.public_key(ca));
    const auto issue = [&](const std::string& validity) {
        return parse_ssh_certificate_line(workshop.certify(ca, key, {"-V", validity}));
    };
    EXPECT_TRUE(is_refused(verify(issue("0x1:0x10"), trust), Refusal::expired));
    EXPECT_TRUE(is_refused(verify(issue("0x77359400:0x77359500"), trust), Refusal::not_yet_valid));
    const auto forever = verify(issue("always:forever"), trust);
    ASSERT_TRUE(forever);
    EXPECT_EQ(forever->not_before, 0);
    EXPECT_EQ(forever->not_after, kForever);
}

TEST(SshCertificate, OfAHostOrOfNobody) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const std::string ca = workshop.key("ed25519", "-ca"), key = workshop.key("ed25519");
    const SshTrust trust = trusting(workshop.public_key(ca));
    EXPECT_TRUE(is_refused(verify(parse_ssh_certificate_line(workshop.certify(ca, key, {"-h"})), trust),
                           Refusal::cert_type, "host"));
    EXPECT_TRUE(is_refused(verify(parse_ssh_certificate_line(workshop.certify(ca, key, {}, "")), trust),
                           Refusal::empty_principals));
    HandMade made;
    for (const std::uint32_t role : {0U, 3U, ~0U}) {
        made.role = role;
        EXPECT_TRUE(is_refused(made.parsed(), Refusal::malformed, "neither"));
    }
}

TEST(SshCertificate, PrincipalsAreWellFormed) {
    HandMade made;
    for (const std::string& principals :
         {strings({""}), strings({"alice", ""}), strings({std::string_view("alice\0", 6)}),
          strings({"ali\nce"}), strings({"alice"}) + "x", "\xff"s + strings({"alice"})}) {
        made.principals = principals;
        EXPECT_TRUE(is_refused(made.parsed(), Refusal::malformed));
    }
    made.principals.clear();
    for (int i = 0; i < 256; ++i) made.principals += strings({"alice"});
    EXPECT_TRUE(verify(made));
    made.principals += strings({"alice"});
    EXPECT_TRUE(is_refused(made.parsed(), Refusal::too_large, "256"));
}

TEST(SshCertificate, KeyIdIsText) {
    HandMade made;
    made.key_id = "";
    EXPECT_TRUE(verify(made));
    for (const auto& key_id : {"alice\0"sv, "a\nb"sv, "\xff"sv, "\x1b[2J"sv}) {
        made.key_id = key_id;
        EXPECT_TRUE(is_refused(made.parsed(), Refusal::malformed, "inside a name"));
    }
}

TEST(SshCertificate, OptionsAreSortedAndOnce) {
    HandMade made;
    const std::string a = strings({"a", ""}), b = strings({"b", ""}),
                      nul = strings({std::string_view("b\0", 2), ""});
    made.extensions = a + b;
    EXPECT_TRUE(verify(made));  // extensions need not be known
    for (const std::string& options : {b + a, a + a, a + b + b}) {
        made.extensions = options;
        EXPECT_TRUE(is_refused(made.parsed(), Refusal::malformed, "repeated or out of order"));
        made.extensions.clear();
        made.critical_options = options;
        EXPECT_TRUE(is_refused(made.parsed(), Refusal::malformed, "repeated or out of order"));
        made.critical_options.clear();
    }
    for (const std::string& options : {nul, strings({"", ""}), strings({"a"}), a + "x"}) {
        made.extensions = options;
        EXPECT_TRUE(is_refused(made.parsed(), Refusal::malformed));
    }
    made.extensions.clear();
    for (int i = 0; i < 257; ++i) made.extensions += strings({std::to_string(1000 + i), ""});
    EXPECT_TRUE(is_refused(made.parsed(), Refusal::too_large, "options"));
}

TEST(SshCertificate, CriticalOptionsThatCannotBeEnforced) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const std::string ca = workshop.key("ed25519", "-ca"), key = workshop.key("ed25519");
    const SshTrust trust = trusting(workshop.public_key(ca));
    for (const std::string option :
         {"force-command=/bin/true", "verify-required", "critical:new@example.com=1"}) {
        const auto certificate = parse_ssh_certificate_line(workshop.certify(ca, key, {"-O", option}));
        EXPECT_TRUE(is_refused(verify(certificate, trust), Refusal::unknown_critical, "cannot be enforced"));
    }
    const auto harmless = workshop.certify(ca, key, {"-O", "clear", "-O", "extension:new@example.com=1"});
    EXPECT_TRUE(verify(parse_ssh_certificate_line(harmless), trust));
}

TEST(SshCertificate, SourceAddressIsTheTunnels) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const std::string ca = workshop.key("ed25519", "-ca"), key = workshop.key("ed25519");
    const SshTrust trust = trusting(workshop.public_key(ca));
    const auto certificate = parse_ssh_certificate_line(
        workshop.certify(ca, key, {"-O", "source-address=10.0.0.0/23,192.0.2.7,2001:db8::/33"}));
    for (const std::string good : {"10.0.0.1", "10.0.1.255", "192.0.2.7", "2001:db8:7fff::1"})
        EXPECT_TRUE(verify(certificate, trust, kNow, good)) << good;
    for (const std::string bad : {"10.0.2.0", "192.0.2.6", "2001:db8:8000::1", "::", "0.0.0.0"})
        EXPECT_TRUE(is_refused(verify(certificate, trust, kNow, bad), Refusal::source_address, bad));
    EXPECT_TRUE(is_refused(verify(certificate, trust), Refusal::source_address, "none is known"));
}

TEST(SshCertificate, SourceAddressIsWellFormed) {
    HandMade made;
    made.critical_options = with_value("source-address", "0.0.0.0/0");
    EXPECT_TRUE(verify(made, kNow, "10.0.0.1"));
    EXPECT_TRUE(is_refused(verify(made, kNow, "fd00::1"), Refusal::source_address));
    for (const auto& list : {"", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/8,", ",10.0.0.0/8", "10.0.0.0/8 ",
                             "!10.0.0.0/8", "any", "10.0.0.0/08"}) {
        made.critical_options = with_value("source-address", list);
        EXPECT_TRUE(is_refused(verify(made, kNow, "10.0.0.1"), Refusal::malformed)) << list;
    }
    made.critical_options = strings({"source-address", "0.0.0.0/0"});  // not a value in its wire form
    EXPECT_TRUE(is_refused(verify(made, kNow, "10.0.0.1"), Refusal::malformed));
    std::string many = "10.0.0.0";
    for (int i = 0; i < 256; ++i) many += ",10.0.0.0";
    made.critical_options = with_value("source-address", many);
    EXPECT_TRUE(is_refused(verify(made, kNow, "10.0.0.0"), Refusal::too_large));
}

TEST(SshCertificate, CaIsTrustedAndSignedIt) {
    HandMade made;
    EXPECT_TRUE(
        is_refused(verify(made.parsed(), SshTrust()), Refusal::unknown_ca, made.ca.key().fingerprint()));
    EXPECT_TRUE(is_refused(verify(made.parsed(), trusting(Signer(9).key())), Refusal::unknown_ca));
    const SshTrust trust = trusting(made.ca.key());
    made.ca = Signer(9);  // signs in the name of the CA
    EXPECT_TRUE(is_refused(verify(made.parsed(), trust), Refusal::bad_signature));
}

TEST(SshCertificate, CaIsNoCertificateAndNotWeak) {
    NEEDS_SSH_KEYGEN();
    HandMade made;
    made.ca_blob = HandMade().bytes();
    EXPECT_TRUE(is_refused(made.parsed(), Refusal::ca_is_cert));
    const Workshop& workshop = Workshop::get();
    made.ca_blob =
        decode_ssh_line(workshop.public_line(workshop.key("rsa-1024")), kSshKeyBytesMax, "it").value();
    EXPECT_TRUE(is_refused(made.parsed(), Refusal::weak_key));
    const auto weak = workshop.certify(workshop.key("rsa-1024"), workshop.key("ed25519"));
    EXPECT_TRUE(is_refused(parse_ssh_certificate_line(weak), Refusal::weak_key));
    const auto weak_user = workshop.certify(workshop.key("ed25519", "-ca"), workshop.key("rsa-1024"));
    EXPECT_TRUE(is_refused(parse_ssh_certificate_line(weak_user), Refusal::weak_key));
}

TEST(SshCertificate, SignatureOfTheCaIsNotSha1) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const std::string ca = workshop.key("rsa-2048", "-ca"), key = workshop.key("ed25519");
    const SshTrust trust = trusting(workshop.public_key(ca));
    const auto issue = [&](const std::string& algorithm) {
        return verify(parse_ssh_certificate_line(workshop.certify(ca, key, {"-t", algorithm})), trust);
    };
    EXPECT_TRUE(issue("rsa-sha2-256"));
    EXPECT_TRUE(issue("rsa-sha2-512"));
    EXPECT_TRUE(is_refused(issue("ssh-rsa"), Refusal::weak_hash, "SHA-1"));
}

TEST(SshCertificate, KeyIsGood) {
    HandMade made;
    made.key_fields = SshWriter().string(std::string(32, '\0')).written();
    EXPECT_TRUE(is_refused(made.parsed(), Refusal::weak_key));
    made = {};
    for (const std::string type :
         {"ssh-ed25519", "rsa-sha2-512-cert-v01@openssh.com", "sk-ssh-ed25519-cert-v01@openssh.com", "x"}) {
        made.type = type;
        EXPECT_TRUE(is_refused(made.parsed(), Refusal::cert_type)) << type;
    }
    made.type = "ecdsa-sha2-nistp256-cert-v01@openssh.com";
    EXPECT_TRUE(is_refused(made.parsed(), Refusal::malformed));
    made = {};
    made.after = "x";
    EXPECT_TRUE(is_refused(made.parsed(), Refusal::malformed, "after its end"));
    made.after = std::string(kSshCertificateBytesMax, 'x');
    EXPECT_TRUE(is_refused(made.parsed(), Refusal::too_large));
}

TEST(SshTrust, MapsPrincipalsAndGroups) {
    HandMade made;
    made.principals = strings({"mallory", "bob", "alice"});
    const auto with = [&](std::string_view principals) {
        return SshTrust::make({SshCa{.key = made.ca.key(),
                                     .krl = {},
                                     .principals = parse_principals(principals, "/etc/vern/staff").value(),
                                     .groups = {"staff", "dba"}}})
            .value();
    };
    const auto identity = verify(made.parsed(), with("alice\nbob\ncarol\n"));
    ASSERT_TRUE(identity);
    EXPECT_EQ(identity->principals, (std::vector<std::string>{"bob", "alice"}));
    EXPECT_EQ(identity->groups, (std::vector<std::string>{"staff", "dba"}));
    EXPECT_TRUE(
        is_refused(verify(made.parsed(), with("carol\nalic\n*\n")), Refusal::principal, "/etc/vern/staff"));
    EXPECT_TRUE(is_refused(verify(made.parsed(), with("")), Refusal::principal));
}

TEST(SshTrust, CasAreThereOnceAndNotTooMany) {
    const auto ca = [](unsigned char seed) {
        return SshCa{.key = Signer(seed).key(), .krl = {}, .principals = {}, .groups = {}};
    };
    EXPECT_TRUE(
        is_refused(SshTrust::make({ca(1), ca(2), ca(1)}), Refusal::duplicate, ca(1).key.fingerprint()));
    EXPECT_TRUE(is_refused(SshTrust::make(std::vector<SshCa>(kSshCasMax + 1, ca(1))), Refusal::limit));
    const SshTrust trust = SshTrust::make({ca(1), ca(2)}).value();
    EXPECT_NE(trust.find(ca(2).key), nullptr);
    EXPECT_EQ(trust.find(ca(3).key), nullptr);
}

}  // namespace
}  // namespace vern::test
