// vern show for people.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "control/text.h"
#include "dataplane/base/counters.h"
#include "policy.h"
#include "show.h"

namespace vern::cli {
namespace {

using nlohmann::json;

constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kCyan = "\x1b[36m";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kReset = "\x1b[0m";

class Page {
  public:
    explicit Page(bool colour) : colour_(colour) {}

    void heading(std::string_view what, std::string_view name, std::string_view colour) {
        text_ += styled(styled(what, colour) + ": " + styled(name, colour), kBold) + "\n";
    }
    void line(std::string_view name, std::string_view value) {
        text_ += fmt::format("  {}: {}\n", styled(name, kBold), value);
    }
    void gap() { text_ += '\n'; }
    // A unit or other small print.
    std::string dim(std::string_view what) const { return styled(what, kCyan); }
    std::string take() { return std::move(text_); }

  private:
    std::string styled(std::string_view what, std::string_view style) const {
        return colour_ ? fmt::format("{}{}{}", style, what, kReset) : std::string(what);
    }
    bool colour_;
    std::string text_;
};

// "1 day, 3 hours, 20 seconds"
std::string duration_text(std::uint64_t seconds, const Page& page) {
    constexpr std::array<std::pair<std::uint64_t, std::string_view>, 5> kUnits{
        {{365 * 24 * 3600, "year"}, {24 * 3600, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}}};
    std::string text;
    for (const auto& [length, name] : kUnits) {
        const std::uint64_t count = seconds / length;
        seconds %= length;
        if (count == 0) continue;
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count,
                            page.dim(fmt::format("{}{}", name, count == 1 ? "" : "s")));
    }
    return text;
}

std::string ago(WallTime then, std::time_t now, const Page& page) {
    const auto seconds =
        std::int64_t{now} - std::chrono::floor<std::chrono::seconds>(then).time_since_epoch().count();
    if (seconds == 0) return "Now";
    if (seconds < 0) return "in the future (a clock has been set back)";
    return duration_text(static_cast<std::uint64_t>(seconds), page) + " ago";
}

std::string bytes_text(std::uint64_t bytes, const Page& page) {
    constexpr std::array<std::string_view, 5> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) return fmt::format("{} {}", bytes, page.dim("B"));
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
    return fmt::format("{:.2f} {}", value, page.dim(kUnits[unit]));
}

// What comes from the daemon is shown as text whatever it is.
std::string shown_of(const json& object, const char* key) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end() || found->is_null()) return {};
    return printable(found->is_string() ? found->get<std::string>() : found->dump(), 200);
}

const json& member(const json& object, const char* key) {
    static const json kNone;
    const auto found = object.is_object() ? object.find(key) : object.end();
    return object.is_object() && found != object.end() ? *found : kNone;
}

// "io_uring" or "epoll (io_uring is refused by the sandbox)"
std::string with_reason(const json& choice) {
    const std::string name = shown_of(choice, "name"), reason = shown_of(choice, "reason");
    return reason.empty() ? name : fmt::format("{} ({})", name, reason);
}

void put_offloads(Page& page, const json& offloads) {
    if (!offloads.is_object() || offloads.empty()) return;
    std::string on;
    std::vector<std::pair<std::string, std::string>> off;
    for (const auto& [name, state] : offloads.items()) {
        if (member(state, "on") == json(true)) {
            on += (on.empty() ? "" : ", ") + printable(name);
        } else {
            off.emplace_back(printable(name), shown_of(state, "reason"));
        }
    }
    page.line("offloads", on.empty() ? "none" : on);
    for (const auto& [name, reason] : off)
        page.line("offload off", reason.empty() ? name : fmt::format("{} ({})", name, reason));
}

std::string_view meaning_of(std::string_view counter) {
    const auto found = std::find_if(kCounterInfo.begin(), kCounterInfo.end(),
                                    [&](const CounterInfo& info) { return info.name == counter; });
    return found == kCounterInfo.end() ? std::string_view() : found->meaning;
}

std::uint64_t count_of(const json& value) {
    return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
}

void put_counters(Page& page, const json& counters) {
    if (!counters.is_object()) return;
    for (const auto& [name, value] : counters.items()) {
        if (count_of(value) == 0) continue;
        const auto meaning = meaning_of(name);
        page.line("counted", fmt::format("{} {}{}", count_of(value), printable(name),
                                         meaning.empty() ? "" : fmt::format(" ({})", meaning)));
    }
}

void put_handshakes(Page& page, const json& handshakes) {
    std::string text;
    if (!handshakes.is_object()) return;
    for (const auto& [name, value] : handshakes.items()) {
        if (count_of(value) != 0)
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count_of(value), printable(name));
    }
    if (!text.empty()) page.line("handshakes", text);
}

