// TAI64N timestamps: 8 bytes of TAI seconds plus 2^62, 4 bytes of nanoseconds, both big endian
// (https://cr.yp.to/libtai/tai64.html).
#include <span>

#include "crypto/noise.h"

namespace vern::noise {
namespace {

// TAI was 10 s ahead of UTC in 1970. Leap seconds since then are ignored, as by every implementation: only
// the order matters.
constexpr std::uint64_t kSecondsAtUnixEpoch = (std::uint64_t{1} << 62) + 10;
constexpr std::uint64_t kStepNanoseconds = std::uint64_t{1} << 24;
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr std::size_t kSecondsBytes = 8;

void store_big_endian(std::span<std::byte> bytes, std::uint64_t value) noexcept {
    for (std::size_t i = bytes.size(); i-- > 0; value >>= 8) bytes[i] = static_cast<std::byte>(value & 0xff);
}

std::uint64_t load_big_endian(std::span<const std::byte> bytes) noexcept {
    std::uint64_t value = 0;
    for (std::byte byte : bytes) value = value << 8 | std::to_integer<std::uint64_t>(byte);
    return value;
}

Timestamp whitened(std::uint64_t seconds, std::uint64_t nanoseconds) noexcept {
    Timestamp timestamp;
    const std::span<std::byte> bytes = timestamp.bytes;
    store_big_endian(bytes.first(kSecondsBytes), seconds);
    store_big_endian(bytes.subspan(kSecondsBytes), nanoseconds & ~(kStepNanoseconds - 1));
    return timestamp;
}

}  // namespace

Timestamp timestamp_at(WallTime now) noexcept {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
    return whitened(kSecondsAtUnixEpoch + static_cast<std::uint64_t>(seconds.time_since_epoch().count()),
                    static_cast<std::uint64_t>((now - seconds).count()));
}

Timestamp successor(const Timestamp& timestamp) noexcept {
    const std::span<const std::byte> bytes = timestamp.bytes;
    const std::uint64_t seconds = load_big_endian(bytes.first(kSecondsBytes));
    const std::uint64_t steps = load_big_endian(bytes.subspan(kSecondsBytes)) / kStepNanoseconds;
    const std::uint64_t nanoseconds = (steps + 1) * kStepNanoseconds;
    if (nanoseconds < kNanosecondsPerSecond) return whitened(seconds, nanoseconds);
    return whitened(seconds + 1, 0);
}

}  // namespace vern::noise
