// One client of the control API: reads its requests under limits, one after the other, has them handled on
// the control thread and sends the answers; or sends it events until it is gone. The API's own thread only.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "control/api/budget.h"
#include "control/api/job_queue.h"
#include "control/api/limits.h"
#include "control/api/router.h"
#include "control/api/statistics.h"
#include "control/api/stream.h"

namespace vern::api {

class Session;

// What the sessions of a server share.
struct Common {
    const Router& router;
    const Limits& limits;
    JobQueue& jobs;
    Statistics& statistics;
    Budget readers{limits.requests_a_second, limits.requests_at_once};
    Budget writers = readers;
    Budget strangers = readers;  // who have no rights, and are told so at nobody's cost
    std::size_t bodies_bytes = 0;
    std::size_t answers_bytes = 0;
    std::set<std::shared_ptr<Session>> listeners;  // to events
    std::atomic<bool> heard{false};                // somebody is among them; for other threads
    boost::asio::io_context io{1};                 // goes first: what waits in it holds sessions
};

class Session {
  public:
    // A place among the connections; gone with the last copy.
    using Place = std::shared_ptr<void>;
    // A TLS stream's client has no place of his own before he has shown who he is: then `admit` gives it, or
    // nothing. `place` is given back then.
    using Admit = std::function<Place(const Caller& caller)>;

    static std::shared_ptr<Session> make(Common& common, std::unique_ptr<Stream> stream, Place place,
                                         Admit admit);
    virtual ~Session() = default;
    virtual void start() = 0;
    virtual void answer(Response response) = 0;  // to the request that was given to the control thread
    virtual void tell(const std::shared_ptr<const std::string>& event) = 0;
};

}  // namespace vern::api
