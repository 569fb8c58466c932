#include "control/trust/krl.h"

#include "control/text.h"
#include "ssh_workshop.h"

namespace vern::test {
namespace {

using namespace std::literals;

constexpr std::uint8_t kCertificates = 1, kKeys = 2, kSha1 = 3, kSignature = 4, kSha256 = 5, kExtension = 255;
constexpr std::uint8_t kList = 0x20, kRange = 0x21, kBitmap = 0x22, kKeyIds = 0x23,
                       kCertificateExtension = 0x39;
constexpr std::uint64_t kLast = ~std::uint64_t{0};

Verdict<Krl> parse(std::string_view bytes) { return parse_krl(as_bytes(bytes)); }

std::string header(std::uint64_t version = 3, std::uint64_t flags = 0, std::uint32_t format = 1) {
    return SshWriter()
        .raw("SSHKRL\n\0"sv)
        .u32(format)
        .u64(version)
        .u64(kNow)
        .u64(flags)
        .string(""sv)
        .string("comment"sv)
        .written();
}
std::string section(std::uint8_t type, std::string_view data) {
    return SshWriter().u8(type).string(data).written();
}
std::string certificates(std::string_view ca, std::string_view sections) {
    return section(kCertificates, SshWriter().string(ca).string(""sv).raw(sections).written());
}
std::string numbers(std::initializer_list<std::uint64_t> values) {
    SshWriter writer;
    for (const std::uint64_t value : values) writer.u64(value);
    return std::move(writer).written();
}
std::string bitmap(std::uint64_t offset, std::string_view magnitude) {
    return section(kBitmap, SshWriter().u64(offset).string(magnitude).written());
}
std::string extension(std::uint8_t type, bool critical) {
    return section(type, SshWriter().string("new@example.com"sv).u8(critical).string("x"sv).written());
}

SshCertificate certificate(std::uint64_t serial = 7, const std::string& key_id = "alice@laptop") {
    HandMade made;
    made.serial = serial;
    made.key_id = key_id;
    return made.parsed().value();
}

bool revokes(std::string_view sections, const SshCertificate& wanted) {
    const auto krl = parse(header() + std::string(sections));
    if (!krl) ADD_FAILURE() << krl.error().sentence;
    return krl && krl->revokes(wanted);
}

TEST(Krl, OfSshKeygenBySerialAndKeyId) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const std::string ca = workshop.key("ed25519", "-ca"), key = workshop.key("ed25519");
    std::string specification =
        "serial: 5\nserial: 1000-2000\nid: lost laptop\nserial: 18446744073709551615\n";
    for (int serial = 30; serial < 90; serial += 2)
        specification += "serial: " + std::to_string(serial) + "\n";
    const std::string bytes = workshop.krl(specification, ca, {"-z", "12"});
    for (const std::uint8_t type : {kList, kRange, kBitmap, kKeyIds})
        EXPECT_NE(bytes.find(SshWriter().u8(type).u8(0).u8(0).written()), std::string::npos) << int{type};
    const auto krl = parse(bytes);
    ASSERT_TRUE(krl) << krl.error().sentence;
    EXPECT_EQ(krl->version(), 12U);
    EXPECT_EQ(krl->edition().number, "12");
    EXPECT_GT(krl->edition().made, kNow);

