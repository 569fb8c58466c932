// vern check: reads a file as `vern up` would, and changes nothing.
#include <fmt/format.h>

#include "command.h"
#include "config_file.h"

namespace vern::cli {
namespace {

std::size_t count_prefixes(const WgConfig& config) {
    std::size_t prefixes = 0;
    for (const WgConfigPeer& peer : config.peers) prefixes += peer.change.allowed_ips.size();
    return prefixes;
}

std::string counted(std::size_t n, std::string_view one, std::string_view several) {
    return fmt::format("{} {}", n, n == 1 ? one : several);
}

int run_check(const Invocation& invocation) {
    const auto file = read_config(invocation.operands.front());
    if (!file) return failed(file.error());
    if (auto keyed = require_private_key(file->config, file->shown); !keyed) return failed(keyed.error());
    fmt::print("{}: ok, {}, {}\n", file->shown, counted(file->config.peers.size(), "peer", "peers"),
               counted(count_prefixes(file->config), "allowed prefix", "allowed prefixes"));
    return kSuccess;
}

}  // namespace

const Command kCheck{"check",
                     "CONFIG | INTERFACE | -",
                     "check a configuration file without changing anything",
                     "Reads a configuration file as `vern up` does and tells every error with its line. '-' "
                     "is standard input.\n"
                     "Names of endpoints are not looked up.",
                     1,
                     1,
                     nullptr,
                     run_check};

}  // namespace vern::cli
