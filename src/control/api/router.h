// What may be asked of the control API, and who answers it. Filled before the server starts, and read by its
// thread from then on: nothing is added later.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/message.h"

namespace vern::api {

inline constexpr std::size_t kBodyBytesMax = 64 << 10;  // of a route that says nothing else

struct Route {
    Method method;
    std::string pattern;                // "/v1/trust/ssh/{name}"
    std::vector<std::string> segments;  // of the pattern
    Role role;                          // that it takes
    Handler handler;                    // empty: a stream of events
    std::size_t body_bytes_max;
};

class Router {
  public:
    // A segment "{name}" of `pattern` is any one segment; handlers find it in request.target.path. Of two
    // patterns that a path fits, the one that was added first counts.
    void add(Method method, std::string_view pattern, Role role, Handler handler,
             std::size_t body_bytes_max = kBodyBytesMax);
    // GET of `pattern` subscribes to what Server::publish() says.
    void add_events(std::string_view pattern, Role role);

    struct Found {
        const Route* route = nullptr;
        std::string allowed;  // for the header Allow; empty: there is no such path
    };
    Found find(std::optional<Method> method, std::span<const std::string> path) const;
    const std::vector<Route>& routes() const { return routes_; }

  private:
    std::vector<Route> routes_;
};

}  // namespace vern::api