    const auto revoked = [&](const std::string& by, const std::string& serial, const std::string& key_id) {
        return krl->revokes(
            parse_ssh_certificate_line(workshop.certify(by, key, {"-z", serial, "-I", key_id})).value());
    };
    for (const std::string in : {"5", "30", "32", "88", "1000", "1500", "2000", "18446744073709551615"})
        EXPECT_TRUE(revoked(ca, in, "x")) << in;
    for (const std::string out :
         {"0", "4", "6", "29", "31", "89", "90", "999", "2001", "18446744073709551614"})
        EXPECT_FALSE(revoked(ca, out, "x")) << out;
    EXPECT_TRUE(revoked(ca, "1", "lost laptop"));
    EXPECT_FALSE(revoked(ca, "1", "lost lapto"));
    const std::string other = workshop.key("ecdsa-256", "-ca");
    EXPECT_FALSE(revoked(other, "5", "lost laptop"));
}

TEST(Krl, OfSshKeygenByKeyAndHash) {
    NEEDS_SSH_KEYGEN();
    const Workshop& workshop = Workshop::get();
    const std::string ca = workshop.key("ed25519", "-ca"), key = workshop.key("ecdsa-384"),
                      other = workshop.key("rsa-2048");
    const auto mine = parse_ssh_certificate_line(workshop.certify(ca, key)).value();
    const auto others = parse_ssh_certificate_line(workshop.certify(ca, other)).value();
    const auto specifications = [&](const std::string& name) {
        const std::string line = workshop.public_line(name);
        return std::vector{"key: " + line, "sha1: " + line, "sha256: " + line,
                           "hash: " + workshop.public_key(name).fingerprint() + "\n"};
    };
    for (const std::string& specification : specifications(key)) {
        const auto krl = parse(workshop.krl(specification));
        ASSERT_TRUE(krl) << krl.error().sentence;
        EXPECT_TRUE(krl->revokes(mine)) << specification;
        EXPECT_FALSE(krl->revokes(others)) << specification;
    }
    for (const std::string& specification : specifications(ca)) {
        const auto krl = parse(workshop.krl(specification));
        ASSERT_TRUE(krl);
        EXPECT_TRUE(krl->revokes(mine) && krl->revokes(others)) << specification;
        EXPECT_TRUE(krl->revokes(workshop.public_key(ca)));
        EXPECT_FALSE(krl->revokes(workshop.public_key(key)));
    }
}

TEST(Krl, RefusesTheCertificate) {
    HandMade made;
    const auto with = [&](const std::string& sections) {
        return SshTrust::make({SshCa{.key = made.ca.key(),
                                     .krl = parse(header() + sections).value(),
                                     .principals = {},
                                     .groups = {}}})
            .value();
    };
    EXPECT_TRUE(verify_ssh_certificate(certificate(), with(""), kNow, std::nullopt));
    EXPECT_TRUE(verify_ssh_certificate(
        certificate(), with(certificates(made.ca.blob(), section(kList, numbers({8})))), kNow, std::nullopt));
    EXPECT_TRUE(
        is_refused(verify_ssh_certificate(certificate(),
                                          with(certificates(made.ca.blob(), section(kList, numbers({7})))),
                                          kNow, std::nullopt),
                   Refusal::revoked));
}

TEST(Krl, SerialsByHand) {
    const std::string ca = HandMade().ca.blob();
    for (const std::string& by : {ca, std::string()}) {
        EXPECT_TRUE(revokes(certificates(by, section(kList, numbers({9, 7, 1}))), certificate(7)));
        EXPECT_FALSE(revokes(certificates(by, section(kList, numbers({9, 8, 6}))), certificate(7)));
        EXPECT_TRUE(revokes(certificates(by, section(kRange, numbers({0, kLast}))), certificate(0)));
        EXPECT_TRUE(revokes(certificates(by, section(kRange, numbers({7, 7}))), certificate(7)));
        EXPECT_TRUE(revokes(certificates(by, bitmap(5, "\x04")), certificate(7)));
        EXPECT_FALSE(revokes(certificates(by, bitmap(5, "\x02")), certificate(7)));
        EXPECT_TRUE(
            revokes(certificates(by, section(kKeyIds, strings({"bob", "alice@laptop"}))), certificate()));
    }
    EXPECT_FALSE(
        revokes(certificates(Signer(9).blob(), section(kRange, numbers({0, kLast}))), certificate()));
    // Sections of one CA add up.
    EXPECT_TRUE(revokes(certificates(ca, section(kList, numbers({1}))) +
                            certificates(ca, section(kList, numbers({7}))) +
                            certificates(ca, bitmap(1, "\x01")),
                        certificate(7)));
    EXPECT_TRUE(revokes(certificates(ca, section(kList, numbers({0}))), certificate(0)));
}

TEST(Krl, IsRefusedWhole) {
    const std::string ca = HandMade().ca.blob(), hash(20, 'h'), key = Signer(1).blob();
    const std::string kBad[] = {
        "",
        "x",
        "ssh-ed25519 AAAA\n",
        header().substr(1),
        header(1, 1),
        header(1, 0, 2),
        header() + "x",
        header() + section(6, ""),
        header() + section(0, ""),
        header() + section(kSignature, key) + SshWriter().string("x"sv).written(),
        header() + section(kKeys, ""),
        header() + section(kKeys, strings({""})),
        header() + section(kKeys, strings({"ssh-ed25519"})),
        header() + section(kKeys, strings({HandMade().bytes()})),
        header() + section(kKeys, strings({key}) + "x"),
        header() + section(kSha1, ""),
        header() + section(kSha1, strings({hash, hash + "h"})),
        header() + section(kSha256, strings({hash})),
        header() + section(kSha256, ""),
        header() + extension(kExtension, true),
        header() + section(kExtension, strings({"x"})),
        header() + certificates(HandMade().bytes(), ""),
        header() + certificates("x", ""),
        header() + section(kCertificates, ""),
        header() + certificates(ca, section(0x24, "")),
        header() + certificates(ca, extension(kCertificateExtension, true)),
        header() + certificates(ca, section(kList, "")),
        header() + certificates(ca, section(kList, "1234567")),
        header() + certificates(ca, section(kRange, numbers({2, 1}))),
        header() + certificates(ca, section(kRange, numbers({1}))),
        header() + certificates(ca, section(kRange, numbers({1, 2, 3}))),
        header() + certificates(ca, section(kKeyIds, "")),
        header() + certificates(ca, section(kKeyIds, strings({std::string_view("a\0", 2)}))),
        header() + certificates(ca, bitmap(1, "\x80")),
        header() + certificates(ca, bitmap(1, std::string_view("\0\x01", 2))),
        header() + certificates(ca, bitmap(kLast, "\x02")),
    };
    for (const std::string& bytes : kBad)
        EXPECT_TRUE(is_refused(parse(bytes), Refusal::krl_invalid, "KRL")) << printable(bytes, 200);
    EXPECT_TRUE(
        is_refused(parse(header() + section(kSignature, key)), Refusal::krl_invalid, "signature section"));
    EXPECT_TRUE(
        is_refused(parse(header() + extension(kExtension, true)), Refusal::krl_invalid, "new@example.com"));
}

TEST(Krl, ExtensionsThatMayBeIgnored) {
    EXPECT_FALSE(revokes(extension(kExtension, false), certificate()));
    const std::string ca = HandMade().ca.blob();
    EXPECT_TRUE(
        revokes(certificates(ca, extension(kCertificateExtension, false) + section(kList, numbers({7}))),
                certificate(7)));
}

// A list that ends with a section is a list: the format has no count and no end.
TEST(Krl, CutIsRefusedUnlessBetweenSections) {
    const std::string ca = HandMade().ca.blob();
    const std::string head = header(),
                      first = certificates(ca, section(kList, numbers({7})) + bitmap(8, "\x01") +
                                                   section(kKeyIds, strings({"bob"})));
    const std::string bytes =
        head + first + section(kKeys, strings({ca})) + section(kSha1, strings({std::string(20, 'h')}));
    ASSERT_TRUE(parse(bytes));
    const std::vector<std::size_t> boundaries{
        head.size(), head.size() + first.size(),
        bytes.size() - section(kSha1, strings({std::string(20, 'h')})).size()};
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const auto krl = parse(std::string_view(bytes).substr(0, size));
        const bool boundary = std::find(boundaries.begin(), boundaries.end(), size) != boundaries.end();
        ASSERT_EQ(krl.has_value(), boundary) << size;
        EXPECT_EQ(is_refused(krl, Refusal::krl_invalid), !boundary);
    }
}

