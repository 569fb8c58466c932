#include "link.h"

#include <fmt/format.h>
#include <net/if.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <set>

#include "command.h"
#include "control/process.h"
#include "control/text.h"
#include "control/uapi_client.h"

namespace vern::cli {
namespace {

using nlohmann::json;

constexpr std::uint32_t kOverhead = 80;
constexpr std::uint32_t kUsualMtu = 1500;
constexpr std::chrono::seconds kDaemonEndMax{5};

// vernd as it was installed (or built) together with this program, before any other.
std::string find_daemon() {
    std::array<char, 4096> self{};
    const ssize_t length = ::readlink("/proc/self/exe", self.data(), self.size());
    if (length > 0) {
        const std::string_view path(self.data(), static_cast<std::size_t>(length));
        const std::string directory(path.substr(0, path.rfind('/')));
        for (const char* candidate : {"/vernd", "/../sbin/vernd", "/../vernd"}) {
            std::string file = directory + candidate;
            struct stat status {};
            if (::stat(file.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
                ::access(file.c_str(), X_OK) == 0)
                return file;
        }
    }
    return find_program("vernd");
}

const char* family_flag(const IpAddress& address) { return address.family == Family::v6 ? "-6" : "-4"; }

std::string text_or_empty(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint32_t number_or_zero(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_unsigned() ? found->get<std::uint32_t>() : 0;
}

class MtuFinder {
  public:
    // The route's own MTU, else its device's.
    void take(const json& route) {
        if (!route.is_object()) return;
        std::uint32_t mtu = 0;
        if (const auto metrics = route.find("metrics"); metrics != route.end() && metrics->is_array()) {
            for (const json& metric : *metrics)
                mtu = std::max(mtu, metric.is_object() ? number_or_zero(metric, "mtu") : 0);
        }
        if (mtu == 0) mtu = of_device(text_or_empty(route, "dev"));
        largest_ = std::max(largest_, mtu);
    }
    std::uint32_t largest() const { return largest_; }

  private:
    std::uint32_t of_device(const std::string& device) {
        if (device.empty()) return 0;
        const auto [known, is_new] = devices_.emplace(device, 0);
        if (is_new) {
            for (const json& link : ask_ip({"link", "show", "dev", device}))
                known->second = number_or_zero(link, "mtu");
        }
        return known->second;
    }

    std::map<std::string, std::uint32_t> devices_;
    std::uint32_t largest_ = 0;
};

}  // namespace

bool link_exists(const std::string& interface) { return ::if_nametoindex(interface.c_str()) != 0; }

bool link_is_up(const std::string& interface) {
    const json links = ask_ip({"link", "show", "dev", interface, "up"});
    return !links.empty();
}

Result<void> start_daemon(Steps& steps, const std::string& interface, const std::string& program) {
    const std::string daemon = program.empty() ? find_daemon() : program;
    if (daemon.empty())
        return fail("vernd is neither beside vern nor in PATH: install it, or name it with --vernd", ENOENT);
    if (auto stop = steps.interrupted(); !stop) return stop;
    steps.show(daemon + " " + interface);
    const auto result = run_process({daemon, interface});
    if (!result) return tl::unexpected(result.error());
    if (result->ok()) {
        say(result->errors);  // what it goes on without
        return {};
    }
    std::string sentence = result->errors.empty() ? result->output : result->errors;
    while (!sentence.empty() && sentence.back() == '\n') sentence.pop_back();
    if (sentence.empty()) sentence = fmt::format("{} {}: exit status {}", daemon, interface, result->status);
    return fail(sentence, EIO);
}

Result<void> delete_link(Steps& steps, const std::string& interface) {
    if (!link_exists(interface)) return {};
    if (auto deleted = steps.run({"ip", "link", "delete", "dev", interface}); !deleted) return deleted;
    const auto deadline = std::chrono::steady_clock::now() + kDaemonEndMax;
    const std::string socket = fmt::format("{}/{}.sock", kUapiDirectory, interface);
    while (::access(socket.c_str(), F_OK) == 0) {
        if (std::chrono::steady_clock::now() > deadline)
            return fail("the daemon of " + interface + " does not end", ETIMEDOUT);
        ::poll(nullptr, 0, 10);
    }
    return {};
}

Result<void> add_addresses(Steps& steps, const std::string& interface, const std::vector<Prefix>& addresses) {
    for (const Prefix& address : addresses) {
        auto added = steps.run(
            {"ip", family_flag(address.address), "address", "add", to_text(address), "dev", interface});
        if (!added) return added;
    }
    return {};
}

std::vector<Prefix> present_addresses(const std::string& interface, const std::vector<Prefix>& kept) {
    std::vector<Prefix> present;
    for (const json& link : ask_ip({"address", "show", "dev", interface})) {
        const auto list = link.find("addr_info");
        if (list == link.end() || !list->is_array()) continue;
        for (const json& entry : *list) {
            const auto address = parse_interface_address(
                fmt::format("{}/{}", text_or_empty(entry, "local"), number_or_zero(entry, "prefixlen")));
            if (!address) continue;
            const bool from_kernel = address->address.family == Family::v6 &&
                                     text_or_empty(entry, "scope") == "link" &&
                                     std::find(kept.begin(), kept.end(), *address) == kept.end();
            if (!from_kernel) present.push_back(*address);
        }
    }
    return present;
}

std::uint32_t fitting_mtu(const DeviceStatus& status) {
    std::set<std::string> endpoints;
    for (const PeerStatus& peer : status.peers) {
        if (peer.endpoint.known()) endpoints.insert(to_text(peer.endpoint.address));
    }
    std::string questions;
    for (const std::string& endpoint : endpoints) questions += "route get " + endpoint + "\n";
    MtuFinder finder;
    // One list a line; where there is no way to an endpoint, -force goes on without one.
    if (const auto answers =
            run_process({"ip", "-force", "-j", "-batch", "-"}, {.input = questions, .keep_terminal = false});
        answers && !questions.empty()) {
        std::string_view rest = answers->output;
        while (!rest.empty()) {
            const auto end = rest.find('\n');
            const json routes = json::parse(rest.substr(0, end), nullptr, false);
            for (const json& route : routes.is_array() ? routes : json::array()) finder.take(route);
            rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        }
    }
    if (finder.largest() == 0) {
        for (const json& route : ask_ip({"route", "show", "default"})) finder.take(route);
    }
    const std::uint32_t mtu = finder.largest() != 0 ? finder.largest() : kUsualMtu;
    return std::max<std::uint32_t>(mtu, kOverhead + 68) - kOverhead;
}

Result<void> set_mtu_and_up(Steps& steps, const std::string& interface, std::uint32_t mtu) {
    return steps.run({"ip", "link", "set", "mtu", std::to_string(mtu), "up", "dev", interface});
}

}  // namespace vern::cli
