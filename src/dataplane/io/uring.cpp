#include "dataplane/io/uring.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "dataplane/io/fd.h"

namespace vern {
namespace {

// From best to plainest. SINGLE_ISSUER and DEFER_TASKRUN (6.1): completions are made when the worker asks for
// them, not by interrupting it. COOP_TASKRUN (5.19): not by an interrupt at least. The ring starts disabled,
// because SINGLE_ISSUER binds it to a thread, and engines are made on another than the one that drives them.
constexpr std::array<unsigned, 3> kSetups{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                          IORING_SETUP_COOP_TASKRUN, 0};

tl::unexpected<Error> no_uring(int code) {
    switch (code) {
        case ENOSYS: return fail("this kernel has no io_uring, or a seccomp profile hides it", code);
        case EPERM:
        case EACCES:
            return fail(
                "io_uring is forbidden: by kernel.io_uring_disabled, or by a seccomp profile or security "
                "module",
                code);
        case ENOMEM: return fail("io_uring gets no memory: raise RLIMIT_MEMLOCK (LimitMEMLOCK=)", code);
        default: return fail_errno("io_uring_setup", code);
    }
}

tl::unexpected<Error> too_old(std::string_view what, int code) {
    return fail(fmt::format("io_uring of this kernel has no {} (needs Linux 6.0)", what), code);
}

}  // namespace

Result<std::unique_ptr<Uring>> Uring::make(unsigned entries, unsigned buffers) {
    std::unique_ptr<Uring> ring(new Uring);
    if (auto opened = ring->open(entries); !opened) return tl::unexpected(opened.error());
    if (auto registered = ring->register_buffers(buffers); !registered)
        return tl::unexpected(registered.error());
    return ring;
}

Uring::~Uring() {
    if (!open_) return;
    cancel_all();  // has an effect only on the thread that used the ring
    io_uring_queue_exit(&ring_);
}

// Else the kernel ends the requests some time after the ring is closed, and till then their sockets' ports
// stay taken and the TUN device stays. A request that is woken just now can't be found, and waits again once
// its event is taken: hence rounds, until one finds none.
void Uring::cancel_all() noexcept {
    if (!enabled_) return;
    constexpr int kRounds = 100;
    for (int round = 0, none = 0; round < kRounds && none < 2; ++round) {
        io_uring_sync_cancel_reg all{};
        all.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
        all.timeout = {0, 0};
        none = io_uring_register_sync_cancel(&ring_, &all) > 0 ? 0 : none + 1;
        io_uring_get_events(&ring_);
        io_uring_cq_advance(&ring_, io_uring_cq_ready(&ring_));
    }
}

Result<void> Uring::open(unsigned entries) {
    int code = EINVAL;
    for (const unsigned setup : kSetups) {
        io_uring_params parameters{};
        parameters.flags = setup | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
        parameters.cq_entries = 4 * entries;
        code = -io_uring_queue_init_params(entries, &ring_, &parameters);
        open_ = code == 0;
        if (open_) return {};
        if (code != EINVAL) break;
    }
    return no_uring(code);
}

Result<void> Uring::register_buffers(unsigned count) {
    auto memory = Mapping::make(count * kSlotStrideBytes);
    if (!memory) return tl::unexpected(memory.error());
    memory_ = std::move(*memory);
    auto ring_memory = Mapping::make(count * sizeof(io_uring_buf));
    if (!ring_memory) return tl::unexpected(ring_memory.error());
    ring_memory_ = std::move(*ring_memory);
    buffer_ring_ = reinterpret_cast<io_uring_buf_ring*>(ring_memory_.data());
    buffer_count_ = count;

    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uintptr_t>(buffer_ring_);
    registration.ring_entries = count;
    registration.bgid = kBufferGroup;
    const int code = -io_uring_register_buf_ring(&ring_, &registration, 0);
    if (code == EINVAL) return too_old("buffer rings", code);
    if (code != 0) return fail_errno("io_uring buffer ring", code);
    for (unsigned i = 0; i < count; ++i) give_buffer(static_cast<std::uint16_t>(i));
    publish_buffers();
    return {};
}

io_uring_sqe* Uring::entry() noexcept {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry != nullptr) return entry;
    io_uring_submit(&ring_);
    return io_uring_get_sqe(&ring_);
}

void Uring::enter(std::optional<Duration> timeout) noexcept {
    // By number: liburing 2.3 declares io_uring_enable_rings() but does not export it.
    if (!enabled_)
        enabled_ =
            ::syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0;
    if (!timeout) {
        io_uring_submit_and_wait(&ring_, 1);
    } else if (*timeout <= Duration::zero()) {
        io_uring_submit_and_get_events(&ring_);
    } else {
        const auto whole = std::chrono::duration_cast<std::chrono::seconds>(*timeout);
        __kernel_timespec limit{whole.count(), (*timeout - whole).count()};
        io_uring_cqe* ignored = nullptr;
        io_uring_submit_and_wait_timeout(&ring_, &ignored, 1, &limit, nullptr);
    }
}

io_uring_cqe* Uring::peek() noexcept {
    io_uring_cqe* completion = nullptr;
    return io_uring_cq_ready(&ring_) > 0 && io_uring_peek_cqe(&ring_, &completion) == 0 ? completion
                                                                                        : nullptr;
}

void Uring::cancel(std::uint64_t user_data) noexcept {
    if (!enabled_) return;
    io_uring_sync_cancel_reg request{};
    request.addr = user_data;
    request.flags = IORING_ASYNC_CANCEL_ALL;
    request.timeout = {-1, -1};
    io_uring_register_sync_cancel(&ring_, &request);
    // The request holds its file until its last completion is made.
    io_uring_get_events(&ring_);
}

void Uring::give_buffer(std::uint16_t id) noexcept {
    io_uring_buf_ring_add(buffer_ring_, buffer(id), kSlotStrideBytes, id,
                          io_uring_buf_ring_mask(buffer_count_), given_++);
}

void Uring::publish_buffers() noexcept {
    io_uring_buf_ring_advance(buffer_ring_, given_);
    given_ = 0;
}

Result<void> probe_uring() {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
        return fail_errno("socketpair", errno);
    const Fd near(pair[0]);
    const Fd far(pair[1]);
    auto ring = Uring::make(2, 2);
    if (!ring) return tl::unexpected(ring.error());
    if (::write(far.get(), "?", 1) != 1) return fail_errno("socketpair", errno);

    msghdr message{};
    io_uring_sqe* entry = (*ring)->entry();
    io_uring_prep_recvmsg_multishot(entry, near.get(), &message, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = Uring::kBufferGroup;
    (*ring)->enter(std::chrono::seconds(1));
    io_uring_cqe* answer = (*ring)->peek();
    if (answer == nullptr) return too_old("multishot receive that answers", ETIME);
    const int code = answer->res < 0 ? -answer->res : (answer->flags & IORING_CQE_F_MORE) == 0 ? EINVAL : 0;
    (*ring)->consume(answer);
    if (code != 0) return too_old("multishot receive", code);
    return {};
}

}  // namespace vern
