// Text that may hold private or preshared keys: its memory is wiped before it goes back to the heap, also
// when it grows. (Up to 15 characters live in the object itself and are not wiped; a key's text is longer.)
#pragma once

#include <sodium.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <string>

namespace vern {

template <typename T>
struct WipingAllocator {
    using value_type = T;
    WipingAllocator() = default;
    template <typename U>
    WipingAllocator(const WipingAllocator<U>&) noexcept {
    }  // NOLINT(google-explicit-constructor): allocators convert
    T* allocate(std::size_t n) { return std::allocator<T>().allocate(n); }
    void deallocate(T* memory, std::size_t n) noexcept {
        sodium_memzero(memory, n * sizeof(T));
        std::allocator<T>().deallocate(memory, n);
    }
    friend bool operator==(const WipingAllocator&, const WipingAllocator&) noexcept { return true; }
};

using SecretText = std::basic_string<char, std::char_traits<char>, WipingAllocator<char>>;

}  // namespace vern
