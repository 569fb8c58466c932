// A mutex whose waiters get it before its last holder gets it again. Under a flood the slow path takes the
// device's lock over and over, and a plain mutex would keep control (`wg show`, a changed configuration)
// waiting for as long as the flood lasts.
#pragma once

#include <mutex>

namespace vern {

class FairMutex {
  public:
    // Who waits holds the gate, and whoever comes after waits there.
    void lock() {
        const std::lock_guard hold(gate_);
        mutex_.lock();
    }
    void unlock() { mutex_.unlock(); }

  private:
    std::mutex gate_;
    std::mutex mutex_;
};

}  // namespace vern
