#include "control/audit/record.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "control/json.h"
#include "control/text.h"
#include "crypto/keys.h"

namespace vern::audit {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, kKinds> kKindNames{"flow-allowed",
                                                          "flow-denied",
                                                          "flow-rejected",
                                                          "would-deny",
                                                          "policy-loaded",
                                                          "policy-confirmed",
                                                          "policy-rolled-back",
                                                          "policy-removed",
                                                          "policy-refused",
                                                          "identity-bound",
                                                          "identity-refused",
                                                          "identity-ended",
                                                          "trust-changed",
                                                          "handshake-failed",
                                                          "roamed",
                                                          "limit",
                                                          "records-lost",
                                                          "started",
                                                          "stopped"};
static_assert(static_cast<std::size_t>(Kind::stopped) + 1 == kKinds);

constexpr std::size_t kNumberBytes = 20;

constexpr Field text(std::string_view name, std::string Record::*member, std::size_t bytes_max) {
    return {name, member, nullptr, bytes_max};
}
constexpr Field number(std::string_view name, Record::Number Record::*member) {
    return {name, nullptr, member, kNumberBytes};
}

constexpr std::array kFields{
    text("host", &Record::host, 256),
    text("interface", &Record::interface, 64),
    text("reason", &Record::reason, 64),
    text("rule", &Record::rule, 128),
    text("policy_version", &Record::policy_version, 256),
    text("policy_hash", &Record::policy_hash, 64),
    text("direction", &Record::direction, 8),
    text("protocol", &Record::protocol, 16),
    text("src", &Record::src, 48),
    number("src_port", &Record::src_port),
    text("dst", &Record::dst, 48),
    number("dst_port", &Record::dst_port),
    text("peer", &Record::peer, 256),
    text("peer_key", &Record::peer_key, 48),
    text("identity", &Record::identity, 512),
    text("issuer", &Record::issuer, 512),
    text("serial", &Record::serial, 128),
    text("not_after", &Record::not_after, 32),
    number("packets", &Record::packets),
    number("bytes", &Record::bytes),
    number("suppressed", &Record::suppressed),
    text("by", &Record::by, 128),
    text("detail", &Record::detail, 768),
};

constexpr std::size_t line_bytes_most() {
    constexpr std::string_view kFrame =
        R"({"seq":,"time":"2026-11-22T09:30:00.125Z","kind":"policy-rolled-back","prev":""})";
    std::size_t bytes = kFrame.size() + kNumberBytes + 2 * SHA256_DIGEST_LENGTH;
    for (const Field& field : kFields) bytes += field.name.size() + field.bytes_max + 6;  // "":"",
    return bytes;
}
static_assert(line_bytes_most() <= kLineBytesMax, "a record with every field at its longest is one line");

// How many characters of an escaped text belong together.
std::size_t unit_bytes(std::string_view escaped) {
    if (escaped.front() != '\\') return 1;
    if (escaped.substr(1, 1) != "u") return 2;
    const bool first_of_two =
        escaped.substr(2, 1) == "d" && escaped.substr(3, 1) >= "8" && escaped.substr(3, 1) <= "b";
    return first_of_two ? 12 : 6;
}

std::string escaped(std::string_view value, std::size_t bytes_max) {
    const std::string quoted =
        json(value.substr(0, bytes_max)).dump(-1, ' ', true, json::error_handler_t::replace);
    const std::string_view whole(quoted.data() + 1, quoted.size() - 2);
    if (value.size() <= bytes_max && whole.size() <= bytes_max) return std::string(whole);
    constexpr std::string_view kCut = "...";
    std::size_t end = 0;
    while (end < whole.size()) {
        const std::size_t next = end + unit_bytes(whole.substr(end));
        if (next > bytes_max - kCut.size()) break;
        end = next;
    }
    return std::string(whole.substr(0, end)).append(kCut);
}

tl::unexpected<Error> bad_member(std::string_view name) {
    return fail("'" + std::string(name) + "' is missing or not what it should be", EBADMSG);
}

bool read_number(const json& object, std::string_view name, std::uint64_t& out) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_number_unsigned()) return false;
    out = found->get<std::uint64_t>();
    return true;
}

bool read_text(const json& object, std::string_view name, std::string& out) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_string()) return false;
    out = found->get<std::string>();
    return true;
}

}  // namespace

std::string_view name_of(Kind kind) noexcept { return kKindNames[static_cast<std::size_t>(kind)]; }