TEST(Krl, HasLimits) {
    EXPECT_TRUE(is_refused(parse(std::string(kKrlBytesMax + 1, 'x')), Refusal::too_large));
    const std::string ca = HandMade().ca.blob();
    const std::string full(kKrlEntriesMax * 8, '\0');
    EXPECT_TRUE(parse(header() + certificates(ca, section(kList, full))));
    EXPECT_TRUE(is_refused(parse(header() + certificates(ca, section(kList, full + std::string(8, '\0')))),
                           Refusal::too_large, "entries"));
    std::string cas;
    for (std::size_t i = 0; i <= kKrlCasMax; ++i)
        cas += certificates(strings({"ssh-ed25519", std::to_string(i)}), "");
    EXPECT_TRUE(is_refused(parse(header() + cas), Refusal::too_large, "CAs"));
    // One bitmap as large as the file may be.
    const std::string bits = "\x01"s + std::string((15 << 20), '\0') + "\x80"s;
    const auto krl = parse(header() + certificates(ca, bitmap(0, bits)));
    ASSERT_TRUE(krl);
    EXPECT_TRUE(krl->revokes(certificate(7)));
    EXPECT_TRUE(krl->revokes(certificate((std::uint64_t{15} << 23) + 8)));
    EXPECT_FALSE(krl->revokes(certificate(8)));
}

}  // namespace
}  // namespace vern::test
