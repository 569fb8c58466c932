#include "control/api/message.h"

namespace vern::api {

using nlohmann::json;

std::string_view name_of(Method method) noexcept {
    switch (method) {
        case Method::get: return "GET";
        case Method::put: return "PUT";
        case Method::post: return "POST";
        case Method::remove: return "DELETE";
    }
    return {};
}

Response json_response(const json& body, unsigned status) {
    Response response{.status = status, .body = body.dump(-1, ' ', false, json::error_handler_t::replace)};
    response.body += '\n';
    return response;
}

Response error_response(unsigned status, std::string_view code, std::string_view sentence, const json& more) {
    json body{{"error", sentence}, {"code", code}};
    body.update(more);
    return json_response(body, status);
}

}  // namespace vern::api
