#include "routes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "control/process.h"
#include "control/text.h"
#include "dataplane/io/fd.h"

namespace vern::cli {
namespace {

using nlohmann::json;

constexpr std::uint32_t kFirstTable = 51820;
constexpr const char* kProtocol = "86";  // of routes, by which they are told from others'
constexpr const char* kSourceMark = "/proc/sys/net/ipv4/conf/all/src_valid_mark";

std::string family_of(const Prefix& prefix) { return prefix.address.family == Family::v6 ? "-6" : "-4"; }

std::string text_of(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void widen(Prefix& prefix) {
    --prefix.length;
    prefix.address.bytes[prefix.length / 8] &= ~(std::byte{0x80} >> (prefix.length % 8));
}

struct PresentRoute {
    Prefix prefix;
    std::string protocol;  // who added it: ours, "boot" (by hand, wg-quick; ip does not print it), "kernel"
};

// Routes that the interface has already in that table.
std::vector<PresentRoute> present_routes(const std::string& interface, const std::string& table) {
    std::vector<PresentRoute> present;
    for (const char* family : {"-4", "-6"}) {
        for (const json& route : ask_ip({family, "route", "show", "dev", interface, "table", table})) {
            std::string to = text_of(route, "dst");
            if (to == "default") to = family == std::string_view("-4") ? "0.0.0.0/0" : "::/0";
            if (const auto prefix = parse_prefix(to))
                present.push_back(
                    {*prefix, route.contains("protocol") ? text_of(route, "protocol") : "boot"});
        }
    }
    return present;
}

std::size_t count_own(const char* family, const std::string& interface, const std::string& table) {
    return ask_ip({family, "route", "show", "table", table, "dev", interface, "proto", kProtocol}).size();
}

// "not fwmark M lookup M", by which everything but the tunnel's own datagrams takes the tunnel's table.
bool is_default_rule(const json& rule, const std::string& mark) {
    return rule.contains("not") && text_of(rule, "table") == mark;
}

std::set<Prefix> allowed_prefixes(const DeviceStatus& status) {
    std::set<Prefix> prefixes;
    for (const PeerStatus& peer : status.peers)
        prefixes.insert(peer.allowed_ips.begin(), peer.allowed_ips.end());
    return prefixes;
}

// The longest first.
std::vector<Prefix> sorted_prefixes(const DeviceStatus& status) {
    const std::set<Prefix> unique = allowed_prefixes(status);
    std::vector<Prefix> sorted(unique.begin(), unique.end());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Prefix& a, const Prefix& b) { return a.length > b.length; });
    return sorted;
}

bool table_is_empty(std::uint32_t table) {
    return ask_ip({"-4", "route", "show", "table", std::to_string(table)}).empty() &&
           ask_ip({"-6", "route", "show", "table", std::to_string(table)}).empty();
}

// nft takes fewer characters in a name than the kernel does in an interface's.
std::string firewall_table(std::string_view interface) {
    std::string name = fmt::format("wg-quick-{}", interface);
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '=' || c == '+'; }, '_');
    return name;
}

const char* nft_family(const Prefix& prefix) { return prefix.address.family == Family::v6 ? "ip6" : "ip"; }

// Who puts packets for the tunnel's addresses on another wire must not reach them (CVE-2019-14899); and
// answers to the tunnel's own datagrams get their mark back, so that reverse path filtering judges them by
// the way they really come.
std::string firewall_rules(const Prefix& route, const std::string& interface, std::uint32_t mark) {
    const std::string table = fmt::format("{} {}", nft_family(route), firewall_table(interface));
    std::string text = fmt::format("add table {0}\ndelete table {0}\nadd table {0}\n", table);
    const auto chain = [&](std::string_view name, std::string_view hook, int priority) {
        text += fmt::format("add chain {} {} {{ type filter hook {} priority {}; }}\n", table, name, hook,
                            priority);
    };
    chain("preraw", "prerouting", -300);
    chain("premangle", "prerouting", -150);
    chain("postmangle", "postrouting", -150);
    for (const json& link : ask_ip({family_of(route), "address", "show", "dev", interface})) {
        const auto list = link.find("addr_info");
        if (list == link.end() || !list->is_array()) continue;
        for (const json& entry : *list) {
            const auto address = parse_address(text_of(entry, "local"));
            if (!address || address->family != route.address.family) continue;
            text +=
                fmt::format("add rule {} preraw iifname != \"{}\" {} daddr {} fib saddr type != local drop\n",
                            table, interface, nft_family(route), to_text(*address));
        }
    }
    text += fmt::format("add rule {} postmangle meta l4proto udp meta mark {} ct mark set meta mark\n", table,
                        mark);
    text += fmt::format("add rule {} premangle meta l4proto udp meta mark set ct mark\n", table);
    return text;
}

