// vern up: a tunnel from a wg-quick file, whole or not at all.
#include <fmt/format.h>

#include "command.h"
#include "config_file.h"
#include "control/uapi_client.h"
#include "dns.h"
#include "link.h"
#include "routes.h"
#include "settings.h"
#include "steps.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;

class Tunnel {
  public:
    Tunnel(const ConfigFile& file, Steps& steps, std::string daemon)
        : file_(file),
          steps_(steps),
          daemon_(std::move(daemon)),
          routes_(steps, file.interface, file.config.table) {}

    Result<void> bring_up() {
        auto result =
            steps_.hooks(file_.config.pre_up, file_.interface)
                .and_then([this] { return resolve(); })
                .and_then([this] { return start(); })
                .and_then([this] { return configure(); })
                .and_then([this] { return add_addresses(steps_, file_.interface, file_.config.addresses); })
                .and_then([this] { return set_mtu(); })
                .and_then([this] { return apply_dns(); })
                .and_then([this] { return add_routes(); })
                .and_then([this] { return steps_.hooks(file_.config.post_up, file_.interface); });
        if (!result) roll_back();
        return result;
    }

  private:
    // Before there is anything to undo: a name that does not resolve is the most common failure.
    Result<void> resolve() {
        change_ = device_change_of(file_.config);
        return resolve_endpoints(file_, steps_, change_);
    }

    Result<void> start() {
        if (link_exists(file_.interface))
            return fail(file_.interface + " already exists, and is left as it is", EEXIST);
        auto started = start_daemon(steps_, file_.interface, daemon_);
        started_ = started.has_value();
        return started;
    }

    Result<DeviceStatus> status() {
        return UapiClient::connect(file_.interface).and_then([](UapiClient&& client) {
            return client.get();
        });
    }

    Result<void> configure() { return give_settings(file_, steps_, change_); }

    Result<void> set_mtu() {
        if (file_.config.mtu) return set_mtu_and_up(steps_, file_.interface, *file_.config.mtu);
        return status().and_then(
            [this](DeviceStatus&& now) { return set_mtu_and_up(steps_, file_.interface, fitting_mtu(now)); });
    }

    Result<void> apply_dns() {
        dns_begun_ = true;
        return set_dns(steps_, file_.interface, file_.config);
    }

    Result<void> add_routes() {
        const auto mark = [this](std::uint32_t fwmark) {
            DeviceChange change;
            change.fwmark = fwmark;
            return UapiClient::connect(file_.interface).and_then([&](UapiClient&& client) {
                return client.set(change);
            });
        };
        return status().and_then([&](DeviceStatus&& now) { return routes_.add(now, mark); });
    }

    void roll_back() {
        steps_.ignore_signals();
        if (dns_begun_) tell(unset_dns(steps_, file_.interface, file_.config));
        routes_.roll_back();
        if (started_) tell(delete_link(steps_, file_.interface));
    }

    static void tell(const Result<void>& result) {
        if (!result) print_error("while undoing: " + result.error().message);
    }

    const ConfigFile& file_;
    Steps& steps_;
    std::string daemon_;
    Routes routes_;
    DeviceChange change_;
    bool started_ = false;
    bool dns_begun_ = false;
};

int run_up(const Invocation& invocation) {
    if (auto root = require_root(); !root) return failed(root.error());
    const auto file = load_config(invocation.operands.front());
    if (!file) return failed(file.error());
    if (auto keyed = require_private_key(file->config, file->shown); !keyed) return failed(keyed.error());
    if (link_exists(file->interface)) {
        print_error(file->interface + " already exists, and is left as it is");
        return kFailure;
    }
    Steps steps(invocation.has("quiet"));
    Tunnel tunnel(*file, steps,
                  invocation.has("vernd") ? invocation.options["vernd"].as<std::string>() : std::string());
    const auto up = tunnel.bring_up();
    return up ? kSuccess : failed(up.error());
}

void declare(po::options_description& options) {
    options.add_options()("quiet,q", "do not show the steps")(
        "vernd", po::value<std::string>()->value_name("PATH"),
        "the daemon to start (default: beside vern, else in PATH)");
}

}  // namespace

const Command kUp{
    "up",
    "CONFIG | INTERFACE",
    "bring a tunnel up",
    "Starts vernd and sets up keys, peers, addresses, MTU, DNS, routes and hooks as a wg-quick file says. "
    "INTERFACE\n"
    "stands for /etc/wireguard/INTERFACE.conf or /etc/vern/INTERFACE.conf. If any step fails, all is undone.",
    1,
    1,
    declare,
    run_up};

}  // namespace vern::cli
