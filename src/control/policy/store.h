// The policies of one interface on disk: the last good one, the one before it, and one that is on trial.
// Control thread only.
//
//   policy.toml     what a restart loads
//   previous.toml   the last good one that was in its place before, for rollback
//   pending.toml    on trial since apply --confirm; a restart drops it: nobody has confirmed it
//   pending.json    until when
//   broken.toml     could not be loaded, and was removed or replaced; nothing reads it
//
// Each file is whole or not there, whatever ends the process or the machine. A confirmation is one rename.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/state_directory.h"

namespace vern::policy {

class Store {
  public:
    using Stored = StateDirectory::Stored;
    explicit Store(std::string directory, StateDirectory::StepHook before_step = nullptr)
        : files_(std::move(directory), std::move(before_step)) {}

    // Nothing: there is none. An error: there may be one, and it cannot be read.
    Result<std::optional<Stored>> load() const;
    Result<std::optional<Stored>> load_previous() const;

    // What is to become of the present one: previous.toml, or broken.toml if it could not be loaded, so that
    // the one before stays the last good one.
    enum class Present { good, broken };
    Result<void> replace(std::string_view text, Present present = Present::good);
    Result<void> begin_trial(std::string_view text, WallTime deadline);
    // What fails leaves the trial there, to be confirmed again.
    Result<void> confirm_trial(Present present = Present::good);
    // True: there was one. What cannot be removed does no harm: nothing reads it.
    bool drop_trial();
    // Back to no policy at all: as if there had never been one, or with the present one as the one before.
    Result<void> clear();
    Result<void> remove();
    // The same for one that cannot be loaded: nothing to go back to, so the one before stays that.
    Result<void> set_aside_broken();
    // When something went wrong half way: what governs is to be there again, and is not what was before.
    Result<void> put_back(std::string_view text);
    Result<void> put_back_broken();
    void settled() { broken_set_aside_ = false; }  // nothing went wrong: it is not put back any more
    // So that a clock that is set back while the daemon does not run is noticed. Best effort.
    void note_time() const;

    const std::string& directory() const { return files_.path(); }

  private:
    Result<void> keep_previous() const;
    Result<void> keep_broken();
    Result<void> keep(Present present);

    StateDirectory files_;
    bool broken_set_aside_ = false;  // as broken.toml; if that is not there, so was nothing in its place
};

}  // namespace vern::policy
