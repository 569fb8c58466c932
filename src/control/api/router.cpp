#include "control/api/router.h"

#include <algorithm>
#include <cassert>

namespace vern::api {
namespace {

bool fits(const Route& route, std::span<const std::string> path) {
    return std::equal(route.segments.begin(), route.segments.end(), path.begin(), path.end(),
                      [](const std::string& pattern, const std::string& segment) {
                          return pattern.starts_with('{') || pattern == segment;
                      });
}

}  // namespace

void Router::add(Method method, std::string_view pattern, Role role, Handler handler,
                 std::size_t body_bytes_max) {
    assert(pattern.starts_with('/') && role != Role::none);
    Route route{method, std::string(pattern), {}, role, std::move(handler), body_bytes_max};
    for (std::string_view rest = pattern; !rest.empty();) {
        rest.remove_prefix(1);
        const std::string_view segment = rest.substr(0, rest.find('/'));
        route.segments.emplace_back(segment);
        rest.remove_prefix(segment.size());
    }
    routes_.push_back(std::move(route));
}

void Router::add_events(std::string_view pattern, Role role) { add(Method::get, pattern, role, {}, 0); }

Router::Found Router::find(std::optional<Method> method, std::span<const std::string> path) const {
    Found found;
    for (const Route& route : routes_) {
        if (!fits(route, path)) continue;
        if (route.method == method) return {.route = &route, .allowed = {}};
        if (!found.allowed.empty()) found.allowed += ", ";
        found.allowed += name_of(route.method);
    }
    return found;
}

}  // namespace vern::api
