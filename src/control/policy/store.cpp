#include "control/policy/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>

#include "control/policy/language.h"
#include "control/write_all.h"
#include "dataplane/io/fd.h"

namespace vern::policy {
namespace {

constexpr std::string_view kPolicy = "policy.toml";
constexpr std::string_view kPrevious = "previous.toml";
constexpr std::string_view kPending = "pending.toml";
constexpr std::string_view kRecord = "pending.json";

}  // namespace

Store::Store(std::string directory, StepHook before_step)
    : directory_(std::move(directory)), before_step_(std::move(before_step)) {}

Result<void> Store::step(std::string_view what) const {
    const int code = before_step_ ? before_step_(what) : 0;
    if (code != 0) return fail_errno(std::string(what) + " in " + directory_, code);
    return {};
}

Result<std::optional<Store::Stored>> Store::read(std::string_view name) const {
    const std::string file = path(name);
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd && errno == ENOENT) return std::nullopt;
    if (!fd) return fail_errno(file, errno);
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return fail_errno(file, errno);
    Stored stored{.text = {}, .written = WallTime(std::chrono::seconds(status.st_mtim.tv_sec))};
    std::array<char, 64 * 1024> chunk;
    ssize_t got = 0;
    while ((got = ::read(fd.get(), chunk.data(), chunk.size())) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(file, errno);
        stored.text.append(chunk.data(), static_cast<std::size_t>(got));
        if (stored.text.size() > kPolicyBytesMax) return fail(file + ": larger than 8 MiB", EFBIG);
    }
    return stored;
}

Result<std::optional<Store::Stored>> Store::load() const { return read(kPolicy); }
Result<std::optional<Store::Stored>> Store::load_previous() const { return read(kPrevious); }

Result<void> Store::make_directory() const {
    if (auto allowed = step("mkdir"); !allowed) return allowed;
    for (std::size_t slash = directory_.find('/', 1);; slash = directory_.find('/', slash + 1)) {
        const std::string part = directory_.substr(0, slash);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("mkdir " + part, errno);
        if (slash == std::string::npos) return {};
    }
}

Result<void> Store::sync_directory() const {
    if (auto allowed = step("fsync of the directory"); !allowed) return allowed;
    const Fd fd(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // File systems that cannot sync a directory say EINVAL.
    if (!fd || (::fsync(fd.get()) != 0 && errno != EINVAL)) return fail_errno("fsync " + directory_, errno);
    return {};
}

Result<void> Store::rename(std::string_view from, std::string_view to) const {
    if (auto allowed = step("rename"); !allowed) return allowed;
    if (::rename(path(from).c_str(), path(to).c_str()) != 0) return fail_errno("rename " + path(from), errno);
    return {};
}

Result<void> Store::write(std::string_view name, std::string_view text) const {
    const std::string temporary = std::string(name) + ".new", file = path(temporary);
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

// A second name for the present file, so that its place is never empty.
Result<void> Store::keep_previous() const {
    if (auto allowed = step("link"); !allowed) return allowed;
    const std::string temporary = std::string(kPrevious) + ".new";
    ::unlink(path(temporary).c_str());
    if (::link(path(kPolicy).c_str(), path(temporary).c_str()) != 0) {
        if (errno == ENOENT) return {};  // the first policy has none before it
        return fail_errno("link " + path(temporary), errno);
    }
    return rename(temporary, kPrevious);
}

Result<void> Store::replace(std::string_view text) {
    if (auto made = make_directory(); !made) return made;
    if (auto kept = keep_previous(); !kept) return kept;
    if (auto written = write(kPolicy, text); !written) return written;
    return sync_directory();
}

Result<void> Store::begin_trial(std::string_view text, WallTime deadline) {
    if (auto made = make_directory(); !made) return made;
    const auto seconds = std::chrono::floor<std::chrono::seconds>(deadline).time_since_epoch().count();
    if (auto written = write(kRecord, nlohmann::json{{"deadline", seconds}}.dump() + "\n"); !written)
        return written;
    auto begun = write(kPending, text).and_then([this] { return sync_directory(); });
    if (!begun) drop_trial();
    return begun;
}

Result<void> Store::confirm_trial() {
    if (auto kept = keep_previous(); !kept) return kept;
    if (auto renamed = rename(kPending, kPolicy); !renamed) return renamed;
    ::unlink(path(kRecord).c_str());
    return sync_directory();
}

bool Store::drop_trial() {
    const bool was = ::unlink(path(kPending).c_str()) == 0;
    ::unlink(path(kRecord).c_str());
    return was;
}

Result<void> Store::clear() {
    if (auto allowed = step("unlink"); !allowed) return allowed;
    if (::unlink(path(kPolicy).c_str()) != 0 && errno != ENOENT)
        return fail_errno("unlink " + path(kPolicy), errno);
    return sync_directory();
}

void Store::note_time() const {
    const timespec now[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = 0, .tv_nsec = UTIME_NOW}};
    struct stat status {};
    // Never back: a clock that was set back does not know better than the file.
    if (::stat(path(kPolicy).c_str(), &status) == 0 && status.st_mtim.tv_sec <= ::time(nullptr))
        ::utimensat(AT_FDCWD, path(kPolicy).c_str(), now, 0);
}

}  // namespace vern::policy
