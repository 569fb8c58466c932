// A request of the control API as its handlers see it, and their answer. Values.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/api/access.h"
#include "control/json.h"

namespace vern::api {

enum class Method : std::uint8_t { get, put, post, remove };
std::string_view name_of(Method method) noexcept;  // "GET"

// What stands after "/" and "?" of a request line, decoded (target.h).
struct Target {
    std::vector<std::string> path;                           // "/v1/policy": {"v1", "policy"}
    std::vector<std::pair<std::string, std::string>> query;  // no name twice
};

struct Request {
    Method method = Method::get;
    Target target;
    std::string body;
    Caller caller;
};

struct Response {
    unsigned status = 200;
    std::string body;
    std::string_view content_type = "application/json";
    std::vector<std::pair<std::string_view, std::string>> headers{};  // printable ASCII, whoever made it
    // Set: nothing is sent before what was done is in force and kept (JobQueue::release()), and then what
    // this says.
    std::function<Response()> later{};
};

// Only ever called on the control thread.
using Handler = std::function<Response(const Request&)>;

// One line of JSON. Text that is not UTF-8 is mended.
Response json_response(const nlohmann::json& body, unsigned status = 200);
// {"error": a sentence for people, "code": a word for programs} and what `more` has. 4xx or 5xx.
Response error_response(unsigned status, std::string_view code, std::string_view sentence,
                        const nlohmann::json& more = nlohmann::json::object());

}  // namespace vern::api
