// How many requests a second are handled, whoever sends them: the API must not take from the packets what a
// client in a loop could ask for. Who asks for more is not refused but waits for his turn.
//
// The generic cell rate algorithm (ITU-T I.371): one time is all its state.
#pragma once

#include <algorithm>
#include <chrono>

namespace vern::api {

class Budget {
  public:
    using Clock = std::chrono::steady_clock;

    // `a_second` on the long run, 0 for no limit; `burst` at once.
    Budget(unsigned a_second, unsigned burst) noexcept
        : interval_(a_second == 0 ? Clock::duration::zero()
                                  : Clock::duration(std::chrono::seconds(1)) / a_second),
          tolerance_(interval_ * burst) {}

    // Books a request; how long it has to wait.
    Clock::duration take(Clock::time_point now) noexcept {
        booked_until_ = std::max(booked_until_, now) + interval_;
        return std::max(booked_until_ - now - tolerance_, Clock::duration::zero());
    }

    // The same for what does not wait: false, and nothing is booked.
    bool take_if_free(Clock::time_point now) noexcept {
        const auto booked = std::max(booked_until_, now) + interval_;
        if (booked - now > tolerance_ && interval_ != Clock::duration::zero()) return false;
        booked_until_ = booked;
        return true;
    }
    bool is_whole(Clock::time_point now) const noexcept { return booked_until_ <= now; }

  private:
    Clock::duration interval_;
    Clock::duration tolerance_;
    Clock::time_point booked_until_{};
};

}  // namespace vern::api