// Nothing with one worker, and with more as long as none has helped another.
void put_hand_over(Page& page, const json& hand_over) {
    const std::uint64_t tasks = count_of(member(hand_over, "tasks"));
    if (tasks == 0) return;
    page.line("handed over", fmt::format("{} trains, {} waits for a worker without CPU", tasks,
                                         count_of(member(hand_over, "stalls"))));
}

// Nothing as long as every record is kept.
void put_audit(Page& page, const json& audit) {
    const std::uint64_t lost = count_of(member(audit, "lost"));
    const std::string failure = shown_of(audit, "failure");
    if (failure.empty() && lost == 0) return;
    page.line("audit", failure.empty()
                           ? lost == 1 ? "1 record was lost" : fmt::format("{} records were lost", lost)
                       : lost == 0 ? failure
                                   : fmt::format("{} ({} were lost)", failure, lost));
}

void put_vern(Page& page, const json& vern) {
    if (!vern.is_object()) return;
    if (const auto version = shown_of(vern, "version"); !version.empty()) page.line("vernd", version);
    if (auto engine = with_reason(member(vern, "engine")); !engine.empty()) {
        const std::uint64_t workers = count_of(member(vern, "workers"));
        if (workers != 0) engine += fmt::format(", {} {}", workers, workers == 1 ? "worker" : "workers");
        const std::uint64_t helpers = count_of(member(vern, "helpers"));
        if (helpers != 0) engine += fmt::format(", {} {}", helpers, helpers == 1 ? "helper" : "helpers");
        page.line("engine", engine);
    }
    put_hand_over(page, member(vern, "hand_over"));
    if (const auto aead = with_reason(member(vern, "aead")); !aead.empty()) page.line("aead", aead);
    if (const auto mtu = count_of(member(vern, "mtu")); mtu != 0) page.line("mtu", std::to_string(mtu));
    if (const json& policy = member(vern, "policy"); policy.is_object())
        page.line("policy", policy_line(policy));
    if (const json& audit = member(vern, "audit"); audit.is_object()) put_audit(page, audit);
    put_offloads(page, member(vern, "offloads"));
    put_handshakes(page, member(vern, "handshakes"));
    put_counters(page, member(vern, "counters"));
}

void put_peer(Page& page, const PeerStatus& peer, const PrettyOptions& options) {
    page.gap();
    page.heading("peer", to_base64(peer.public_key.bytes), kYellow);
    if (!peer.preshared_key.is_zero()) {
        page.line("preshared key", options.show_keys ? to_base64(peer.preshared_key.span()) : "(hidden)");
    }
    if (peer.endpoint.known()) page.line("endpoint", to_text(peer.endpoint));
    std::string prefixes;
    for (const Prefix& prefix : peer.allowed_ips) {
        if (!prefixes.empty()) prefixes += ", ";
        append_text(prefixes, prefix.address);
        prefixes += page.dim("/") + page.dim(std::to_string(prefix.length));
    }
    page.line("allowed ips", prefixes.empty() ? "(none)" : prefixes);
    if (peer.latest_handshake) page.line("latest handshake", ago(*peer.latest_handshake, options.now, page));
    if (peer.receive_bytes != 0 || peer.transmit_bytes != 0) {
        page.line("transfer", fmt::format("{} received, {} sent", bytes_text(peer.receive_bytes, page),
                                          bytes_text(peer.transmit_bytes, page)));
    }
    if (peer.persistent_keepalive_s != 0) {
        page.line("persistent keepalive", "every " + duration_text(peer.persistent_keepalive_s, page));
    }
}

}  // namespace

std::string pretty(const ShownInterface& shown, const PrettyOptions& options) {
    const DeviceStatus& device = shown.device;
    Page page(options.colour);
    page.heading("interface", shown.name, kGreen);
    if (device.private_key) {
        page.line("public key", to_base64(device.public_key.bytes));
        page.line("private key", options.show_keys ? to_base64(device.private_key->span()) : "(hidden)");
    }
    if (device.listen_port != 0) page.line("listening port", std::to_string(device.listen_port));
    if (device.fwmark != 0) page.line("fwmark", fmt::format("0x{:x}", device.fwmark));
    put_vern(page, shown.vern);

    // Who spoke last comes first, as with wg.
    std::vector<const PeerStatus*> peers;
    for (const PeerStatus& peer : device.peers) peers.push_back(&peer);
    std::stable_sort(peers.begin(), peers.end(),
                     [](const auto* a, const auto* b) { return a->latest_handshake > b->latest_handshake; });
    for (const PeerStatus* peer : peers) put_peer(page, *peer, options);
    return page.take();
}

}  // namespace vern::cli
