// Which messages of a train go together, so that the lanes of a vector have alike lengths (aead_train.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/chacha20_lanes.h"

namespace vern::aead {
namespace {

constexpr std::size_t kWindow = 64;  // messages among which alike lengths are sought

// Longest first, by blocks: an order of lengths, which are no secret.
template <class Job>
void sort_by_length(std::uint8_t* order, const Job* jobs, std::size_t count) {
    constexpr std::size_t kClasses = 32;
    const auto size_class = [&](std::size_t i) {
        const std::uint32_t blocks = (jobs[i].length + kBlockBytes - 1) / kBlockBytes;
        return kClasses - 1 - (blocks < kClasses ? blocks : kClasses - 1);
    };
    bool alike = true;
    for (std::size_t i = 0; i < count; ++i) {
        order[i] = static_cast<std::uint8_t>(i);
        alike &= jobs[i].length == jobs[0].length;
    }
    if (alike || count <= 2) return;
    std::uint8_t place[kClasses + 1] = {};
    for (std::size_t i = 0; i < count; ++i) ++place[size_class(i) + 1];
    for (std::size_t i = 1; i < kClasses; ++i) place[i] = static_cast<std::uint8_t>(place[i] + place[i - 1]);
    for (std::size_t i = 0; i < count; ++i) order[place[size_class(i)]++] = static_cast<std::uint8_t>(i);
}

// Calls `each` for every group of up to kMessages: with the indices of its messages, how many, and the jobs
// that the indices are of.
template <int kMessages, class Job, class Each>
[[gnu::always_inline]] inline void for_groups(Job* jobs, std::size_t count, Each each) {
    std::uint8_t order[kWindow];
    while (count > 0) {
        const std::size_t window = count < kWindow ? count : kWindow;
        sort_by_length(order, jobs, window);
        for (std::size_t i = 0; i < window; i += kMessages) {
            const std::size_t left = window - i;
            each(order + i, static_cast<int>(left < kMessages ? left : kMessages), jobs);
        }
        jobs += window;
        count -= window;
    }
}

}  // namespace
}  // namespace vern::aead
