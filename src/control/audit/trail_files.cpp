#include "control/audit/trail_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <memory>

#include "control/audit/record.h"
#include "control/text.h"

namespace vern::audit {
namespace {

constexpr std::size_t kReadBytes = std::size_t{64} << 10;
constexpr std::size_t kSeqDigits = 20;

struct CloseDirectory {
    void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

}  // namespace

std::string rotated_name(unsigned number) {
    return number == 0 ? std::string(kTrailName) : fmt::format("{}.{}", kTrailName, number);
}

Result<std::vector<unsigned>> rotated_numbers(const std::string& directory) {
    const std::unique_ptr<DIR, CloseDirectory> opened(::opendir(directory.c_str()));
    if (!opened) return fail_errno(directory, errno);
    std::vector<unsigned> numbers;
    while (const dirent* entry = ::readdir(opened.get())) {
        std::string_view name(entry->d_name);
        if (!name.starts_with(kTrailName)) continue;
        name.remove_prefix(kTrailName.size());
        if (!name.starts_with('.')) continue;
        const auto number = parse_decimal<unsigned>(name.substr(1), kFileNumberMax);
        if (number && *number > 0) numbers.push_back(*number);
    }
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}

Result<TrailFile> open_trail_file(const std::string& directory, const std::string& name) {
    const std::string path = directory + "/" + name;
    TrailFile file{.name = name,
                   .fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)),
                   .device = 0,
                   .inode = 0};
    struct stat status {};
    if (!file.fd || ::fstat(file.fd.get(), &status) != 0) return fail_errno(path, errno);
    if (!S_ISREG(status.st_mode)) return fail(path + ": not a file");
    file.device = status.st_dev;
    file.inode = status.st_ino;
    return file;
}

// Files only ever move to the next higher number. Opened in rising order each is met at least once.
Result<std::vector<TrailFile>> open_trail(const std::string& directory) {
    std::vector<TrailFile> files;
    const auto add = [&](unsigned number) -> Result<void> {
        auto file = open_trail_file(directory, rotated_name(number));
        if (!file && file.error().code == ENOENT) return {};
        if (!file) return tl::unexpected(file.error());
        const bool known = std::any_of(files.begin(), files.end(),
                                       [&](const TrailFile& other) { return other.is_same_file(*file); });
        if (!known) files.push_back(std::move(*file));
        return {};
    };
    if (auto added = add(0); !added) return tl::unexpected(added.error());
    const auto numbers = rotated_numbers(directory);
    if (!numbers) return tl::unexpected(numbers.error());
    // One more of each, for what a rotation has moved meanwhile.
    for (const unsigned number : *numbers) {
        for (const unsigned place : {number, number + 1}) {
            if (auto added = add(place); !added) return tl::unexpected(added.error());
        }
    }
    if (files.empty()) return fail(directory + ": there is no trail", ENOENT);
    std::reverse(files.begin(), files.end());
    return files;
}

std::string text_of(const Head& head) { return fmt::format("{:020} {}\n", head.seq, head.hash); }

Result<std::optional<Head>> read_head(const std::string& directory) {
    const std::string name(kHeadName);
    const auto file = open_trail_file(directory, name);
    if (!file && file.error().code == ENOENT) return std::nullopt;
    if (!file) return tl::unexpected(file.error());
    std::array<char, kHeadBytes + 1> bytes;
    const ssize_t got = ::pread(file->fd.get(), bytes.data(), bytes.size(), 0);
    if (got < 0) return fail_errno(directory + "/" + name, errno);
    if (got == 0) return std::nullopt;  // made, and never written to
    const std::string_view text(bytes.data(), static_cast<std::size_t>(got));
    const auto digits = text.substr(0, kSeqDigits);
    const auto seq =
        parse_decimal<std::uint64_t>(digits.substr(std::min(digits.find_first_not_of('0'), digits.size())));
    if (text.size() == kHeadBytes && seq &&
        is_hash(text.substr(kSeqDigits + 1, kHeadBytes - kSeqDigits - 2))) {
        Head head{.seq = *seq, .hash = std::string(text.substr(kSeqDigits + 1, kHeadBytes - kSeqDigits - 2))};
        if (text_of(head) == text) return head;
    }
    return fail(directory + "/" + name + ": not a sequence number and a hash", EBADMSG);
}

Result<bool> LineReader::fill() {
    buffer_.erase(0, begin_);
    scanned_ -= begin_;
    begin_ = 0;
    const std::size_t had = buffer_.size();
    buffer_.resize(had + kReadBytes);
    ssize_t got = 0;
    do got = ::read(fd_, buffer_.data() + had, kReadBytes);
    while (got < 0 && errno == EINTR);
    const int code = errno;
    buffer_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0) return fail_errno("read the trail", code);
    return got > 0;
}

Result<std::optional<LineReader::Line>> LineReader::next() {
    while (true) {
        const std::size_t end = buffer_.find('\n', scanned_);
        if (end != std::string::npos) {
            const std::string_view text(buffer_.data() + begin_, end - begin_);
            begin_ = scanned_ = end + 1;
            if (!std::exchange(skipping_, false))
                return Line{text.substr(0, kLineBytesMax + 1), text.size() > kLineBytesMax};
            return Line{long_line_, true};
        }
        scanned_ = buffer_.size();
        if (scanned_ - begin_ > kLineBytesMax) {  // only its end is of interest
            if (!skipping_) long_line_ = buffer_.substr(begin_, kLineBytesMax + 1);
            skipping_ = true;
            begin_ = scanned_;
        }
        const auto more = fill();
        if (!more) return tl::unexpected(more.error());
        if (!*more) return std::nullopt;
    }
}

}  // namespace vern::audit
