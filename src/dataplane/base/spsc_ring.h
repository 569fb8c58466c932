// A bounded queue from one thread to one other, without locks: a worker's messages to the slow path. Full
// means no: the caller counts it.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

namespace vern {

template <typename T>
class SpscRing {
  public:
    explicit SpscRing(std::size_t capacity)
        : mask_(capacity - 1), items_(new T[capacity]) {}  // a power of two

    bool push(const T& item) noexcept {
        const std::size_t tail = tail_.load(std::memory_order_relaxed);
        if (tail - head_.load(std::memory_order_acquire) > mask_) return false;
        items_[tail & mask_] = item;
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }
    bool pop(T& item) noexcept {
        const std::size_t head = head_.load(std::memory_order_relaxed);
        if (head == tail_.load(std::memory_order_acquire)) return false;
        item = items_[head & mask_];
        head_.store(head + 1, std::memory_order_release);
        return true;
    }
    // Any thread. The head first: the tail is never behind it.
    std::size_t size() const noexcept {
        const std::size_t head = head_.load(std::memory_order_acquire);
        return tail_.load(std::memory_order_acquire) - head;
    }
    std::size_t capacity() const noexcept { return mask_ + 1; }

  private:
    std::size_t mask_;
    std::unique_ptr<T[]> items_;
    alignas(64) std::atomic<std::size_t> head_{0};
    alignas(64) std::atomic<std::size_t> tail_{0};
};

}  // namespace vern
