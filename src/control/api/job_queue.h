// Requests on their way from the API's thread to the control thread. Bounded: what finds no place is refused
// there and then.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <vector>

#include "control/api/message.h"
#include "control/api/router.h"
#include "crypto/error.h"
#include "dataplane/io/fd.h"

namespace vern::api {

struct Job {
    const Route* route = nullptr;
    Request request;
    // Called on the control thread, once; or never, if the queue goes.
    std::function<void(Response)> answer;
    std::function<void()> held{};  // before that, when the answer is held: the request is over and gone
};

class JobQueue {
  public:
    static Result<std::unique_ptr<JobQueue>> make(std::size_t jobs_max);

    // Any thread. False: full, and `job` is as it was. Who may only read finds it full when a quarter is
    // left: whoever has something to revoke must find a place.
    bool push(Job& job);

    // Control thread. The descriptor is readable while there are jobs.
    int fd() const { return waiting_.get(); }
    // Handles up to `most` jobs, and begins none after 20 ms: ends of proofs and trials wait meanwhile.
    // Whatever a handler throws is an answer of status 500.
    void run(unsigned most);
    void release();  // makes and sends the answers that were held (Response::later)
    void clear();    // what waits is never answered

  private:
    JobQueue(std::size_t jobs_max, Fd waiting) : jobs_max_(jobs_max), waiting_(std::move(waiting)) {}
    bool pop(Job& job);

    const std::size_t jobs_max_;
    Fd waiting_;  // eventfd
    std::mutex lock_;
    std::queue<Job> jobs_;
    struct Held {
        const Route* route;
        std::function<void(Response)> answer;
        std::function<Response()> later;
    };
    std::vector<Held> held_;  // control thread; no longer than settling takes
};

}  // namespace vern::api
