// Virtual time: nanoseconds since the world began.
#pragma once

#include <cstdint>

#include "crypto/instant.h"

namespace vern::sim {

using Nanos = std::int64_t;
inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;
inline constexpr Nanos kMinute = 60 * kSecond;

constexpr Instant instant(Nanos boot) noexcept { return Instant(Duration(boot)); }
constexpr Nanos nanos(Instant at) noexcept { return at.time_since_epoch().count(); }
constexpr Nanos nanos(Duration time) noexcept { return time.count(); }

}  // namespace vern::sim
