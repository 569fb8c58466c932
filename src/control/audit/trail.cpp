#include "control/audit/trail.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>

#include "control/files.h"
#include "control/log.h"

namespace vern::audit {
namespace {

// What a file ends in.
struct Ending {
    std::uint64_t whole = 0;   // its size without a line that was torn
    std::optional<Head> last;  // of the last line that is a record
    bool damaged = false;      // behind it is what no writer of ours leaves, whatever ended it
};

Result<std::string> read_tail(int fd, std::uint64_t size, std::uint64_t bytes) {
    std::string tail(bytes, '\0');
    for (std::size_t have = 0; have < tail.size();) {
        const ssize_t got = ::pread(fd, tail.data() + have, tail.size() - have,
                                    static_cast<off_t>(size - tail.size() + have));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return fail_errno("read the end of the trail", got < 0 ? errno : EIO);
        have += static_cast<std::size_t>(got);
    }
    return tail;
}

Ending ending_in(std::string_view tail, std::uint64_t size) {
    constexpr unsigned kLinesMost = 1000;  // of what is no record; somebody's file may be of nothing else
    Ending ending;
    std::size_t end = tail.rfind('\n');
    const std::size_t torn = end == std::string_view::npos ? tail.size() : tail.size() - end - 1;
    ending.damaged = torn > kLineBytesMax;
    ending.whole = end == std::string_view::npos ? 0 : size - torn;
    for (unsigned i = 0; end != std::string_view::npos && i < kLinesMost; ++i) {
        const std::size_t before = end == 0 ? std::string_view::npos : tail.rfind('\n', end - 1);
        const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
        const std::string line(tail.substr(begin, std::min(end - begin, kLineBytesMax + 1)));
        if (const auto read = read_line(line)) {
            ending.last = Head{.seq = read->record.seq, .hash = hash_of(line)};
            return ending;
        }
        ending.damaged = true;
        end = before;
    }
    return ending;
}

Result<Ending> ending_of(int fd, std::uint64_t size) {
    constexpr std::uint64_t kTailMax = std::uint64_t{128} << 20;
    for (std::uint64_t window = std::uint64_t{4} * kLineBytesMax;; window *= 16) {
        const std::uint64_t bytes = std::min({size, window, kTailMax});
        const auto tail = read_tail(fd, size, bytes);
        if (!tail) return tl::unexpected(tail.error());
        Ending ending = ending_in(*tail, size);
        if (ending.last || bytes < window) return ending;
    }
}

Result<std::optional<Head>> last_before(const std::string& directory) {
    const auto numbers = rotated_numbers(directory);
    if (!numbers) return tl::unexpected(numbers.error());
    for (const unsigned number : *numbers) {
        const auto file = open_trail_file(directory, rotated_name(number));
        if (!file) return tl::unexpected(file.error());
        struct stat status {};
        if (::fstat(file->fd.get(), &status) != 0) return fail_errno(file->name, errno);
        if (status.st_size == 0) continue;  // another program's rotation makes such files
        auto ending = ending_of(file->fd.get(), static_cast<std::uint64_t>(status.st_size));
        if (!ending) return tl::unexpected(ending.error());
        return std::move(ending->last);
    }
    return std::nullopt;
}

enum class Links { followed, refused };

bool is_at(const std::string& path, int fd, Links links = Links::refused) {
    struct stat named {
    }, ours{};
    const int flags = links == Links::refused ? AT_SYMLINK_NOFOLLOW : 0;
    return ::fstatat(AT_FDCWD, path.c_str(), &named, flags) == 0 && ::fstat(fd, &ours) == 0 &&
           named.st_dev == ours.st_dev && named.st_ino == ours.st_ino;
}

bool has_size(int fd, std::uint64_t size) {
    struct stat status {};
    return ::fstat(fd, &status) == 0 && static_cast<std::uint64_t>(status.st_size) == size;
}

void add_sentence(std::string& note, std::string_view sentence) {
    note.append(note.empty() ? "" : "; ").append(sentence);
}

}  // namespace

Result<Trail> Trail::open(std::string directory, TrailOptions options, WallTime now) {
    Trail trail(std::move(directory), std::move(options));
    auto lost = trail.lock()
                    .and_then([&] { return trail.open_head(); })
                    .and_then([&] { return trail.open_file(); })
                    .and_then([&] { return trail.resume(); });
    if (!lost) return tl::unexpected(lost.error());
    if (!lost->what.empty()) {
        log_error("audit: " + lost->what);
        Record record;
        record.time = now;
        record.kind = Kind::records_lost;
        record.reason = "trail-damaged";
        record.suppressed = lost->records;
        record.detail = lost->what;
        trail.write(std::move(record));
    }
    return trail;
}

Trail::~Trail() {
    if (!fd_ || !dirty_) return;
    try {
        if (auto synced = sync(); !synced) not_synced(synced.error());
    } catch (const std::exception& error) {
        log_error("audit: its end is not known to be on the disk", error.what());
    }
}

Result<void> Trail::step(std::string_view what) const {
    const int code = options_.before_step ? options_.before_step(what) : 0;
    if (code != 0) return fail_errno(std::string(what) + " in " + directory_, code);
    return {};
}

// The lock is the directory's, so it goes with the process, however that ends.
Result<void> Trail::lock() {
    if (auto made = make_directories(directory_, 0700); !made) return made;
    Fd directory(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return fail_errno(directory_, errno);
    if (::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) return fail(directory_ + ": another daemon writes its trail there", EBUSY);
        return fail_errno("lock " + directory_, errno);
    }
    directory_fd_ = std::move(directory);  // ours from here on, and not before
    return {};
}

Result<void> Trail::open_head() {
    const std::string file = path(kHeadName);
    Fd head(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (!head) return fail_errno(file, errno);
    struct stat status {};
    if (::fstat(head.get(), &status) != 0 || !S_ISREG(status.st_mode)) return fail(file + ": not a file");
    head_fd_ = std::move(head);
    return {};
}

Result<void> Trail::open_file() {
    const std::string file = path(kTrailName);
    if (auto allowed = step("open"); !allowed) return allowed;
    fd_.reset(::open(file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (!fd_) return fail_errno(file, errno);
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
        fd_.reset();
        return fail(file + ": not a file");
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
    rotate_at_ = options_.file_bytes_max;
    torn_ = false;
    ::fsync(directory_fd_.get());  // its name; file systems that cannot do that say so, and lose nothing
    return {};
}

// The last record of the file, which ends in it then: what is torn is cut off, what is no trail put aside.
Result<std::optional<Head>> Trail::make_end_whole(Lost& lost) {
    auto ending = ending_of(fd_.get(), size_);
    if (!ending) return tl::unexpected(ending.error());
    if (ending->damaged) {
        if (auto put_aside = rotate(); !put_aside) return tl::unexpected(put_aside.error());
        add_sentence(lost.what, fmt::format("{} ends in what is no trail", rotated_name(1)));
    } else if (ending->whole < size_) {
        if (::ftruncate(fd_.get(), static_cast<off_t>(ending->whole)) != 0)
            return fail_errno("cut off a torn line of " + path(kTrailName), errno);
        add_sentence(lost.what, fmt::format("a torn line of {} bytes was cut off", size_ - ending->whole));
        lost.records = 1;
        size_ = ending->whole;
    }
    return std::move(ending->last);
}

// Number and hash of the last record. What was lost on the way is said.
Result<Trail::Lost> Trail::resume() {
    Lost lost;
    auto last = make_end_whole(lost);
    if (last && !*last) last = last_before(directory_);
    if (!last) return tl::unexpected(last.error());
    seq_ = *last ? (**last).seq : 0;
    hash_ = *last ? std::move((**last).hash) : no_hash();
    compare_with_head(lost);
    return lost;
}

// Where the head knows of more, or of another record, the chain goes on from there: what is missing stays
// missing, for everybody to see.
void Trail::compare_with_head(Lost& lost) {
    const auto read = read_head(directory_);
    if (!read) return add_sentence(lost.what, read.error().message);
    if (!*read) return;
    const Head& head = **read;
    if (head.seq < seq_ || (head.seq == seq_ && head.hash == hash_)) return;
    add_sentence(lost.what, head.seq == seq_ ? fmt::format("record {} is not as it was written", seq_)
                                             : fmt::format("records {} to {} had been written, and are gone",
                                                           seq_ + 1, head.seq));
    lost.records += head.seq - seq_;
    seq_ = head.seq;
    hash_ = head.hash;
}

void Trail::write(Record record) {
    if (untold_ > 0) tell_losses(record.time);
    if (untold_ == 0) {
        const auto done = put(std::move(record));
        if (done) return;
        failed(done.error());
    }
    ++lost_;
    ++untold_;
}

void Trail::tell_missed(std::uint64_t records, WallTime wall) {
    untold_ += records;
    if (untold_ > 0) tell_losses(wall);
}

void Trail::tell_losses(WallTime wall) {
    Record record;
    record.time = wall;
    record.kind = Kind::records_lost;
    record.reason = failure_.empty() ? "no-trail" : "write-failed";
    record.suppressed = untold_;
    record.detail = failure_;
    if (const auto told = put(std::move(record)); !told) return failed(told.error());
    log_notice(fmt::format("audit: records are written again; {} were lost", untold_));
    untold_ = 0;
    failure_.clear();
}

// Once, until writing works again: a full disk would fill the log as well.
void Trail::failed(const Error& why) {
    if (failure_.empty()) log_error("audit: records are being lost", why.message);
    failure_ = why.message;
}

void Trail::not_synced(const Error& why) {
    if (sync_failure_.empty()) log_error("audit: records may not be on the disk", why.message);
    sync_failure_ = why.message;
}

std::string Trail::failure() const {
    if (!failure_.empty()) return "records are being lost: " + failure_;
    return sync_failure_.empty() ? "" : "records may not be on the disk: " + sync_failure_;
}

Result<void> Trail::put(Record record) {
    if (auto opened = be_open(); !opened) return opened;
    record.seq = seq_ + 1;
    record.host = options_.host;
    record.interface = options_.interface;
    const std::string line = line_of(record, hash_);
    std::string hash = hash_of(line);
    if (size_ > 0 && size_ + line.size() + 1 > rotate_at_) {
        if (auto rotated = rotate(); !rotated) {
            log_error("audit: the trail cannot be rotated, and grows: " + rotated.error().message);
            rotate_at_ = size_ + options_.file_bytes_max;
        }
    }
    if (auto appended = append(line + "\n"); !appended) return appended;
    // Nothing that can fail: the line is there.
    ++seq_;
    hash_ = std::move(hash);
    dirty_ = true;
    if (options_.written) options_.written(record, hash_);
    return {};
}

// Whatever has become of what had been opened: a file that somebody put in its place may end in anything.
Result<void> Trail::be_open() {
    if (!dirty_) let_go_of_what_moved();
    if (!directory_fd_) {
        if (auto locked = lock(); !locked) return locked;
    }
    if (fd_) return {};
    if (auto opened = open_file(); !opened) return opened;
    Lost lost;
    if (auto line = make_end_whole(lost); !line) {
        fd_.reset();
        return tl::unexpected(line.error());
    }
    if (!lost.what.empty()) log_error("audit: " + lost.what);
    return {};
}

// A line is in the file whole or not at all.
Result<void> Trail::append(std::string_view text) {
    if (!fd_) {  // not opened again behind a rotation
        if (auto opened = open_file(); !opened) return opened;
    }
    const auto take_back = [this] {
        torn_ = torn_ && ::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0;
        return !torn_;
    };
    if (!take_back()) return fail_errno("cut off a torn line of " + path(kTrailName), errno);
    if (auto allowed = step("write"); !allowed) return allowed;
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t put = ::write(fd_.get(), text.data() + done, text.size() - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            const int code = put < 0 ? errno : EIO;
            (void)take_back();
            return fail_errno("write " + path(kTrailName), code);
        }
        torn_ = true;
        done += static_cast<std::size_t>(put);
    }
    torn_ = false;
    size_ += text.size();
    return {};
}

Result<void> Trail::rotate() {
    if (dirty_) {
        if (auto synced = sync(); !synced) return synced;
    }
    if (auto shifted = shift_files(); !shifted) return shifted;
    fd_.reset();
    return open_file();
}

Result<void> Trail::shift_files() {
    auto numbers = rotated_numbers(directory_);
    if (!numbers) return tl::unexpected(numbers.error());
    numbers->insert(numbers->begin(), 0);
    for (auto number = numbers->rbegin(); number != numbers->rend(); ++number) {
        const std::string from = path(rotated_name(*number)), to = path(rotated_name(*number + 1));
        if (auto allowed = step("rename"); !allowed) return allowed;
        const bool too_old = *number >= std::clamp(options_.files_kept, 1u, kFileNumberMax - 1);
        if (too_old ? ::unlink(from.c_str()) != 0 : ::rename(from.c_str(), to.c_str()) != 0)
            return fail_errno((too_old ? "remove " : "rename ") + from, errno);
    }
    return {};
}

// The head last: it must never know of what is not there.
Result<void> Trail::sync() {
    if (auto allowed = step("fsync"); !allowed) return allowed;
    if (::fdatasync(fd_.get()) != 0) return fail_errno("fsync " + path(kTrailName), errno);
    if (!is_at(path(kHeadName), head_fd_.get())) {
        // What has its name now may be another daemon's, and is not locked.
        if (!is_at(directory_, directory_fd_.get(), Links::followed))
            return fail(directory_ + ": was moved or removed", ENOENT);
        if (auto opened = open_head(); !opened) return opened;
    }
    const std::string head = text_of(Head{.seq = seq_, .hash = hash_});
    if (::pwrite(head_fd_.get(), head.data(), head.size(), 0) != static_cast<ssize_t>(head.size()))
        return fail_errno("write " + path(kHeadName), errno);
    dirty_ = false;
    sync_failure_.clear();
    return {};
}

// By somebody else's rotation, or removed: what is written there would be seen by nobody. Looked for before
// the first record after a sync, and at each sync.
void Trail::let_go_of_what_moved() {
    if (!is_at(directory_, directory_fd_.get(), Links::followed)) {
        directory_fd_.reset();
        fd_.reset();
        head_fd_.reset();
    }
    if (!is_at(path(kTrailName), fd_.get()) || (!torn_ && !has_size(fd_.get(), size_))) fd_.reset();
    if (!fd_) {
        dirty_ = false;
        sync_failure_.clear();
    }
}

void Trail::tick(Instant now, WallTime wall) {
    if ((!dirty_ && untold_ == 0) || now < synced_ + kSyncInterval) return;
    synced_ = now;
    if (fd_ && dirty_) {
        if (const auto synced = sync(); !synced) not_synced(synced.error());
        let_go_of_what_moved();
    }
    if (untold_ > 0) tell_losses(wall);
}

std::optional<Instant> Trail::deadline() const {
    if (!dirty_ && untold_ == 0) return std::nullopt;
    return synced_ + kSyncInterval;
}

}  // namespace vern::audit
