// vern show.
#include "show.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "command.h"
#include "control/uapi_client.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;

Result<ShownInterface> look_at(const std::string& name) {
    auto client = UapiClient::connect(name);
    if (!client) {
        const int code = client.error().code;
        if (code == EACCES) return fail(client.error().message + " (needs root; try: sudo vern show)", code);
        if (code == ENOENT || code == ECONNREFUSED)
            return fail(name + ": no daemon runs this interface", code);
        return tl::unexpected(client.error());
    }
    auto device = client->get();
    if (!device) return tl::unexpected(device.error());
    ShownInterface shown{.name = name, .device = std::move(*device), .vern = nullptr};
    // wireguard-go and others know only the standard part, and that is enough.
    if (const auto text = client->get_vern()) shown.vern = nlohmann::json::parse(*text, nullptr, false);
    if (!shown.vern.is_object()) shown.vern = nullptr;
    return shown;
}

// As wg(8).
bool wants_colour() {
    const char* mode = std::getenv("WG_COLOR_MODE");
    if (mode != nullptr && std::string_view(mode) == "always") return true;
    if (mode != nullptr && std::string_view(mode) == "never") return false;
    const char* const no_color = std::getenv("NO_COLOR");
    return ::isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0');
}

bool wants_keys(const Invocation& invocation) {
    const char* hide = std::getenv("WG_HIDE_KEYS");
    return invocation.has("show-keys") || (hide != nullptr && std::string_view(hide) == "never");
}

int print_names() {
    std::string line;
    for (const std::string& name : uapi_interfaces()) line += (line.empty() ? "" : " ") + name;
    fmt::print("{}{}", line, line.empty() ? "" : "\n");
    return kSuccess;
}

struct Request {
    std::vector<std::string> names;
    bool all = false;
    std::string field;
    bool json = false;
    bool show_keys = false;
};

// False: no such field.
bool print_one(const ShownInterface& shown, const Request& request, bool first) {
    std::string out;
    if (request.field.empty()) {
        out = pretty(shown,
                     {.now = std::time(nullptr), .show_keys = request.show_keys, .colour = wants_colour()});
        if (!first) out.insert(0, "\n");
    } else if (!print_field(shown, request.field, request.all ? shown.name + "\t" : "", out)) {
        print_error("no field '" + request.field + "' (vern help show)");
        return false;
    }
    fmt::print("{}", out);
    return true;
}

int show(const Request& request) {
    int status = kSuccess;
    nlohmann::json document = nlohmann::json::object();
    bool first = true;
    for (const std::string& name : request.names) {
        const auto shown = look_at(name);
        if (!shown) {
            status = failed(shown.error());
            continue;
        }
        if (request.json) {
            document[name] = to_json(*shown, request.show_keys);
        } else if (!print_one(*shown, request, first)) {
            return kUsage;
        }
        first = false;
    }
    using Handler = nlohmann::json::error_handler_t;
    if (request.json) fmt::print("{}\n", document.dump(-1, ' ', false, Handler::replace));
    return status;
}

int run_show(const Invocation& invocation) {
    const auto& operands = invocation.operands;
    const std::string what = operands.empty() ? "all" : operands.front();
    if (what == "interfaces" && operands.size() == 1) return print_names();
    Request request;
    request.all = what == "all";
    request.names = request.all ? uapi_interfaces() : std::vector<std::string>{what};
    if (operands.size() > 1) request.field = operands[1];
    request.json = invocation.has("json");
    request.show_keys = wants_keys(invocation);
    if (request.json && !request.field.empty()) {
        print_error("--json prints everything: leave '" + request.field + "' out");
        return kUsage;
    }
    std::string nothing;
    if (!request.field.empty() && !print_field({}, request.field, "", nothing)) {
        print_error("no field '" + request.field + "' (vern help show)");
        return kUsage;
    }
    return show(request);
}

void declare(po::options_description& options) {
    options.add_options()("json,j", "print one JSON object, a member for each interface")(
        "show-keys", "show private and preshared keys (also WG_HIDE_KEYS=never)");
}

}  // namespace

const Command kShow{
    "show",
    "[interfaces | [INTERFACE | all] [FIELD]]",
    "what running tunnels are doing",
    "Shows configuration and state of one interface or of all (the default): peers, handshakes, traffic, and "
    "for vernd also\n"
    "engine, AEAD, offloads and what has been dropped. `interfaces` lists names.\n\n"
    "FIELD prints one thing for scripts, as wg(8) does: public-key, private-key, listen-port, fwmark, "
    "peers,\n"
    "preshared-keys, endpoints, allowed-ips, latest-handshakes, transfer, persistent-keepalive, dump.",
    0,
    2,
    declare,
    run_show};

}  // namespace vern::cli
