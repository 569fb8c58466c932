// A point in time as the core sees it: nanoseconds of CLOCK_BOOTTIME (it goes on during suspend and never
// steps back), handed in by whoever drives the core. The core reads no clock: this clock type has no now() on
// purpose.
#pragma once

#include <chrono>
#include <cstdint>

namespace vern {

struct BootClock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<BootClock, duration>;
    static constexpr bool is_steady = true;
};

using Duration = BootClock::duration;
using Instant = BootClock::time_point;

// Wall-clock time, needed only for TAI64N timestamps and for "latest handshake" in status.
using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;

}  // namespace vern
