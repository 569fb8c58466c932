#include "control/policy/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/json.h"
#include "control/policy/language.h"

namespace vern::policy {
namespace {

constexpr std::string_view kPolicy = "policy.toml";
constexpr std::string_view kPrevious = "previous.toml";
constexpr std::string_view kPending = "pending.toml";
constexpr std::string_view kRecord = "pending.json";
constexpr std::string_view kBroken = "broken.toml";

}  // namespace

Result<std::optional<Store::Stored>> Store::load() const { return files_.read(kPolicy, kPolicyBytesMax); }
Result<std::optional<Store::Stored>> Store::load_previous() const {
    return files_.read(kPrevious, kPolicyBytesMax);
}

// A second name for the present file, so that its place is never empty. The first policy has none before it.
// It notes until when it was in force: what had expired by then stays so when it comes back.
Result<void> Store::keep_previous() const {
    note_time();
    if (auto linked = files_.link(kPolicy, kPrevious); !linked) return tl::unexpected(linked.error());
    return {};
}

// Once: what is in its place when that is tried again may be what failed to replace it.
Result<void> Store::keep_broken() {
    if (broken_set_aside_) return {};
    ::unlink(files_.path_of(kBroken).c_str());  // of an earlier time: not to be put back
    if (auto linked = files_.link(kPolicy, kBroken); !linked) return tl::unexpected(linked.error());
    broken_set_aside_ = true;
    return {};
}

Result<void> Store::keep(Present present) {
    return present == Present::good ? keep_previous() : keep_broken();
}

Result<void> Store::replace(std::string_view text, Present present) {
    if (auto made = files_.make(); !made) return made;
    if (auto kept = keep(present); !kept) return kept;
    return put_back(text);
}

Result<void> Store::put_back(std::string_view text) {
    if (auto written = files_.write(kPolicy, text); !written) return written;
    return files_.sync();
}

Result<void> Store::begin_trial(std::string_view text, WallTime deadline) {
    if (auto made = files_.make(); !made) return made;
    const auto seconds = std::chrono::floor<std::chrono::seconds>(deadline).time_since_epoch().count();
    if (auto written = files_.write(kRecord, nlohmann::json{{"deadline", seconds}}.dump() + "\n"); !written)
        return written;
    auto begun = files_.write(kPending, text).and_then([this] { return files_.sync(); });
    if (!begun) drop_trial();
    return begun;
}

Result<void> Store::confirm_trial(Present present) {
    if (auto kept = keep(present); !kept) return kept;
    if (auto renamed = files_.rename(kPending, kPolicy); !renamed) return renamed;
    auto lasting = files_.sync();
    if (lasting)
        ::unlink(files_.path_of(kRecord).c_str());
    else
        (void)files_.link(kPolicy, kPending);
    return lasting;
}

bool Store::drop_trial() {
    const bool was = ::unlink(files_.path_of(kPending).c_str()) == 0;
    ::unlink(files_.path_of(kRecord).c_str());
    return was;
}

Result<void> Store::clear() {
    if (auto removed = files_.remove(kPolicy); !removed) return tl::unexpected(removed.error());
    return files_.sync();
}

Result<void> Store::remove() {
    if (auto kept = keep_previous(); !kept) return kept;
    return clear();
}

Result<void> Store::set_aside_broken() {
    if (auto kept = keep_broken(); !kept) return kept;
    return clear();
}

Result<void> Store::put_back_broken() {
    if (!broken_set_aside_) return {};  // it is still there
    const auto linked = files_.link(kBroken, kPolicy);
    if (!linked) return tl::unexpected(linked.error());
    auto lasting = *linked ? files_.sync() : clear();
    if (lasting) settled();
    return lasting;
}

void Store::note_time() const {
    const timespec now[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = 0, .tv_nsec = UTIME_NOW}};
    struct stat status {};
    // Never back: a clock that was set back does not know better than the file.
    if (::stat(files_.path_of(kPolicy).c_str(), &status) == 0 && status.st_mtim.tv_sec <= ::time(nullptr))
        ::utimensat(AT_FDCWD, files_.path_of(kPolicy).c_str(), now, 0);
}

}  // namespace vern::policy
