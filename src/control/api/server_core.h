// What both servers of the API have: what their sessions need, and the thread that runs these.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "control/api/handshake_budget.h"
#include "control/api/job_queue.h"
#include "control/api/limits.h"
#include "control/api/places.h"
#include "control/api/session.h"
#include "control/api/statistics.h"

namespace vern::api {

class ServerCore {
  public:
    // `called`: as logs call it.
    ServerCore(std::string called, const Router& router, const Limits& most, std::unique_ptr<JobQueue> queue);
    ~ServerCore() { stop(); }
    ServerCore(const ServerCore&) = delete;
    ServerCore& operator=(const ServerCore&) = delete;

    // The thread takes no signals, and does `first` before anything else.
    void start(std::function<void()> first = {});
    // Ends the thread, and the sessions that wait for the control thread or listen; the others go with
    // `common`.
    void stop();

    // Control thread: what to poll for, and what to do then. Bounded work a call.
    void add_to(std::vector<pollfd>& set) const;
    void handle(const std::vector<pollfd>& set);

    const Limits limits;
    Statistics statistics;
    Places places{limits, statistics};  // outlives sessions, which give theirs back
    HandshakeBudget handshakes{limits};
    const std::unique_ptr<JobQueue> jobs;
    Common common;

  private:
    void run();

    const std::string called_;
    std::thread thread_;
};

}  // namespace vern::api
