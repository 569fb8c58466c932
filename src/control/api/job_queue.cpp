#include "control/api/job_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <utility>

#include "control/log.h"

namespace vern::api {
namespace {

constexpr std::size_t kForWritersOf = 4;  // one place in so many
constexpr std::chrono::milliseconds kTurn{20};

template <typename Make>
Response attempt(const Route& route, const Make& response) {
    try {
        return response();
    } catch (const std::exception& error) {
        log_error(route.pattern, error.what());
        return error_response(500, "internal", "the daemon could not do it");
    }
}

}  // namespace

Result<std::unique_ptr<JobQueue>> JobQueue::make(std::size_t jobs_max) {
    Fd waiting(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!waiting) return fail_errno("eventfd", errno);
    return std::unique_ptr<JobQueue>(new JobQueue(jobs_max, std::move(waiting)));
}

bool JobQueue::push(Job& job) {
    const std::size_t most =
        job.request.caller.role == Role::read ? jobs_max_ - jobs_max_ / kForWritersOf : jobs_max_;
    const std::lock_guard held(lock_);
    if (jobs_.size() >= most) return false;
    jobs_.push(std::move(job));
    const std::uint64_t one = 1;
    // It can fail only when it is readable anyway.
    (void)!::write(waiting_.get(), &one, sizeof one);
    return true;
}

bool JobQueue::pop(Job& job) {
    const std::lock_guard held(lock_);
    if (jobs_.empty()) return false;
    job = std::move(jobs_.front());
    jobs_.pop();
    std::uint64_t ignored = 0;
    if (jobs_.empty()) (void)!::read(waiting_.get(), &ignored, sizeof ignored);
    return true;
}

void JobQueue::run(unsigned most) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    Job job;
    for (unsigned i = 0; i < most && (i == 0 || Clock::now() - begin < kTurn) && pop(job); ++i) {
        Response response = attempt(*job.route, [&job] { return job.route->handler(job.request); });
        if (response.later) {
            job.request = {};
            if (job.held) job.held();
            held_.push_back({job.route, std::move(job.answer), std::move(response.later)});
        } else {
            job.answer(std::move(response));
        }
        job = {};
    }
}

void JobQueue::release() {
    for (const Held& one : std::exchange(held_, {})) one.answer(attempt(*one.route, one.later));
}

void JobQueue::clear() {
    held_.clear();
    for (Job gone; pop(gone);) gone = {};
}

}  // namespace vern::api
