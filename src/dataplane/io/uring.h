// An io_uring set up for the best that the kernel has, with a ring of buffers that multishot receives take
// from. Made on any thread; used by the one thread that first calls enter().
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "crypto/error.h"
#include "crypto/instant.h"
#include "dataplane/io/mapping.h"

namespace vern {

class Uring {
  public:
    // `buffers` (a power of two) buffers of kSlotStrideBytes. Errors say why io_uring is not to be had here:
    // turned off, forbidden, too old.
    static Result<std::unique_ptr<Uring>> make(unsigned entries, unsigned buffers);
    Uring(const Uring&) = delete;
    Uring& operator=(const Uring&) = delete;
    ~Uring();

    // An empty entry to fill. Null only when the kernel takes no more for lack of memory: try again next
    // turn.
    io_uring_sqe* entry() noexcept;

    // Hands over the entries and waits for a completion: not at all with a timeout of 0, without a limit with
    // none.
    void enter(std::optional<Duration> timeout) noexcept;

    // The oldest completion, or null; there until consume().
    io_uring_cqe* peek() noexcept;
    void consume(io_uring_cqe* completion) noexcept { io_uring_cqe_seen(&ring_, completion); }
    bool has_completions() const noexcept { return io_uring_cq_ready(&ring_) > 0; }

    // Ends every request, and forgets what has completed; nothing may be asked of the ring after it.
    void cancel_all() noexcept;

    // Ends the requests with this user_data before it returns; their last completions come as usual.
    void cancel(std::uint64_t user_data) noexcept;

    static constexpr std::uint16_t kBufferGroup = 0;
    std::byte* buffer(std::uint16_t id) const noexcept { return memory_.data() + id * kSlotStrideBytes; }
    // Gives a buffer to the kernel; all given become visible to it with publish_buffers().
    void give_buffer(std::uint16_t id) noexcept;
    void publish_buffers() noexcept;

  private:
    Uring() = default;
    Result<void> open(unsigned entries);
    Result<void> register_buffers(unsigned count);

    io_uring ring_{};
    bool open_ = false;
    bool enabled_ = false;
    Mapping memory_;       // the buffers
    Mapping ring_memory_;  // the ring of them
    io_uring_buf_ring* buffer_ring_ = nullptr;
    unsigned buffer_count_ = 0;
    int given_ = 0;
};

// Whether this kernel does what the engine is built on: buffer rings and multishot recvmsg (Linux 6.0). Asks
// by doing it.
Result<void> probe_uring();

}  // namespace vern
