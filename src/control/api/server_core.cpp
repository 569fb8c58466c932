#include "control/api/server_core.h"

#include <signal.h>

#include "control/log.h"

namespace vern::api {
namespace {

constexpr unsigned kJobsPerTurn = 16;

}  // namespace

ServerCore::ServerCore(std::string called, const Router& router, const Limits& most,
                       std::unique_ptr<JobQueue> queue)
    : limits(most),
      jobs(std::move(queue)),
      common{.router = router, .limits = limits, .jobs = *jobs, .statistics = statistics, .listeners = {}},
      called_(std::move(called)) {}

void ServerCore::start(std::function<void()> first) {
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this, first = std::move(first)] {
        if (first) first();
        run();
    });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ServerCore::stop() {
    common.io.stop();
    if (thread_.joinable()) thread_.join();
    jobs->clear();
    common.listeners.clear();
}

void ServerCore::run() {
    for (;;) {
        try {
            common.io.run();
            return;
        } catch (const std::exception& error) {  // no memory: that client's deadline ends it
            log_error(called_, error.what());
        }
    }
}

void ServerCore::add_to(std::vector<pollfd>& set) const {
    set.push_back({.fd = jobs->fd(), .events = POLLIN, .revents = 0});
}

void ServerCore::handle(const std::vector<pollfd>& set) {
    for (const pollfd& entry : set) {
        if (entry.fd == jobs->fd() && entry.revents != 0) return jobs->run(kJobsPerTurn);
    }
}

}  // namespace vern::api
