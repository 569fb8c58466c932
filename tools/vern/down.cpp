// vern down: takes a tunnel down again, also one that wg-quick has brought up with a userspace daemon.
#include <fmt/format.h>

#include "command.h"
#include "config_file.h"
#include "control/uapi_client.h"
#include "dns.h"
#include "link.h"
#include "routes.h"
#include "save.h"
#include "steps.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;

// Once the hooks and saving have succeeded there is no way back: everything is taken away, and all errors are
// told.
bool take_away(const ConfigFile& file, Steps& steps, const DeviceStatus& status) {
    bool clean = true;
    const auto told = [&](const Result<void>& result) {
        if (!result) print_error(result.error().message);
        clean = clean && result;
    };
    steps.ignore_signals();
    told(unset_dns(steps, file.interface, file.config));
    told(Routes(steps, file.interface, file.config.table).remove(status.fwmark));
    told(delete_link(steps, file.interface));
    told(steps.hooks(file.config.post_down, file.interface));
    return clean;
}

int run_down(const Invocation& invocation) {
    if (auto root = require_root(); !root) return failed(root.error());
    const auto file = load_config(invocation.operands.front());
    if (!file) return failed(file.error());
    const auto status =
        UapiClient::connect(file->interface).and_then([](UapiClient&& client) { return client.get(); });
    if (!status)
        return failed(
            Error{fmt::format("{} is not up: {}", file->interface, status.error().message), ENODEV});
    if (!link_exists(file->interface))
        return failed(Error{fmt::format("{0} has a daemon, but no interface is called so here: it was "
                                        "renamed, or is in another network namespace, and is left as it is; "
                                        "'ip link delete' there ends it",
                                        file->interface),
                            ENODEV});
    Steps steps(invocation.has("quiet"));
    if (auto hooked = steps.hooks(file->config.pre_down, file->interface); !hooked)
        return failed(hooked.error());
    if (file->config.save_config) {
        steps.show("vern save " + file->interface);
        if (auto saved = save_config(*file); !saved) return failed(saved.error());
    }
    return take_away(*file, steps, *status) ? kSuccess : kFailure;
}

void declare(po::options_description& options) { options.add_options()("quiet,q", "do not show the steps"); }

}  // namespace

const Command kDown{"down",
                    "CONFIG | INTERFACE",
                    "take a tunnel down",
                    "Runs the hooks, saves the configuration if SaveConfig is true, and removes interface, "
                    "routes, rules and DNS settings.",
                    1,
                    1,
                    declare,
                    run_down};

}  // namespace vern::cli
