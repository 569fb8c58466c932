// Memory that is reserved at once and costs nothing until it is used: zeroed pages from the kernel.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <type_traits>
#include <utility>

namespace vern::policy {

// Huge ones where use is dense; a table that is used here and there would be resident as a whole with them.
enum class Pages { small, huge };
// For what is used all over.
constexpr Pages pages_for(std::size_t bytes) noexcept {
    return bytes >= std::size_t{1} << 21 ? Pages::huge : Pages::small;
}

template <typename T>
class Reserved {
    static_assert(std::is_trivially_destructible_v<T>);

  public:
    Reserved() = default;
    explicit Reserved(std::size_t count, Pages pages = Pages::small) noexcept : bytes_(count * sizeof(T)) {
        void* const at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) return;
        ::madvise(at, bytes_, pages == Pages::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        data_ = static_cast<T*>(at);  // zero bytes are a valid T: the types kept here say so
    }
    ~Reserved() {
        if (data_) ::munmap(data_, bytes_);
    }
    Reserved(Reserved&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Reserved& operator=(Reserved&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    explicit operator bool() const noexcept { return data_ != nullptr; }
    T* data() const noexcept { return data_; }
    T& operator[](std::size_t i) const noexcept { return data_[i]; }
    std::size_t bytes() const noexcept { return bytes_; }

  private:
    T* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace vern::policy
