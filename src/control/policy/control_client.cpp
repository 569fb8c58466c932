#include "control/policy/control_client.h"

#include "control/policy/control.h"
#include "control/socket_client.h"

namespace vern::policy {
namespace {

// Compiling a policy of a hundred thousand rules takes its seconds.
constexpr std::chrono::seconds kPatience{60};

bool is_line(std::string_view answer) { return answer.ends_with('\n'); }

}  // namespace

Result<nlohmann::json> ask_daemon(std::string_view interface, const nlohmann::json& request) {
    const std::string name(interface);
    auto client = SocketClient::connect(interface, kPatience, kControlDirectory);
    if (!client) {
        const int code = client.error().code;
        if (code == EACCES) return fail(client.error().message + " (needs root)", code);
        if (code == ENOENT || code == ECONNREFUSED)
            return fail(name + ": no vernd runs this interface", code);
        return tl::unexpected(client.error());
    }
    const auto text = client->exchange(
        request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", is_line);
    if (!text) return tl::unexpected(text.error());
    auto answer = nlohmann::json::parse(text->begin(), text->end(), nullptr, false);
    const auto ok = answer.is_object() ? answer.find("ok") : answer.end();
    if (!answer.is_object() || ok == answer.end() || !ok->is_boolean())
        return fail("the daemon's answer is not understood", EPROTO);
    if (ok->get<bool>()) return answer;
    const auto error = answer.find("error"), code = answer.find("code");
    return fail(
        error != answer.end() && error->is_string() ? error->get<std::string>() : "the daemon refused",
        code != answer.end() && code->is_number_integer() ? code->get<int>() : EPROTO);
}

Result<std::string> only_interface() {
    const auto names = socket_names(kControlDirectory);
    if (names.empty()) return fail("no vernd runs here", ENOENT);
    if (names.size() == 1) return names.front();
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    return fail("which interface? --interface, out of " + all);
}

}  // namespace vern::policy
