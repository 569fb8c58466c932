// vern sync: a running tunnel becomes what its file says by now.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <set>

#include "command.h"
#include "config_file.h"
#include "control/text.h"
#include "control/uapi_client.h"
#include "crypto/noise.h"
#include "dataplane/io/fd.h"
#include "dataplane/io/tun.h"
#include "link.h"
#include "routes.h"
#include "settings.h"
#include "steps.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;

// What the file does not name is none, but for port, mark and endpoints, which may have been chosen or
// learned since. What is the same already is left out: sessions go on.
void follow_file(DeviceChange& change, const DeviceStatus& status) {
    change.replace_peers = false;
    if (status.private_key && change.private_key && *status.private_key == *change.private_key)
        change.private_key.reset();
    if (change.listen_port == status.listen_port || (change.listen_port == 0 && status.listen_port != 0))
        change.listen_port.reset();
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

// But for this host itself, which a list that is the same on all hosts names, too.
std::set<Family> defaults_of(const DeviceChange& change, const DeviceStatus& now) {
    const PublicKey own = change.private_key ? noise::public_key_of(*change.private_key) : now.public_key;
    std::set<Family> defaults;
    for (const PeerChange& peer : change.peers)
        for (const AllowedIpChange& ip : peer.allowed_ips)
            if (ip.prefix.length == 0 && peer.public_key != own) defaults.insert(ip.prefix.address.family);
    return defaults;
}

// An error changes nothing.
Result<void> check(const ConfigFile& file, const Routes& routes, const DeviceStatus& now,
                   DeviceChange& change) {
    if (file.config.table != "off" && !link_is_up(file.interface))
        return fail(fmt::format("{0} is down (ip link set {0} up)", file.interface), ENETDOWN);
    auto possible = routes.can_follow(now, defaults_of(change, now));
    if (file.config.table == "auto" &&
        (routes.has_default(now, Family::v4) || routes.has_default(now, Family::v6))) {
        if (change.fwmark == 0) change.fwmark.reset();  // one was chosen
        if (possible && change.fwmark && change.fwmark != now.fwmark)
            possible = fail("FwMark changes under a default route", ENOTSUP);
    }
    if (possible) return {};
    return fail(fmt::format("{}: {}, which takes vern down and vern up; nothing was changed", file.shown,
                            possible.error().message),
                possible.error().code);
}

Result<DeviceStatus> status_of(const ConfigFile& file) {
    return UapiClient::connect(file.interface).and_then([](UapiClient&& client) { return client.get(); });
}

// One at a time of an interface, from reading the file on: none brings back what a later one has taken away.
Result<Fd> lock(const std::string& interface, const Steps& steps) {
    const std::string path = fmt::format("/run/vern-sync-{}.lock", interface);
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return fail_errno(path, errno);
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return file;
    steps.show("vern: another sync is going on, waiting for it");
    if (::flock(file.get(), LOCK_EX) == 0) return file;
    if (auto stop = steps.interrupted(); !stop) return tl::unexpected(stop.error());
    return fail_errno(path, errno);
}

// Addresses that the file no longer has may be a hook's, so only missing ones are told.
void tell_what_stays(const ConfigFile& file) {
    const auto stays = [&](const std::string& what) {
        say(fmt::format("Warning: {} ({} says otherwise): that takes vern down and vern up\n", what,
                        file.shown));
    };
    const std::vector<Prefix> present = present_addresses(file.interface, file.config.addresses);
    for (const Prefix& wanted : file.config.addresses) {
        if (std::ranges::find(present, wanted) == present.end())
            stays(fmt::format("{} does not have the address {}", file.interface, to_text(wanted)));
    }
    const auto mtu = tun_mtu(file.interface);
    if (file.config.mtu && mtu && *mtu != *file.config.mtu)
        stays(fmt::format("the MTU of {} is {}", file.interface, *mtu));
}

Result<void> sync(const ConfigFile& file, Steps& steps) {
    if (!link_exists(file.interface))
        return fail(fmt::format("{0} is not up (vern up {0})", file.interface), ENODEV);
    DeviceChange change = device_change_of(file.config);
    if (auto resolved = resolve_endpoints(file, steps, change); !resolved) return resolved;
    const auto before = status_of(file);
    if (!before) return tl::unexpected(before.error());
    Routes routes(steps, file.interface, file.config.table);
    if (auto checked = check(file, routes, *before, change); !checked) return checked;
    tell_what_stays(file);
    follow_file(change, *before);
    if (auto stop = steps.interrupted(); !stop) return stop;
    steps.ignore_signals();  // from here on there is no way back
    if (auto given = give_settings(file, steps, change); !given) return given;
    auto followed =
        status_of(file).and_then([&](DeviceStatus&& after) { return routes.follow(*before, after); });
    if (!followed)
        followed.error().message +=
            fmt::format("; {}'s peers are as {} says, its routes are not", file.interface, file.shown);
    return followed;
}

int run_sync(const Invocation& invocation) {
    if (auto root = require_root(); !root) return failed(root.error());
    Steps steps(invocation.has("quiet"));
    const auto located = locate_config(invocation.operands.front());
    if (!located) return failed(located.error());
    const auto locked = lock(located->interface, steps);
    if (!locked) return failed(locked.error());
    const auto file = load_config(invocation.operands.front());
    if (!file) return failed(file.error());
    if (auto keyed = require_private_key(file->config, file->shown); !keyed) return failed(keyed.error());
    const auto done = sync(*file, steps);
    return done ? kSuccess : failed(done.error());
}

void declare(po::options_description& options) { options.add_options()("quiet,q", "do not show the steps"); }

}  // namespace

const Command kSync{
    "sync",
    "CONFIG | INTERFACE",
    "make a running tunnel what its file says by now",
    "Peers come, go and change as the file says, with the routes to their allowed IPs; "
    "sessions of those that stay go on.\n"
    "Addresses, DNS, MTU and hooks are looked at by 'vern up' only; an address that is missing and "
    "another MTU are told.",
    1,
    1,
    declare,
    run_sync};

}  // namespace vern::cli