bool write_file(const char* path, std::string_view text) {
    const Fd fd(::open(path, O_WRONLY | O_CLOEXEC));
    return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool reads_zero(const char* path) {
    const Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
    char digit = 0;
    return fd && ::read(fd.get(), &digit, 1) == 1 && digit == '0';
}

void keep_first(Result<void>& first, Result<void> next) {
    if (first && !next) first = std::move(next);
}

}  // namespace

Result<void> Routes::add(const DeviceStatus& status, const SetFwmark& set_fwmark) {
    if (table_ == "off") return {};
    std::vector<Prefix> plain = sorted_prefixes(status), defaults;
    if (table_ == "auto") {
        const auto first =
            std::find_if(plain.begin(), plain.end(), [](const Prefix& p) { return p.length == 0; });
        defaults.assign(first, plain.end());
        plain.erase(first, plain.end());
    }
    std::set<Prefix> present;
    for (const PresentRoute& route : present_routes(interface_, table())) present.insert(route.prefix);
    if (auto added = add_plain(std::move(plain), present, Steps::OnError::stop); !added) return added;
    return defaults.empty() ? Result<void>() : add_default(defaults, status.fwmark, set_fwmark);
}

bool Routes::has_default(const DeviceStatus& now, Family family) const {
    const char* flag = family == Family::v6 ? "-6" : "-4";
    const std::string mark = std::to_string(now.fwmark);
    return now.fwmark != 0 &&
           std::ranges::any_of(ask_ip({flag, "rule", "show"}),
                               [&](const json& rule) { return is_default_rule(rule, mark); }) &&
           !ask_ip({flag, "route", "show", "default", "dev", interface_, "table", mark}).empty();
}

Result<void> Routes::can_follow(const DeviceStatus& now, const std::set<Family>& defaults) const {
    for (const Family family : {Family::v4, Family::v6}) {
        const char* flag = family == Family::v6 ? "-6" : "-4";
        std::size_t known = table_ == "off" ? 0 : count_own(flag, interface_, table());
        if (table_ == "auto") {
            const bool present = has_default(now, family);
            if (present != defaults.contains(family))
                return fail("a default route through the tunnel comes or goes", ENOTSUP);
            if (present) known += count_own(flag, interface_, std::to_string(now.fwmark));
        }
        if (count_own(flag, interface_, "all") > known)
            return fail("its routes are in another table", ENOTSUP);
    }
    return {};
}

Result<void> Routes::follow(const DeviceStatus& before, const DeviceStatus& after) {
    if (table_ == "off") return {};
    const std::set<Prefix> had = allowed_prefixes(before), wanted = allowed_prefixes(after);
    std::map<std::string, std::vector<Prefix>> gone;
    std::set<Prefix> staying;
    for (const PresentRoute& route : present_routes(interface_, table())) {
        const bool own = route.protocol == kProtocol ||
                         (route.protocol == "boot" && had.contains(route.prefix));  // by wg-quick
        if (own && !wanted.contains(route.prefix))
            gone[route.protocol].push_back(route.prefix);
        else
            staying.insert(route.prefix);
    }
    std::vector<Prefix> plain = sorted_prefixes(after);
    if (table_ == "auto") std::erase_if(plain, [](const Prefix& one) { return one.length == 0; });
    // First what is missing: nothing that a wider route was for takes another way meanwhile.
    Result<void> first = add_plain(std::move(plain), staying, Steps::OnError::go_on);
    for (const auto& [protocol, prefixes] : gone)
        keep_first(first, run_each("delete", prefixes, protocol, Steps::OnError::go_on));
    return first;
}

// But for those that are there: in the main table also in a wider one. A default route is no wider one: its
// metric says whether it is the one that is taken.
Result<void> Routes::add_plain(std::vector<Prefix> prefixes, const std::set<Prefix>& present,
                               Steps::OnError on_error) {
    const auto is_there = [&](Prefix prefix) {
        if (table_ != "auto") return present.contains(prefix);
        for (; prefix.length > 0; widen(prefix))
            if (present.contains(prefix)) return true;
        return false;
    };
    std::erase_if(prefixes, is_there);
    return run_each("add", prefixes, kProtocol, on_error);
}

Result<void> Routes::run_each(const char* what, const std::vector<Prefix>& prefixes,
                              const std::string& protocol, Steps::OnError on_error) {
    Result<void> first;
    for (const char* family : {"-4", "-6"}) {
        std::vector<Words> commands;
        for (const Prefix& prefix : prefixes) {
            if (family_of(prefix) != family) continue;
            Words& words = commands.emplace_back(
                Words{"route", what, to_text(prefix), "dev", interface_, "proto", protocol});
            if (table_ != "auto") words.insert(words.end(), {"table", table_});
        }
        keep_first(first, steps_.ip_batch(family, commands, on_error));
        if (!first && on_error == Steps::OnError::stop) return first;
    }
    return first;
}

