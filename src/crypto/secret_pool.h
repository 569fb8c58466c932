// Fixed-size slots for objects that hold keys: in memory of their own that is left out of core dumps
// (MADV_DONTDUMP), wiped in a forked child (MADV_WIPEONFORK), locked against swap where RLIMIT_MEMLOCK
// allows, with guard pages around every chunk. Freed slots are wiped at once.
//
// Threads: callers serialise. Grows by chunks up to its limit; never on the packet path. sodium_malloc would
// cost four pages an object.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace vern {

class SecretPool {
  public:
    // `slot_bytes` is rounded up to 64. `limit` is the most slots there may ever be.
    SecretPool(std::size_t slot_bytes, std::size_t limit) noexcept;
    SecretPool(const SecretPool&) = delete;
    SecretPool& operator=(const SecretPool&) = delete;
    ~SecretPool();  // all slots must have been given back

    void* take() noexcept;  // zeroed, 64-byte aligned; nullptr at the limit or when the system has no memory
    void give_back(void* slot) noexcept;
    // Whether the next `count` calls of take() will give a slot; memory that this took stays for them.
    bool reserve(std::size_t count) noexcept;
    std::size_t in_use() const noexcept { return in_use_; }
    std::size_t limit() const noexcept { return limit_; }

    template <typename T, typename... Arguments>
    T* make(Arguments&&... arguments) {
        void* slot = take();
        return slot ? new (slot) T(std::forward<Arguments>(arguments)...) : nullptr;
    }
    template <typename T>
    void destroy(T* object) noexcept {
        if (!object) return;
        object->~T();
        give_back(object);
    }

  private:
    struct Chunk;
    struct Free {
        Free* next;
    };
    bool grow() noexcept;

    std::size_t slot_bytes_;
    std::size_t limit_;
    std::size_t capacity_ = 0;
    std::size_t in_use_ = 0;
    Free* free_ = nullptr;
    std::vector<Chunk> chunks_;
};

}  // namespace vern
