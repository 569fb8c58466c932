// One record of the audit trail: who reached what, under which rule, and who changed that; never payload. In
// the trail it is one line of JSON, ASCII, at most 4 KiB with its LF, that carries the hash of the line
// before (docs/audit.md). Values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "crypto/error.h"
#include "crypto/instant.h"

namespace vern::audit {

inline constexpr std::size_t kLineBytesMax = 4095;  // its LF not counted

enum class Kind : std::uint8_t {
    flow_allowed,
    flow_denied,
    flow_rejected,
    would_deny,  // it passed, since the rule or the policy only observes
    policy_loaded,
    policy_confirmed,
    policy_rolled_back,
    policy_removed,
    policy_refused,
    identity_bound,
    identity_refused,
    identity_ended,
    trust_changed,
    handshake_failed,
    roamed,
    limit,
    records_lost,  // `suppressed`: how many, 0 if nobody knows
    started,
    stopped,
};
inline constexpr std::size_t kKinds = 19;

// "flow-denied". Stable.
std::string_view name_of(Kind kind) noexcept;
std::optional<Kind> kind_of(std::string_view name) noexcept;

// Empty texts and numbers that are not there are left out of the line. Texts from outside may hold anything:
// they are escaped where they are written, and cut ("...") where they are longer than their field.
struct Record {
    using Number = std::optional<std::uint64_t>;

    std::uint64_t seq = 0;  // from 1, without gaps; the trail's to give
    WallTime time{};
    Kind kind = Kind::started;
    std::string host, interface;              // the trail's to give
    std::string reason;                       // a stable code: of a counter or a refusal
    std::string rule;                         // its id
    std::string policy_version, policy_hash;  // its name; what `vern policy show` calls its hash
    std::string direction, protocol;          // "in" or "out"; "tcp" or a number
    std::string src;
    Number src_port;
    std::string dst;
    Number dst_port;
    std::string peer, peer_key;  // its name in the policy; its public key in base64
    std::string identity, issuer, serial;
    std::string not_after;  // time_text()
    Number packets, bytes;
    Number suppressed;  // how many of the same kind this record stands for and no other does
    std::string by;     // who asked for it: "uid 1000", or what a client's certificate says
    std::string detail;

    friend bool operator==(const Record&, const Record&) = default;
};

// The members besides seq, time and kind, in the order in which they are written.
struct Field {
    std::string_view name;
    std::string Record::*text;  // one of the two
    Record::Number Record::*number;
    std::size_t bytes_max;  // as it is written
};
std::span<const Field> fields() noexcept;

// RFC 3339, UTC, milliseconds: "2026-11-22T09:30:00.125Z".
std::string time_text(WallTime time);
// The same; the fraction may be missing.
std::optional<WallTime> parse_time(std::string_view text);

// What the first record of a trail has instead of a hash.
std::string no_hash();
bool is_hash(std::string_view text);
// SHA-256 of a line without its LF, 64 hexadecimal digits.
std::string hash_of(std::string_view line);

// Without LF.
std::string line_of(const Record& record, std::string_view prev);

struct ReadRecord {
    Record record;
    std::string prev;
};
// Members that no version so far has are passed over. Errors: not such a line; one sentence says why.
Result<ReadRecord> read_line(std::string_view line);

}  // namespace vern::audit
