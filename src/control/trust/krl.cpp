#include "control/trust/krl.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "control/trust/serial_set.h"
#include "crypto/openssl.h"

namespace vern::trust {
namespace {

constexpr std::string_view kMagic{"SSHKRL\n\0", 8};
constexpr std::uint32_t kFormat = 1;

enum class Section : std::uint8_t {
    certificates = 1,
    keys = 2,
    sha1_fingerprints = 3,
    signature = 4,
    sha256_fingerprints = 5,
    extension = 255,
};

enum class CertificateSection : std::uint8_t {
    serial_list = 0x20,
    serial_range = 0x21,
    serial_bitmap = 0x22,
    key_ids = 0x23,
    certificate_extension = 0x39,
};

constexpr std::size_t kSha1Bytes = 20;
constexpr std::size_t kSha256Bytes = 32;

tl::unexpected<Refused> invalid(std::string_view why) {
    return refuse(Refusal::krl_invalid, "the KRL is refused: " + std::string(why));
}

std::optional<std::string> digest_of(const char* algorithm, std::string_view bytes) {
    std::array<char, EVP_MAX_MD_SIZE> digest;
    std::size_t size = 0;
    if (EVP_Q_digest(openssl_library(), algorithm, nullptr, bytes.data(), bytes.size(),
                     reinterpret_cast<unsigned char*>(digest.data()), &size) != 1)
        return std::nullopt;
    return std::string(digest.data(), size);
}

class SortedTexts {
  public:
    void add(std::string_view text) { texts_.emplace_back(text); }
    void seal() { std::sort(texts_.begin(), texts_.end()); }
    bool contains(std::string_view text) const {
        return std::binary_search(texts_.begin(), texts_.end(), text, std::less<>());
    }
    bool empty() const { return texts_.empty(); }

  private:
    std::vector<std::string> texts_;
};

// A hash that cannot be made may be any of them.
bool contains_hash(const SortedTexts& hashes, const char* algorithm, std::string_view bytes) {
    if (hashes.empty()) return false;
    const auto digest = digest_of(algorithm, bytes);
    return !digest || hashes.contains(*digest);
}

struct Issued {
    SerialSet serials;
    SortedTexts key_ids;

    bool revokes(const SshCertificate& certificate) const {
        return serials.contains(certificate.serial) || key_ids.contains(certificate.key_id);
    }
};

}  // namespace

struct Krl::Lists {
    std::uint64_t version = 0;
    UnixSeconds generated = 0;
    std::map<std::string, Issued, std::less<>> by_ca;  // by its wire form; "" is every CA
    SortedTexts keys;
    SortedTexts sha1;
    SortedTexts sha256;

    void seal() {
        for (auto& [ca, issued] : by_ca) {
            issued.serials.seal();
            issued.key_ids.seal();
        }
        keys.seal();
        sha1.seal();
        sha256.seal();
    }
};

namespace {

class Parser {
  public:
    Verdict<std::shared_ptr<const Krl::Lists>> parse(Bytes bytes);

  private:
    Verdict<void> read_header(SshReader& reader);
    Verdict<void> read_section(std::uint8_t type, SshReader section);
    Verdict<void> read_certificates(SshReader section);
    Verdict<void> read_certificate_section(std::uint8_t type, SshReader section, Issued& issued);
    Verdict<void> read_key_ids(SshReader section, Issued& issued);
    Verdict<void> read_keys(SshReader section);
    Verdict<void> read_hashes(SshReader section, std::size_t bytes, SortedTexts& into);
    Verdict<void> read_extension(SshReader section) const;
    bool has_room() { return ++entries_ <= kKrlEntriesMax; }
    static tl::unexpected<Refused> full() {
        return refuse(Refusal::too_large, "the KRL has more than 1048576 entries");
    }

