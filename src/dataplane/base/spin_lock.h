// A lock for sections of a few dozen instructions, taken once a train: one peer's or one session's state,
// shared by the workers and the slow path. Never held over a call that could block, nor while taking another
// one.
#pragma once

#include <atomic>

namespace vern {

// Between two looks at what another thread will change.
inline void cpu_relax() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class SpinLock {
  public:
    void lock() noexcept {
        while (locked_.exchange(true, std::memory_order_acquire))
            while (locked_.load(std::memory_order_relaxed)) cpu_relax();
    }
    void unlock() noexcept { locked_.store(false, std::memory_order_release); }

  private:
    std::atomic<bool> locked_{false};
};

}  // namespace vern
