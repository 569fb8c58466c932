// The files of one trail, and how they are read: DIRECTORY/audit.jsonl, which is written to, audit.jsonl.1
// and so on, older ones, and audit.head, which says how far the trail had come. They may be read while a
// daemon writes and rotates them. Each object one thread's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/error.h"
#include "dataplane/io/fd.h"

namespace vern::audit {

inline constexpr std::string_view kTrailName = "audit.jsonl";
inline constexpr std::string_view kHeadName = "audit.head";
inline constexpr unsigned kFileNumberMax = 9999;

std::string rotated_name(unsigned number);  // "audit.jsonl.3"; 0: kTrailName
// The numbers of the rotated files that are there, rising.
Result<std::vector<unsigned>> rotated_numbers(const std::string& directory);

struct TrailFile {
    std::string name;  // without the directory
    Fd fd;
    dev_t device = 0;
    ino_t inode = 0;
    bool is_same_file(const TrailFile& other) const noexcept {
        return device == other.device && inode == other.inode;
    }
};
Result<TrailFile> open_trail_file(const std::string& directory, const std::string& name);
// All of them, the oldest first. None is missing and none is there twice if they are rotated meanwhile.
Result<std::vector<TrailFile>> open_trail(const std::string& directory);

// The last record that is known to have reached the disk. It is written after it, never before.
struct Head {
    std::uint64_t seq = 0;
    std::string hash;
};
inline constexpr std::size_t kHeadBytes = 86;
std::string text_of(const Head& head);  // kHeadBytes, with LF
// Nothing: there is no such file. Errors: there is one, and it is none of ours.
Result<std::optional<Head>> read_head(const std::string& directory);

// Line after line of a file, in bounded memory.
class LineReader {
  public:
    explicit LineReader(int fd) noexcept : fd_(fd) {}  // not owned

    struct Line {
        std::string_view text;  // without LF; good until the next call. Of a longer one only the beginning
        bool too_long = false;
    };
    // Nothing: the end, for now; a file that grows can be asked again.
    Result<std::optional<Line>> next();
    // Something follows the last LF.
    bool torn() const noexcept { return begin_ < buffer_.size() || skipping_; }

  private:
    Result<bool> fill();  // false: the end

    int fd_;
    std::string buffer_;
    std::size_t begin_ = 0, scanned_ = 0;
    std::string long_line_;
    bool skipping_ = false;
};

}  // namespace vern::audit
