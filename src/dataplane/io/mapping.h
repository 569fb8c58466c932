// Anonymous memory straight from the kernel: costs nothing until it is touched, page by page.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <utility>

#include "crypto/error.h"

namespace vern {

class Mapping {
  public:
    Mapping() = default;
    Mapping(Mapping&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Mapping& operator=(Mapping&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Mapping() {
        if (data_ != nullptr) ::munmap(data_, bytes_);
    }

    static Result<Mapping> make(std::size_t bytes) {
        void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (data == MAP_FAILED) return fail_errno("reserving memory for packets", errno);
        // A huge page would be resident whole for one small packet.
        ::madvise(data, bytes, MADV_NOHUGEPAGE);
        Mapping mapping;
        mapping.data_ = data;
        mapping.bytes_ = bytes;
        return mapping;
    }

    std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }

  private:
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

// Buffers of a train each lie this far apart: room for the longest packet that a TUN device hands out (an
// IPv6 header and 65535 bytes), and a page and a line more than 64 KiB, so that equal places of neighbours do
// not share a cache set.
inline constexpr std::size_t kSlotStrideBytes = (std::size_t{64} << 10) + 4096 + 64;

}  // namespace vern
