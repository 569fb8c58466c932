// A buffer between two pages that nobody may touch: one byte too far, read or written, ends the test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <new>
#include <span>

namespace vern::test {

class Guarded {
  public:
    explicit Guarded(std::size_t capacity) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        usable_ = (capacity + page - 1) / page * page;
        mapped_ = usable_ + 2 * page;
        mapping_ =
            static_cast<std::byte*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (mapping_ == MAP_FAILED || mprotect(mapping_ + page, usable_, PROT_READ | PROT_WRITE) != 0)
            throw std::bad_alloc();
        first_ = mapping_ + page;
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    ~Guarded() { munmap(mapping_, mapped_); }

    std::span<std::byte> at_front(std::size_t length) const { return {first_, length}; }
    std::span<std::byte> at_rear(std::size_t length) const { return {first_ + usable_ - length, length}; }
    std::span<std::byte> all() const { return {first_, usable_}; }

  private:
    std::byte* mapping_;
    std::byte* first_;
    std::size_t usable_;
    std::size_t mapped_;
};

}  // namespace vern::test
