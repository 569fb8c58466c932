// The policies of one interface on disk: the last good one, the one before it, and one that is on trial.
// Control thread only.
//
//   policy.toml     what a restart loads
//   previous.toml   what was in its place before, for rollback
//   pending.toml    on trial since apply --confirm; a restart drops it: nobody has confirmed it
//   pending.json    until when
//
// Each file is whole or not there, whatever ends the process or the machine: it is written beside its place,
// synced and renamed, and then the directory is synced. A confirmation is one rename.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/error.h"
#include "crypto/instant.h"

namespace vern::policy {

class Store {
  public:
    // `directory` is made by the first write. `before_step` (tests) is called before each step that changes
    // the disk, and gives the errno with which that step is to fail, or 0.
    using StepHook = std::function<int(std::string_view step)>;
    explicit Store(std::string directory, StepHook before_step = nullptr);

    struct Stored {
        std::string text;
        WallTime written;  // a clock that shows less has been set back
    };
    // Nothing: there is none. An error: there may be one, and it cannot be read.
    Result<std::optional<Stored>> load() const;
    Result<std::optional<Stored>> load_previous() const;

    Result<void> replace(std::string_view text);
    Result<void> begin_trial(std::string_view text, WallTime deadline);
    Result<void> confirm_trial();
    // True: there was one. What cannot be removed does no harm: nothing reads it.
    bool drop_trial();
    // Back to no policy at all.
    Result<void> clear();
    // So that a clock that is set back while the daemon does not run is noticed. Best effort.
    void note_time() const;

    const std::string& directory() const { return directory_; }

  private:
    std::string path(std::string_view name) const { return directory_ + "/" + std::string(name); }
    Result<void> step(std::string_view what) const;
    Result<void> make_directory() const;
    Result<void> write(std::string_view name, std::string_view text) const;
    Result<void> rename(std::string_view from, std::string_view to) const;
    Result<void> keep_previous() const;
    Result<void> sync_directory() const;
    Result<std::optional<Stored>> read(std::string_view name) const;

    std::string directory_;
    StepHook before_step_;
};

}  // namespace vern::policy
