// Whether a trail is what was written: every line a record, numbers without gaps, each with the hash of the
// line before, and its end where audit.head has it. In one pass and bounded memory, also while a daemon
// writes. Any thread.
//
// What it cannot know: that the oldest files were removed (rotation does that), and that somebody who may
// write there has made the whole trail and its head anew. For that the last number and hash must be kept
// elsewhere (docs/audit.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/audit/record.h"
#include "control/audit/trail_files.h"
#include "crypto/error.h"

namespace vern::audit {

inline constexpr std::size_t kWarningsMax = 20;  // that are told

struct Place {
    std::string file;
    std::uint64_t line = 0;
};

struct Broken {
    Place at;
    std::string what;
};

struct Verification {
    std::optional<Broken> broken;  // the first
    std::uint64_t records = 0;     // up to there
    std::uint64_t first_seq = 0, last_seq = 0;
    WallTime first_time{}, last_time{};
    std::string last_hash;
    std::vector<Broken> warnings;
    std::uint64_t more_warnings = 0;
};

// Errors: no trail there, or it cannot be read.
Result<Verification> verify(const std::string& directory);

// The same, line by line.
class Verifier {
  public:
    explicit Verifier(std::optional<Head> head) : head_(std::move(head)) {}

    void begin_file(std::string name);
    // False: it is broken, and the rest is of no interest.
    bool line(const LineReader::Line& line);
    bool torn_line();  // instead of a line, at the end of a file
    Verification finish();

  private:
    // Two lines that do not fit: which of them was changed, the next one tells.
    struct Doubt {
        Place before, after;
        std::string hash;  // of the later one
    };

    bool broken(Place at, std::string what);
    bool settle(bool later_is_intact);
    bool follows(const ReadRecord& read, const std::string& hash);
    bool agrees_with_head(const ReadRecord& read, const std::string& hash);
    void warn(std::string what);

    std::optional<Head> head_;
    Verification result_;
    Place at_, before_;
    std::optional<Doubt> doubt_;
};

}  // namespace vern::audit
