// How long a thread waited for a CPU, beside how long it had one: the kernel's own figures
// (/proc/thread-self/schedstat). Where threads wait, no CPU is free, and work that is given to another thread
// only makes both later.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>

#include "dataplane/io/fd.h"

namespace vern {

// Of the thread that calls watch(); sample() by the same. About a microsecond a sample.
class CpuWait {
  public:
    enum class Verdict { unknown, free, crowded };

    void watch() noexcept { file_.reset(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)); }

    // Of the time since the last call. Unknown: too little of it, or a kernel that does not tell.
    Verdict sample() noexcept {
        std::array<char, 96> text;
        const ssize_t length = file_ ? ::pread(file_.get(), text.data(), text.size() - 1, 0) : -1;
        if (length <= 0) return Verdict::unknown;
        text[static_cast<std::size_t>(length)] = '\0';
        char* rest = nullptr;
        const std::uint64_t ran_ns = std::strtoull(text.data(), &rest, 10);
        const std::uint64_t waited_ns = std::strtoull(rest, nullptr, 10);
        const std::uint64_t ran = ran_ns - ran_ns_, waited = waited_ns - waited_ns_;
        if (ran < kEnoughNs) return Verdict::unknown;
        ran_ns_ = ran_ns;
        waited_ns_ = waited_ns;
        return waited > ran / kCrowdedShare ? Verdict::crowded : Verdict::free;
    }

  private:
    static constexpr std::uint64_t kEnoughNs = 1'000'000;
    // A thread with a CPU of its own waits less than a hundredth; two on one CPU wait as long as they run.
    static constexpr std::uint64_t kCrowdedShare = 8;

    Fd file_;
    std::uint64_t ran_ns_ = 0;
    std::uint64_t waited_ns_ = 0;
};

}  // namespace vern
