// A directory of what must outlive the daemon: each file is whole or not there, whatever ends the process or
// the machine. Control thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/error.h"
#include "crypto/instant.h"

namespace vern {

class StateDirectory {
  public:
    // The directory is made by make(). `before_step` (tests) is called before each step that changes the
    // disk, and gives the errno with which that step is to fail, or 0.
    using StepHook = std::function<int(std::string_view step)>;
    explicit StateDirectory(std::string path, StepHook before_step = nullptr)
        : path_(std::move(path)), before_step_(std::move(before_step)) {}

    struct Stored {
        std::string text;
        WallTime written;  // a clock that shows less has been set back
    };
    // Nothing: there is none. An error: there may be one, and it cannot be read, or is larger than that.
    Result<std::optional<Stored>> read(std::string_view name, std::size_t bytes_max) const;

    Result<void> make() const;
    // Beside its place, synced, and then renamed: the old content or the new one. sync() makes it last.
    Result<void> write(std::string_view name, std::string_view text) const;
    Result<void> rename(std::string_view from, std::string_view to) const;
    // A second name for a file, in the place of what had it; false: there is no such file.
    Result<bool> link(std::string_view from, std::string_view to) const;
    // False: there was none.
    Result<bool> remove(std::string_view name) const;
    Result<void> sync() const;

    // What writes that a kill cut short have left beside their places. For the start, while nobody writes.
    void drop_unfinished() const;

    // All of make(), write() and sync().
    Result<void> replace(std::string_view name, std::string_view text) const;

    const std::string& path() const { return path_; }
    std::string path_of(std::string_view name) const { return path_ + "/" + std::string(name); }

  private:
    Result<void> step(std::string_view what) const;

    std::string path_;
    StepHook before_step_;
};

}  // namespace vern
