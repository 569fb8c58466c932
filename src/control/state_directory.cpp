#include "control/state_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "control/files.h"
#include "dataplane/io/fd.h"

namespace vern {
namespace {

constexpr std::string_view kUnfinished = ".new";

}  // namespace

Result<void> StateDirectory::step(std::string_view what) const {
    const int code = before_step_ ? before_step_(what) : 0;
    if (code != 0) return fail_errno(std::string(what) + " in " + path_, code);
    return {};
}

Result<std::optional<StateDirectory::Stored>> StateDirectory::read(std::string_view name,
                                                                   std::size_t bytes_max) const {
    const std::string file = path_of(name);
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));  // no pipe to wait for
    if (!fd && errno == ENOENT) return std::nullopt;
    if (!fd) return fail_errno(file, errno);
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return fail_errno(file, errno);
    if (!S_ISREG(status.st_mode)) return fail(file + ": not a regular file", EINVAL);
    auto text = read_all<std::string>(fd.get(), bytes_max, file);
    if (!text) return tl::unexpected(text.error());
    return Stored{.text = std::move(*text), .written = WallTime(std::chrono::seconds(status.st_mtim.tv_sec))};
}

Result<void> StateDirectory::make() const {
    if (auto allowed = step("mkdir"); !allowed) return allowed;
    return make_directories(path_, 0700);
}

Result<void> StateDirectory::sync() const {
    if (auto allowed = step("fsync of the directory"); !allowed) return allowed;
    const Fd fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // File systems that cannot sync a directory say EINVAL.
    if (!fd || (::fsync(fd.get()) != 0 && errno != EINVAL)) return fail_errno("fsync " + path_, errno);
    return {};
}

Result<void> StateDirectory::rename(std::string_view from, std::string_view to) const {
    if (auto allowed = step("rename"); !allowed) return allowed;
    if (::rename(path_of(from).c_str(), path_of(to).c_str()) != 0)
        return fail_errno("rename " + path_of(from), errno);
    return {};
}

Result<void> StateDirectory::write(std::string_view name, std::string_view text) const {
    const std::string temporary = std::string(name).append(kUnfinished), file = path_of(temporary);
    const auto put = [&]() -> Result<void> {
        if (auto allowed = step("open"); !allowed) return allowed;
        const Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!fd) return fail_errno(file, errno);
        if (auto allowed = step("write"); !allowed) return allowed;
        if (auto written = write_all(fd.get(), text, file); !written) return written;
        if (auto allowed = step("fsync"); !allowed) return allowed;
        if (::fsync(fd.get()) != 0) return fail_errno("fsync " + file, errno);
        return rename(temporary, name);
    };
    auto done = put();
    if (!done) ::unlink(file.c_str());
    return done;
}

Result<bool> StateDirectory::link(std::string_view from, std::string_view to) const {
    if (auto allowed = step("link"); !allowed) return tl::unexpected(allowed.error());
    const std::string temporary = std::string(to).append(kUnfinished);
    ::unlink(path_of(temporary).c_str());
    if (::link(path_of(from).c_str(), path_of(temporary).c_str()) != 0) {
        if (errno == ENOENT) return false;
        return fail_errno("link " + path_of(temporary), errno);
    }
    if (auto renamed = rename(temporary, to); !renamed) return tl::unexpected(renamed.error());
    ::unlink(path_of(temporary).c_str());  // it stays where both were one file already
    return true;
}

Result<bool> StateDirectory::remove(std::string_view name) const {
    if (auto allowed = step("unlink"); !allowed) return tl::unexpected(allowed.error());
    if (::unlink(path_of(name).c_str()) == 0) return true;
    if (errno != ENOENT) return fail_errno("unlink " + path_of(name), errno);
    return false;
}

void StateDirectory::drop_unfinished() const {
    std::vector<std::string> unfinished;
    std::error_code none;
    for (std::filesystem::directory_iterator entry(path_, none), end; !none && entry != end;
         entry.increment(none))
        if (entry->path().extension() == kUnfinished) unfinished.push_back(entry->path());
    for (const std::string& file : unfinished) ::unlink(file.c_str());
}

Result<void> StateDirectory::replace(std::string_view name, std::string_view text) const {
    if (auto made = make(); !made) return made;
    if (auto written = write(name, text); !written) return written;
    return sync();
}

}  // namespace vern