std::optional<Kind> kind_of(std::string_view name) noexcept {
    const auto found = std::find(kKindNames.begin(), kKindNames.end(), name);
    if (found == kKindNames.end()) return std::nullopt;
    return static_cast<Kind>(found - kKindNames.begin());
}

std::span<const Field> fields() noexcept { return kFields; }

std::string time_text(WallTime time) {
    using namespace std::chrono;
    const auto seconds = floor<std::chrono::seconds>(time);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds.time_since_epoch().count()),
                       floor<milliseconds>(time - seconds).count());
}

std::optional<WallTime> parse_time(std::string_view text) {
    using namespace std::chrono;
    constexpr std::string_view kForm = "0000-00-00T00:00:00";
    if (text.size() != kForm.size() + 1 && text.size() != kForm.size() + 5) return std::nullopt;
    const std::string whole = text.size() == kForm.size() + 1
                                  ? std::string(text.substr(0, kForm.size())) + ".000Z"
                                  : std::string(text);
    const auto part = [&](std::size_t at, std::size_t digits) {
        int value = 0;
        for (const char c : std::string_view(whole).substr(at, digits)) value = value * 10 + (c - '0');
        return value;
    };
    const year_month_day date{year(part(0, 4)), month(static_cast<unsigned>(part(5, 2))),
                              day(static_cast<unsigned>(part(8, 2)))};
    // Nanoseconds since 1970 end in 2262.
    if (!date.ok() || date.year() < year(1678) || date.year() > year(2261)) return std::nullopt;
    const WallTime time = sys_days(date) + hours(part(11, 2)) + minutes(part(14, 2)) + seconds(part(17, 2)) +
                          milliseconds(part(20, 3));
    // One spelling: whatever is no digit, out of range or out of place would be written otherwise.
    if (time_text(time) != whole) return std::nullopt;
    return time;
}

std::string no_hash() { return std::string(std::size_t{2} * SHA256_DIGEST_LENGTH, '0'); }

bool is_hash(std::string_view text) {
    return text.size() == std::size_t{2} * SHA256_DIGEST_LENGTH &&
           text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string hash_of(std::string_view line) {
    std::array<std::byte, SHA256_DIGEST_LENGTH> digest{};
    ::SHA256(reinterpret_cast<const unsigned char*>(line.data()), line.size(),
             reinterpret_cast<unsigned char*>(digest.data()));
    return to_hex(digest);
}

std::string line_of(const Record& record, std::string_view prev) {
    std::string line = fmt::format(R"({{"seq":{},"time":"{}","kind":"{}")", record.seq,
                                   time_text(record.time), name_of(record.kind));
    for (const Field& field : kFields) {
        if (field.text && !(record.*field.text).empty())
            line += fmt::format(R"(,"{}":"{}")", field.name, escaped(record.*field.text, field.bytes_max));
        if (field.number && record.*field.number)
            line += fmt::format(R"(,"{}":{})", field.name, *(record.*field.number));
    }
    return line + fmt::format(R"(,"prev":"{}"}})", prev);
}

Result<ReadRecord> read_line(std::string_view line) {
    if (line.size() > kLineBytesMax) return fail("longer than a record can be", EBADMSG);
    if (std::any_of(line.begin(), line.end(), [](char c) { return c < 0x20 || c > 0x7e; }))
        return fail("not printable ASCII", EBADMSG);
    const json object = json::parse(line, nullptr, false);
    if (!object.is_object()) return fail("not a JSON object", EBADMSG);
    ReadRecord read;
    Record& record = read.record;
    std::string time, kind;
    if (!read_number(object, "seq", record.seq) || record.seq == 0) return bad_member("seq");
    if (!read_text(object, "time", time)) return bad_member("time");
    const auto parsed_time = parse_time(time);
    if (!parsed_time || time_text(*parsed_time) != time) return bad_member("time");
    record.time = *parsed_time;
    const bool has_kind = read_text(object, "kind", kind);
    const auto known_kind = kind_of(kind);
    if (!has_kind || !known_kind) return bad_member("kind");
    record.kind = *known_kind;
    for (const Field& field : kFields) {
        if (!object.contains(field.name)) continue;
        if (field.text ? !read_text(object, field.name, record.*field.text)
                       : !read_number(object, field.name, (record.*field.number).emplace()))
            return bad_member(field.name);
    }
    if (!read_text(object, "prev", read.prev) || !is_hash(read.prev)) return bad_member("prev");
    return read;
}

}  // namespace vern::audit
