#include "dns.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "control/process.h"
#include "control/text.h"

namespace vern::cli {
namespace {

// Debian's resolvconf orders its records by the beginning of their names, as this file lists them: with the
// first of these in front, the tunnel's servers come before those of other interfaces.
std::string record_prefix() {
    std::ifstream order("/etc/resolvconf/interface-order");
    for (std::string line; std::getline(order, line);) {
        if (line.size() < 2 || line.back() != '*') continue;
        line.pop_back();
        const bool plain = std::all_of(line.begin(), line.end(),
                                       [](unsigned char c) { return std::isalnum(c) != 0 || c == '-'; });
        if (plain) return line + ".";
    }
    return {};
}

std::string resolv_conf(const WgConfig& config) {
    std::string text;
    for (const IpAddress& server : config.dns) text += "nameserver " + to_text(server) + "\n";
    if (config.dns_search.empty()) return text;
    text += "search";
    for (const std::string& domain : config.dns_search) text += " " + domain;
    return text + "\n";
}

Result<void> set_by_resolvectl(Steps& steps, const std::string& interface, const WgConfig& config) {
    Words servers{"resolvectl", "dns", interface};
    for (const IpAddress& server : config.dns) servers.push_back(to_text(server));
    if (!config.dns.empty()) {
        if (auto set = steps.run(servers); !set) return set;
    }
    Words domains{"resolvectl", "domain", interface};
    domains.insert(domains.end(), config.dns_search.begin(), config.dns_search.end());
    // All names go to these servers, as with resolvconf's -x.
    if (!config.dns.empty()) domains.emplace_back("~.");
    return steps.run(domains);
}

bool wanted(const WgConfig& config) { return !config.dns.empty() || !config.dns_search.empty(); }

}  // namespace

Result<void> set_dns(Steps& steps, const std::string& interface, const WgConfig& config) {
    if (!wanted(config)) return {};
    if (!find_program("resolvconf").empty()) {
        return steps.run({"resolvconf", "-a", record_prefix() + interface, "-m", "0", "-x"},
                         resolv_conf(config));
    }
    if (!find_program("resolvectl").empty()) return set_by_resolvectl(steps, interface, config);
    return fail("DNS is set, but neither resolvconf nor resolvectl is there: install one, or leave DNS out",
                ENOENT);
}

Result<void> unset_dns(Steps& steps, const std::string& interface, const WgConfig& config) {
    if (!wanted(config)) return {};
    if (!find_program("resolvconf").empty())
        return steps.run({"resolvconf", "-d", record_prefix() + interface, "-f"});
    // systemd-resolved forgets what belongs to an interface when that goes.
    return {};
}

}  // namespace vern::cli
