// vern sync: a running tunnel becomes what its file says by now.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "command.h"
#include "config_file.h"
#include "control/uapi_client.h"
#include "link.h"
#include "routes.h"
#include "settings.h"
#include "steps.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;

// What the file does not name is none, but for port and mark, which `up` may have chosen. What is the same
// already is left out: sessions go on.
void follow_file(DeviceChange& change, const DeviceStatus& status) {
    change.replace_peers = false;
    if (status.private_key && change.private_key && *status.private_key == *change.private_key)
        change.private_key.reset();
    if (change.listen_port == status.listen_port) change.listen_port.reset();
    if (change.fwmark == status.fwmark) change.fwmark.reset();
    std::set<PublicKey> wanted;
    for (PeerChange& peer : change.peers) {
        wanted.insert(peer.public_key);
        if (!peer.preshared_key) peer.preshared_key.emplace();
        if (!peer.persistent_keepalive_s) peer.persistent_keepalive_s = 0;
    }
    std::vector<PeerChange> peers;
    for (const PeerStatus& peer : status.peers) {
        if (wanted.contains(peer.public_key)) continue;
        PeerChange& gone = peers.emplace_back();
        gone.public_key = peer.public_key;
        gone.remove = true;
    }
    std::ranges::move(change.peers, std::back_inserter(peers));
    change.peers = std::move(peers);
}

std::set<Prefix> defaults_of(const DeviceStatus& status) {
    std::set<Prefix> defaults;
    for (const PeerStatus& peer : status.peers)
        for (const Prefix& prefix : peer.allowed_ips)
            if (prefix.length == 0) defaults.insert(prefix);
    return defaults;
}
std::set<Prefix> defaults_of(const DeviceChange& change) {
    std::set<Prefix> defaults;
    for (const PeerChange& peer : change.peers)
        for (const AllowedIpChange& ip : peer.allowed_ips)
            if (ip.prefix.length == 0) defaults.insert(ip.prefix);
    return defaults;
}

// Both take rules, a firewall table and the mark that is in them along, which are all made and taken away at
// once.
Result<void> check_default_routes(const ConfigFile& file, const DeviceStatus& now,
                                  const DeviceChange& change) {
    if (file.config.table != "auto") return {};
    const auto defaults = defaults_of(now);
    constexpr std::string_view kNotHere = "which takes vern down and vern up; nothing was changed";
    if (defaults != defaults_of(change))
        return fail(
            fmt::format("{}: a default route through the tunnel comes or goes, {}", file.shown, kNotHere));
    if (!defaults.empty() && change.fwmark && change.fwmark != now.fwmark)
        return fail(fmt::format("{}: FwMark changes under a default route, {}", file.shown, kNotHere));
    return {};
}

Result<DeviceStatus> status_of(const ConfigFile& file) {
    return UapiClient::connect(file.interface).and_then([](UapiClient&& client) { return client.get(); });
}

Result<void> sync(const ConfigFile& file, Steps& steps) {
    if (!link_exists(file.interface))
        return fail(fmt::format("{0} is not up (vern up {0})", file.interface), ENODEV);
    DeviceChange change = device_change_of(file.config);
    if (auto resolved = resolve_endpoints(file, steps, change); !resolved) return resolved;
    const auto before = status_of(file);
    if (!before) return tl::unexpected(before.error());
    if (auto possible = check_default_routes(file, *before, change); !possible) return possible;
    follow_file(change, *before);
    if (auto given = give_settings(file, steps, change); !given) return given;
    const auto after = status_of(file);
    if (!after) return tl::unexpected(after.error());
    return Routes(steps, file.interface, file.config.table).follow(*before, *after);
}

int run_sync(const Invocation& invocation) {
    if (auto root = require_root(); !root) return failed(root.error());
    const auto file = load_config(invocation.operands.front());
    if (!file) return failed(file.error());
    if (auto keyed = require_private_key(file->config, file->shown); !keyed) return failed(keyed.error());
    Steps steps(invocation.has("quiet"));
    const auto done = sync(*file, steps);
    return done ? kSuccess : failed(done.error());
}

void declare(po::options_description& options) { options.add_options()("quiet,q", "do not show the steps"); }

}  // namespace

const Command kSync{"sync",
                    "CONFIG | INTERFACE",
                    "make a running tunnel what its file says by now",
                    "Peers come, go and change as the file says, with the routes to their allowed IPs; "
                    "sessions of those that stay go on.\n"
                    "Addresses, DNS, MTU and hooks are looked at by 'vern up' only.",
                    1,
                    1,
                    declare,
                    run_sync};

}  // namespace vern::cli
