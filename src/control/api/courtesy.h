// A thread that serves strangers leaves the CPUs to those that carry packets: where both want one, a packet
// does not wait because peers come to prove who they are. The control API's own thread has a budget instead
// (budget.h), and the control thread neither: it ends identities, and has a second for it.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

namespace vern::api {

// A third of the weight that the daemon itself has on a CPU (sched(7)).
inline constexpr int kCourtesyNice = 5;

// Of the calling thread: on Linux each has its own. Refused, it is as it was.
inline void yield_to_workers() noexcept {
    const auto self = static_cast<id_t>(::gettid());
    (void)::setpriority(PRIO_PROCESS, self, ::getpriority(PRIO_PROCESS, self) + kCourtesyNice);
}

}  // namespace vern::api
