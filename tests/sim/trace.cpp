#include "trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "coverage.h"

namespace vern::sim {

std::string Trace::text(const Entry& entry) {
    static constexpr std::array<std::string_view, 13> kFormats{
#define X(name, text) text,
        VERN_SIM_EVENTS(X)
#undef X
    };
    const auto format = kFormats[static_cast<std::size_t>(entry.what)];
    const std::string what = entry.what == Event::fault
                                 ? fmt::format(fmt::runtime(format), entry.a, entry.b, kFaultNames[entry.c])
                                 : fmt::format(fmt::runtime(format), entry.a, entry.b, entry.c);
    return fmt::format("{:5}.{:09} {}\n", entry.at / kSecond, entry.at % kSecond, what);
}

void Trace::print(const Entry& entry) { std::fputs(text(entry).c_str(), stdout); }

std::string Trace::tail(std::size_t lines) const {
    const std::uint64_t kept = std::min<std::uint64_t>({count_, lines, ring_.size()});
    std::string out;
    for (std::uint64_t i = count_ - kept; i < count_; ++i) out += text(ring_[i % ring_.size()]);
    return out;
}

}  // namespace vern::sim
