// The highest rate that a path carries: doubling until it does not, then halving the distance.
#pragma once

#include <algorithm>

#include "crypto/error.h"

namespace vern::cli::bench {

struct RateSearch {
    double start = 5'000;
    double ceiling = 4e6;
    double precision = 0.05;  // of the result
    int attempts =
        2;  // a rate is too high when it fails this often: one hiccup of a busy host is none of the path
};

// `carries(rate)` gives Result<bool>. 0: not even a hundredth of `start`.
template <typename Carries>
Result<double> highest_rate(const RateSearch& search, Carries&& carries) {
    const auto try_rate = [&](double rate) -> Result<bool> {
        for (int attempt = 0; attempt < search.attempts; ++attempt) {
            Result<bool> carried = carries(rate);
            if (!carried || *carried) return carried;
        }
        return false;
    };
    double good = 0, bad = search.ceiling, rate = search.start;
    while (rate < search.ceiling) {
        const Result<bool> carried = try_rate(rate);
        if (!carried) return tl::unexpected(carried.error());
        if (!*carried) {
            bad = rate;
            break;
        }
        good = rate;
        rate *= 2;
    }
    while (bad - good > search.precision * std::max(good, search.start / 100)) {
        const double middle = good + (bad - good) / 2;
        const Result<bool> carried = try_rate(middle);
        if (!carried) return tl::unexpected(carried.error());
        (*carried ? good : bad) = middle;
    }
    return good;
}

}  // namespace vern::cli::bench
