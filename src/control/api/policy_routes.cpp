#include "control/api/policy_routes.h"

#include "control/api/parameters.h"
#include "control/policy/language.h"

namespace vern::api {
namespace {

using nlohmann::json;
using policy::Control;
using policy::Refused;

constexpr std::uint64_t kFlowsMax = 100'000;  // of one answer
constexpr const char* kDefaultFile = "policy";

json lines_of(std::string_view text) {
    json lines = json::array();
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        lines.push_back(line);
        text.remove_prefix(std::min(text.size(), line.size() + 1));
    }
    return lines;
}

Response refusal(const Refused& refused) {
    switch (refused.why) {
        case Refused::Why::wrong:
            return error_response(422, "policy-invalid", "the policy has mistakes, and nothing was changed",
                                  {{"errors", lines_of(refused.message)}});
        case Refused::Why::state: return error_response(409, "policy-state", refused.message);
        case Refused::Why::failed: break;
    }
    return error_response(500, "policy-failed", refused.message);
}

Response answer(const policy::Outcome<json>& outcome) {
    return outcome ? json_response(*outcome) : refusal(outcome.error());
}

Response put_policy(Control& control, const Request& request) {
    Parameters parameters(request);
    const auto confirm = parameters.duration("confirm", policy::kConfirmMax);
    const auto file = parameters.text("file");
    if (auto wrong = parameters.refusal()) return *wrong;
    return answer(control.apply(request.body, file.value_or(kDefaultFile),
                                confirm.value_or(std::chrono::seconds(0)), request.caller.name));
}

Response get_policy(Control& control, const Request& request) {
    Parameters parameters(request);
    const bool with_text = parameters.flag("text");
    if (auto wrong = parameters.refusal()) return *wrong;
    return json_response(control.show(with_text));
}

Response explain(Control& control, const Request& request) {
    Parameters parameters(request);
    const auto question = parameters.text("q");
    if (auto wrong = parameters.refusal()) return *wrong;
    if (!question) return error_response(400, "bad-parameter", "q: which flow?");
    const auto outcome = control.explain(*question);
    if (!outcome) return error_response(400, "bad-question", outcome.error().message);
    return json_response(*outcome);
}

Response flows(Control& control, const Request& request) {
    Parameters parameters(request);
    Control::FlowsWanted wanted;
    wanted.peer = parameters.text("peer");
    if (const auto port = parameters.number("port", 0, 65535))
        wanted.port = static_cast<std::uint16_t>(*port);
    wanted.limit = parameters.number("limit", 1, kFlowsMax).value_or(wanted.limit);
    if (auto wrong = parameters.refusal()) return *wrong;
    return json_response(control.flows(wanted));
}

// A handler that takes no parameters.
template <typename Ask>
Handler plain(Ask ask) {
    return [ask](const Request& request) {
        if (auto wrong = Parameters(request).refusal()) return *wrong;
        return answer(ask(request));
    };
}

// A handler that takes a policy's text, and its name.
template <typename Ask>
Handler with_file(Ask ask) {
    return [ask](const Request& request) {
        Parameters parameters(request);
        const auto file = parameters.text("file");
        if (auto wrong = parameters.refusal()) return *wrong;
        return answer(ask(request, file.value_or(kDefaultFile)));
    };
}

}  // namespace

void add_policy_routes(Router& router, Control& control) {
    constexpr std::size_t kBody = policy::kPolicyBytesMax;
    router.add(Method::get, "/v1/policy", Role::read,
               [&](const Request& request) { return get_policy(control, request); });
    router.add(
        Method::put, "/v1/policy", Role::write,
        [&](const Request& request) { return put_policy(control, request); }, kBody);
    router.add(Method::post, "/v1/policy/confirm", Role::write,
               plain([&](const Request& request) { return control.confirm(request.caller.name); }));
    router.add(Method::post, "/v1/policy/rollback", Role::write,
               plain([&](const Request& request) { return control.rollback(request.caller.name); }));
    router.add(Method::remove, "/v1/policy", Role::write,
               plain([&](const Request& request) { return control.remove(request.caller.name); }));
    // They change nothing, but a large policy takes the control thread's time.
    router.add(Method::post, "/v1/policy/check", Role::write,
               with_file([&](const Request& request, const std::string& file) {
                   return control.check(request.body, file);
               }),
               kBody);
    router.add(Method::post, "/v1/policy/diff", Role::write,
               with_file([&](const Request& request, const std::string& file) {
                   return control.diff(request.body, file);
               }),
               kBody);
    router.add(Method::get, "/v1/policy/counters", Role::read,
               plain([&](const Request&) { return control.counters(); }));
    router.add(Method::get, "/v1/explain", Role::read,
               [&](const Request& request) { return explain(control, request); });
    router.add(Method::get, "/v1/flows", Role::read,
               [&](const Request& request) { return flows(control, request); });
}

}  // namespace vern::api
