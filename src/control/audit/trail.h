// Writes one trail: appends records to DIRECTORY/audit.jsonl (mode 0600), numbers and chains them, rotates by
// size. The control thread only: it may wait for the disk, and must never be called where packets are
// carried.
//
// What cannot be written stops nobody: it is counted, told once in the daemon's log, and when writing works
// again a records-lost record says how many there were. Whatever ends the process, the next open() goes on
// with number and chain where the disk has them; a line that was torn is cut off, and that is recorded.
// Records are on the disk a second after they were written (tick(), and at the end), and audit.head says so.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "control/audit/record.h"
#include "control/audit/trail_files.h"
#include "crypto/error.h"
#include "crypto/instant.h"
#include "dataplane/io/fd.h"

namespace vern::audit {

inline constexpr Duration kSyncInterval = std::chrono::seconds(1);

struct TrailOptions {
    std::string host, interface;
    std::uint64_t file_bytes_max = std::uint64_t{64} << 20;
    unsigned files_kept = 16;  // besides the one that is written to; at least 1
    // Each record that has been written, and the hash of its line.
    std::function<void(const Record&, const std::string& hash)> written;
    // Tests: called before each step that changes the disk, with the errno that it is to fail with, or 0.
    std::function<int(std::string_view step)> before_step;
};

class Trail {
  public:
    // Makes the directory. `now` is for what it has to record itself. Errors: no directory, no right, or
    // another process writes there.
    static Result<Trail> open(std::string directory, TrailOptions options, WallTime now);
    Trail(Trail&&) noexcept = default;
    Trail& operator=(Trail&&) = delete;
    ~Trail();

    // Gives the record its number, host and interface.
    void write(Record record);
    // So many were lost before there was a trail; told at once, or when it can be written.
    void tell_missed(std::uint64_t records, WallTime wall);
    // To be called by deadline() at the latest.
    void tick(Instant now, WallTime wall);
    std::optional<Instant> deadline() const;

    const std::string& directory() const noexcept { return directory_; }
    std::uint64_t seq() const noexcept { return seq_; }    // of the last record
    std::uint64_t lost() const noexcept { return lost_; }  // since it was opened
    std::string failure() const;                           // what is wrong now, in words; empty: nothing is

  private:
    Trail(std::string directory, TrailOptions options)
        : directory_(std::move(directory)), options_(std::move(options)) {}

    struct Lost {
        std::string what;  // empty: nothing
        std::uint64_t records = 0;
    };

    Result<void> lock();
    Result<void> open_head();
    Result<void> open_file();
    Result<std::optional<Head>> make_end_whole(Lost& lost);
    Result<Lost> resume();
    void compare_with_head(Lost& lost);
    Result<void> step(std::string_view what) const;
    Result<void> put(Record record);
    Result<void> be_open();
    Result<void> append(std::string_view text);
    Result<void> rotate();
    Result<void> shift_files();
    Result<void> sync();
    void tell_losses(WallTime wall);
    void failed(const Error& why);
    void not_synced(const Error& why);
    void let_go_of_what_moved();
    std::string path(std::string_view name) const { return directory_ + "/" + std::string(name); }

    std::string directory_;
    TrailOptions options_;
    Fd directory_fd_;  // locked; these three are opened again where they are not what their names stand for
    Fd fd_;
    Fd head_fd_;
    std::uint64_t size_ = 0;       // of whole lines
    std::uint64_t rotate_at_ = 0;  // the size that is not exceeded
    bool torn_ = false;            // more than that may be in the file
    std::uint64_t seq_ = 0;
    std::string hash_;  // of the last line
    std::uint64_t lost_ = 0, untold_ = 0;
    std::string failure_;       // why writing fails; empty: it works
    std::string sync_failure_;  // why what is written may not be on the disk
    bool dirty_ = false;
    Instant synced_{};
};

}  // namespace vern::audit