Result<void> Routes::add_default(const std::vector<Prefix>& defaults, std::uint32_t fwmark,
                                 const SetFwmark& set_fwmark) {
    if (find_program("nft").empty()) {
        return fail(
            "nft is missing, which a default route through the tunnel needs (install nftables, or set Table "
            "= off)",
            ENOENT);
    }
    mark_ = fwmark;
    if (mark_ == 0) {
        for (mark_ = kFirstTable; !table_is_empty(mark_); ++mark_) {
        }
        steps_.show(fmt::format("wg set {} fwmark {}", interface_, mark_));
        if (auto set = set_fwmark(mark_); !set) return set;
    }
    for (const Prefix& route : defaults) {
        if (auto added = add_rules(route); !added) return added;
        if (auto added = add_firewall(route); !added) return added;
    }
    return {};
}

Result<void> Routes::add_rules(const Prefix& route) {
    const std::string family = family_of(route);
    const std::string mark = std::to_string(mark_);
    // Of a tunnel whose daemon was killed: its routes are gone, its rules are not.
    if (auto removed = remove_rules(family, mark_); !removed) return removed;
    if (auto added = steps_.run({"ip", family, "route", "add", to_text(route), "dev", interface_, "proto",
                                 kProtocol, "table", mark});
        !added)
        return added;
    if (auto added = steps_.run({"ip", family, "rule", "add", "not", "fwmark", mark, "table", mark}); !added)
        return added;
    return steps_.run({"ip", family, "rule", "add", "table", "main", "suppress_prefixlength", "0"});
}

Result<void> Routes::add_firewall(const Prefix& route) {
    if (route.address.family == Family::v4) {
        if (auto accepted = accept_marked_sources(); !accepted) return accepted;
    }
    return steps_.run({"nft", "-f", "-"}, firewall_rules(route, interface_, mark_));
}

Result<void> Routes::accept_marked_sources() {
    if (!reads_zero(kSourceMark)) return {};
    steps_.show("sysctl -q net.ipv4.conf.all.src_valid_mark=1");
    if (!write_file(kSourceMark, "1\n")) return fail_errno(kSourceMark, errno);
    source_mark_set_ = true;
    return {};
}

// Ours are "not fwmark M lookup M" and the rule put before it, which keeps more specific routes of the main
// table in force.
Result<void> Routes::remove_rules(const std::string& family, std::uint32_t mark) {
    const std::string table = std::to_string(mark);
    Result<void> first;
    const json rules = ask_ip({family, "rule", "show"});
    for (std::size_t i = 0; i < rules.size(); ++i) {
        if (!is_default_rule(rules[i], table)) continue;
        const auto priority = [&](std::size_t rule) { return rules[rule].at("priority").dump(); };
        keep_first(first, steps_.run({"ip", family, "rule", "delete", "pref", priority(i), "table", table}));
        if (i == 0 || text_of(rules[i - 1], "table") != "main" ||
            !rules[i - 1].contains("suppress_prefixlen"))
            continue;
        keep_first(first, steps_.run({"ip", family, "rule", "delete", "pref", priority(i - 1), "table",
                                      "main", "suppress_prefixlength", "0"}));
    }
    return first;
}

Result<void> Routes::remove_firewall() {
    if (find_program("nft").empty()) return {};
    const auto tables = ask({"nft", "list", "tables"});
    if (!tables) return {};  // no nftables in this kernel: nothing was added
    std::string commands;
    for (const char* family : {"ip", "ip6"}) {
        const std::string table = fmt::format("table {} {}\n", family, firewall_table(interface_));
        if (tables->find(table) != std::string::npos) commands += "delete " + table;
    }
    return commands.empty() ? Result<void>() : steps_.run({"nft", "-f", "-"}, commands);
}

Result<void> Routes::remove(std::uint32_t fwmark) {
    Result<void> first = remove_firewall();
    if (fwmark == 0 || table_ != "auto") return first;
    for (const char* family : {"-4", "-6"}) keep_first(first, remove_rules(family, fwmark));
    return first;
}

void Routes::roll_back() {
    if (mark_ == 0) return;
    // What cannot be undone has been shown as a step; there is nothing better to do about it here.
    static_cast<void>(remove(mark_));
    if (source_mark_set_) static_cast<void>(write_file(kSourceMark, "0\n"));
    mark_ = 0;
}

}  // namespace vern::cli
