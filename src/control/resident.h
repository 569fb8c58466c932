// What starting took and running does not need goes back to the system.
#pragma once

#include <chrono>
#include <optional>

namespace vern {

// Drops the pages of code and constants that are resident by now, of the program and its libraries: they are
// the files' own, unchanged, and the few that are used come back by themselves. Frees what the heap holds in
// reserve.
void release_startup_memory() noexcept;

// When to do so, for an event loop: at once, and once more when it has been quiet for a while after the first
// event. That was a configuration and most likely a handshake, which touch much that forwarding does not.
class Settling {
  public:
    Settling() noexcept { release_startup_memory(); }

    // How long poll() may wait, given how long it may otherwise; milliseconds, -1 for ever.
    int timeout(int otherwise) const noexcept;
    void after_poll(bool events) noexcept;

  private:
    using Clock = std::chrono::steady_clock;
    static constexpr int kQuiet = 500;  // ms

    std::optional<Clock::time_point> touched_;
    bool settled_ = false;
};

}  // namespace vern
