// When what was taken out of use may be freed: liburcu's QSBR, seen from two sides. A worker is *inside*
// while it works on a turn and *outside* while it waits for the next; wait_for_workers() returns when each
// worker has been outside at least once since the call began.
#pragma once

#include <urcu-qsbr.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VERN_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define VERN_TSAN 1
#endif
#ifdef VERN_TSAN
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace vern {

// One a worker thread, for as long as the thread works; on that thread's stack.
class Quiescence {
  public:
    Quiescence() {
        urcu_qsbr_register_thread();
        leave();
    }
    ~Quiescence() {
        urcu_qsbr_thread_online();
        urcu_qsbr_unregister_thread();
    }
    Quiescence(const Quiescence&) = delete;
    Quiescence& operator=(const Quiescence&) = delete;

    void enter() noexcept { urcu_qsbr_thread_online(); }
    void leave() noexcept {
#ifdef VERN_TSAN
        __tsan_release(&order_);  // ThreadSanitizer does not see the order that liburcu's barriers make
#endif
        urcu_qsbr_thread_offline();
    }

    // Not from a worker's thread.
    static void wait_for_workers() noexcept {
        urcu_qsbr_synchronize_rcu();
#ifdef VERN_TSAN
        __tsan_acquire(&order_);
#endif
    }

  private:
#ifdef VERN_TSAN
    static inline char order_ = 0;
#endif
};

}  // namespace vern