    std::shared_ptr<Krl::Lists> lists_ = std::make_shared<Krl::Lists>();
    std::size_t entries_ = 0;
};

Verdict<void> finish(SshReader& reader) { return reader.finish("the KRL", Refusal::krl_invalid); }

// Whether what a section holds is a name that is not a certificate's: `blob` is compared as it is.
Verdict<void> check_key(Bytes blob) {
    SshReader reader(blob);
    const std::string_view type = reader.name();
    if (reader.failed()) return finish(reader);
    if (type.empty() || reader.at_end()) return invalid("a key in it is malformed");
    if (type.ends_with(kSshCertificateSuffix)) return invalid("a certificate in it stands for a key");
    return {};
}

Verdict<void> Parser::read_header(SshReader& reader) {
    if (as_text(reader.raw(kMagic.size())) != kMagic)
        return invalid("it is no KRL (ssh-keygen -k makes them; one that revokes nothing is not empty)");
    const std::uint32_t format = reader.u32();
    if (!reader.failed() && format != kFormat)
        return invalid("its format is " + std::to_string(format) + ", not 1");
    lists_->version = reader.u64();
    lists_->generated = static_cast<UnixSeconds>(
        std::min(reader.u64(), std::uint64_t{std::numeric_limits<UnixSeconds>::max()}));
    const std::uint64_t flags = reader.u64();
    reader.string();  // reserved: to be ignored
    reader.string();  // a comment
    if (reader.failed()) return finish(reader);
    if (flags != 0) return invalid("it has flags that are not known");
    return {};
}

Verdict<void> Parser::read_hashes(SshReader section, std::size_t bytes, SortedTexts& into) {
    if (section.at_end()) return invalid("a list of hashes in it is empty");
    while (!section.at_end()) {
        const Bytes hash = section.string();
        if (section.failed()) break;
        if (hash.size() != bytes) return invalid("a hash in it is not as long as it should be");
        if (!has_room()) return full();
        into.add(as_text(hash));
    }
    return finish(section);
}

Verdict<void> Parser::read_keys(SshReader section) {
    if (section.at_end()) return invalid("a list of keys in it is empty");
    while (!section.at_end()) {
        const Bytes blob = section.string();
        if (section.failed()) break;
        if (auto good = check_key(blob); !good) return good;
        if (!has_room()) return full();
        lists_->keys.add(as_text(blob));
    }
    return finish(section);
}

Verdict<void> Parser::read_key_ids(SshReader section, Issued& issued) {
    if (section.at_end()) return invalid("a list of key ids in it is empty");
    while (!section.at_end()) {
        const std::string_view key_id = section.name();
        if (section.failed()) break;
        if (!has_room()) return full();
        issued.key_ids.add(key_id);
    }
    return finish(section);
}

Verdict<void> Parser::read_extension(SshReader section) const {
    const std::string_view name = section.name();
    const bool critical = section.u8() != 0;
    section.string();
    if (auto done = finish(section); !done) return done;
    if (critical) return invalid("the critical extension '" + shown(name) + "' is not known");
    return {};
}

Verdict<void> Parser::read_certificate_section(std::uint8_t type, SshReader section, Issued& issued) {
    switch (static_cast<CertificateSection>(type)) {
        case CertificateSection::serial_list:
            if (section.at_end()) return invalid("a list of serials in it is empty");
            while (!section.at_end()) {
                const std::uint64_t serial = section.u64();
                if (section.failed()) break;
                if (!has_room()) return full();
                issued.serials.add(serial, serial);
            }
            return finish(section);
        case CertificateSection::serial_range: {
            const std::uint64_t first = section.u64(), last = section.u64();
            if (auto done = finish(section); !done) return done;
            if (first > last) return invalid("a range of serials in it ends before it begins");
            if (!has_room()) return full();
            issued.serials.add(first, last);
            return {};
        }
        case CertificateSection::serial_bitmap: {
            const std::uint64_t offset = section.u64();
            const Bytes bitmap = section.mpint();
            if (auto done = finish(section); !done) return done;
            if (!has_room()) return full();
            if (!issued.serials.add_bitmap(offset, bitmap))
                return invalid("a bitmap of serials in it goes beyond 64 bits");
            return {};
        }
        case CertificateSection::key_ids: return read_key_ids(section, issued);
        case CertificateSection::certificate_extension: return read_extension(section);
        default:
            return invalid("a section of certificates of the type " + std::to_string(type) +
                           " in it is not known");
    }
}

Verdict<void> Parser::read_certificates(SshReader section) {
    const Bytes ca = section.string();
    section.string();  // reserved: to be ignored
    if (section.failed()) return finish(section);
    if (!ca.empty()) {
        if (auto good = check_key(ca); !good) return good;
    }
    Issued& issued = lists_->by_ca[std::string(as_text(ca))];
    if (lists_->by_ca.size() > kKrlCasMax)
        return refuse(Refusal::too_large, "the KRL is of more than 4096 CAs");
    while (!section.at_end()) {
        const std::uint8_t type = section.u8();
        const Bytes data = section.string();
        if (section.failed()) break;
        if (auto done = read_certificate_section(type, SshReader(data), issued); !done) return done;
    }
    return finish(section);
}

Verdict<void> Parser::read_section(std::uint8_t type, SshReader section) {
    switch (static_cast<Section>(type)) {
        case Section::certificates: return read_certificates(section);
        case Section::keys: return read_keys(section);
        case Section::sha1_fingerprints: return read_hashes(section, kSha1Bytes, lists_->sha1);
        case Section::sha256_fingerprints: return read_hashes(section, kSha256Bytes, lists_->sha256);
        case Section::extension: return read_extension(section);
        case Section::signature:
            return invalid(
                "it has a signature section, which is not verified: sign it with ssh-keygen -Y sign");
        default: return invalid("a section of the type " + std::to_string(type) + " in it is not known");
    }
}

Verdict<std::shared_ptr<const Krl::Lists>> Parser::parse(Bytes bytes) {
    SshReader reader(bytes);
    if (auto header = read_header(reader); !header) return tl::unexpected(header.error());
    while (!reader.at_end()) {
        const std::uint8_t type = reader.u8();
        const Bytes data = reader.string();
        if (reader.failed()) break;
        if (auto done = read_section(type, SshReader(data)); !done) return tl::unexpected(done.error());
    }
    if (auto done = finish(reader); !done) return tl::unexpected(done.error());
    lists_->seal();
    return lists_;
}

}  // namespace

Verdict<Krl> parse_krl(Bytes bytes) {
    if (bytes.size() > kKrlBytesMax) return refuse(Refusal::too_large, "the KRL is larger than 16 MiB");
    auto lists = Parser().parse(bytes);
    if (!lists) return tl::unexpected(lists.error());
    return Krl(std::move(*lists));
}

std::uint64_t Krl::version() const noexcept { return lists_->version; }
Edition Krl::edition() const { return {std::to_string(lists_->version), lists_->generated}; }

bool Krl::revokes(const SshPublicKey& key) const {
    const std::string& blob = key.blob();
    return lists_->keys.contains(blob) || contains_hash(lists_->sha1, "SHA1", blob) ||
           contains_hash(lists_->sha256, "SHA256", blob);
}

bool Krl::revokes(const SshCertificate& certificate) const {
    if (revokes(certificate.key) || revokes(certificate.ca)) return true;
    for (const std::string& ca : {certificate.ca.blob(), std::string()}) {
        const auto issued = lists_->by_ca.find(ca);
        if (issued != lists_->by_ca.end() && issued->second.revokes(certificate)) return true;
    }
    return false;
}

}  // namespace vern::trust
