#include "control/api/metrics.h"

#include <fmt/format.h>

#include <iterator>

namespace vern::api {
namespace {

using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

class Exposition {
  public:
    explicit Exposition(std::string_view interface) : interface_(label_value(interface)) {}

    // Samples of one family stand together, behind it.
    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        put("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    }
    void sample(std::uint64_t value, Labels labels = {}) { part("", value, labels); }
    // Of a histogram: its name goes on with `suffix`.
    template <typename Value>
    void part(std::string_view suffix, Value value, Labels labels = {}) {
        put("{}{}{{interface=\"{}\"", name_, suffix, interface_);
        for (const auto& [name, text] : labels) put(",{}=\"{}\"", name, label_value(text));
        put("}} {}\n", value);
    }
    void counter(std::string_view name, std::string_view help, std::uint64_t value) {
        family(name, "counter", help);
        sample(value);
    }
    void gauge(std::string_view name, std::string_view help, std::uint64_t value) {
        family(name, "gauge", help);
        sample(value);
    }
    std::string take() { return std::move(text_); }

  private:
    template <typename... Arguments>
    void put(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
        fmt::format_to(std::back_inserter(text_), format, std::forward<Arguments>(arguments)...);
    }

    std::string interface_, name_, text_;
};

// The buckets of a histogram are cumulative, and their ends are seconds.
void put_service_times(Exposition& out, const ServiceTimeCounts& service) {
    constexpr std::string_view kName = "vern_train_service_seconds";
    out.family(kName, "histogram",
               "How long a train of packets is in service, by whole turns of its worker.");
    std::uint64_t trains = 0;
    for (std::size_t i = 0; i < kServiceBuckets; ++i) {
        trains += service.trains[i];
        const bool last = i + 1 == kServiceBuckets;
        const double end_s = static_cast<double>(std::uint64_t{1} << i) * 1e-6;
        out.part("_bucket", trains, {{"le", last ? "+Inf" : fmt::format("{:g}", end_s)}});
    }
    out.part("_sum", static_cast<double>(service.total_ns) * 1e-9);
    out.part("_count", trains);
}

void put_device(Exposition& out, const Measured& measured) {
    out.family("vern_info", "gauge", "What runs: version, I/O engine and AEAD implementation.");
    out.sample(1, {{"version", VERN_VERSION}, {"engine", measured.engine}, {"aead", measured.aead}});
    out.gauge("vern_workers", "Threads that carry packets.", measured.workers);
    out.gauge("vern_helpers", "Threads that only encrypt and decrypt.", measured.helpers);
    out.family("vern_offload_enabled", "gauge", "Whether an offload is in use.");
    for (const auto& [name, on] : measured.offloads) out.sample(on ? 1 : 0, {{"offload", name}});
    out.family("vern_queue_depth", "gauge", "What waits in a queue, over all workers.");
    for (const auto& [name, depth] : measured.queues) out.sample(depth, {{"queue", name}});
    put_service_times(out, measured.service);
    out.gauge("vern_identities", "Identities that peers have proven.", measured.identities);
    for (std::size_t i = 0; i < kCounterCount; ++i)
        out.counter(fmt::format("vern_{}_total", kCounterInfo[i].name), kCounterInfo[i].meaning,
                    measured.counters[i]);
}

void put_audit(Exposition& out, const audit::Keeping& keeping) {
    out.gauge("vern_audit_active", "0 while records of the audit trail are being lost.",
              keeping.failure.empty() ? 1 : 0);
    out.gauge("vern_audit_seq", "Number of the audit trail's last record.", keeping.seq);
    out.counter("vern_audit_lost_total", "Records that the audit trail could not take.", keeping.lost);
    if (keeping.journal_lost)
        out.counter("vern_audit_journal_lost_total", "Records that the journal could not take.",
                    *keeping.journal_lost);
}

void put_peers(Exposition& out, const Measured& measured) {
    out.gauge("vern_peers", "Peers of the interface; no more than 10,000 have series of their own.",
              measured.peers_total);
    const auto each = [&](std::string_view name, std::string_view type, std::string_view help, auto value) {
        out.family(name, type, help);
        for (const Measured::Peer& peer : measured.peers) {
            if (const std::optional<std::uint64_t> number = value(peer))
                out.sample(*number, {{"public_key", peer.key}, {"name", peer.name}});
        }
    };
    using Number = std::optional<std::uint64_t>;
    each("vern_peer_receive_bytes_total", "counter", "Bytes from the peer, without outer IP and UDP headers.",
         [](const auto& peer) -> Number { return peer.receive_bytes; });
    each("vern_peer_transmit_bytes_total", "counter", "Bytes to the peer, without outer IP and UDP headers.",
         [](const auto& peer) -> Number { return peer.transmit_bytes; });
    each("vern_peer_last_handshake_seconds", "gauge",
         "When the last handshake succeeded, in seconds since 1970; not there if none has.",
         [](const auto& peer) -> Number {
             if (!peer.latest_handshake) return std::nullopt;
             const auto since = peer.latest_handshake->time_since_epoch();
             return static_cast<std::uint64_t>(std::chrono::floor<std::chrono::seconds>(since).count());
         });
}

void put_policy(Exposition& out, const policy::Measured& measured) {
    using State = policy::Measured::State;
    out.family("vern_policy_state", "gauge", "1 for the state that the policy is in.");
    for (const auto& [state, name] : {std::pair(State::none, "none"), std::pair(State::active, "active"),
                                      std::pair(State::failed, "failed")})
        out.sample(measured.state == state ? 1 : 0, {{"state", name}});
    out.gauge("vern_policy_generation", "Rises with each policy that is put in force.", measured.generation);
    out.gauge("vern_policy_on_trial", "1 while a policy waits to be confirmed.", measured.on_trial ? 1 : 0);
    out.gauge("vern_policy_observe", "1 while the policy only observes.", measured.observe ? 1 : 0);
    out.gauge("vern_policy_rules", "Rules of the policy; no more than 10,000 have series of their own.",
              measured.rules_total);
    out.gauge("vern_flows", "Live flows.", measured.flows);
    const auto each = [&](std::string_view name, std::string_view help,
                          std::uint64_t policy::RuleCounts::*what) {
        out.family(name, "counter", help);
        for (const auto& rule : measured.rules)
            out.sample(rule.counts.*what,
                       {{"rule", rule.id}, {"direction", rule.direction}, {"action", rule.action}});
    };
    using Of = policy::RuleCounts;
    each("vern_rule_packets_total", "Packets of the rule's flows, and those that it stopped.", &Of::packets);
    each("vern_rule_bytes_total", "Bytes of the rule's flows, and those that it stopped.", &Of::bytes);
    each("vern_rule_flows_total", "New flows that the rule allowed.", &Of::flows);
    each("vern_rule_denied_packets_total", "Packets that the rule stopped.", &Of::denied);
    each("vern_rule_would_deny_packets_total", "Packets that the rule would have stopped (observe).",
         &Of::would_be);
    each("vern_rule_limited_flows_total", "New flows that found no token of the rule's rate.", &Of::limited);
}

void put_api(Exposition& out, const Measured& measured) {
    const Counts& counts = measured.api;
    out.family("vern_api_requests_total", "counter", "Requests to the control API, by route and status.");
    for (const auto& [what, count] : counts.requests) {
        const auto& [route, status] = what;
        out.sample(count, {{"method", route ? name_of(route->method) : ""},
                           {"route", route ? std::string_view(route->pattern) : ""},
                           {"status", std::to_string(status)}});
    }
    out.gauge("vern_api_connections", "Open connections to the control API.", counts.connections);
    out.counter("vern_api_connections_refused_total", "Connections over a limit.",
                counts.connections_refused);
    out.counter("vern_api_handshakes_failed_total", "TLS connections without a valid certificate.",
                counts.handshakes_failed);
    out.family("vern_api_handshakes_limited_total", "counter",
               "Connections turned away because their source had too many handshakes under way, or begun.");
    out.sample(counts.handshakes_limited, {{"listener", "operators"}});
    out.sample(measured.tunnel_handshakes_limited, {{"listener", "peers"}});
    out.counter("vern_api_requests_delayed_total", "Requests that waited for their turn.",
                counts.requests_delayed);
    out.counter("vern_api_timeouts_total", "Clients that were too slow.", counts.timeouts);
    out.gauge("vern_api_event_clients", "Clients that listen to events.", counts.event_clients);
    out.counter("vern_api_event_clients_cut_total", "Clients that were too slow to take their events.",
                counts.event_clients_cut);
    out.counter("vern_api_events_total", "Events published.", counts.events_published);
}

}  // namespace

std::string label_value(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\\' || c == '"') out += '\\';
        if (c == '\n')
            out += "\\n";
        else
            out += c;
    }
    return out;
}

std::string format_metrics(std::string_view interface, const Measured& measured) {
    Exposition out(interface);
    put_device(out, measured);
    put_peers(out, measured);
    put_policy(out, measured.policy);
    if (measured.audit) put_audit(out, *measured.audit);
    put_api(out, measured);
    return out.take();
}

}  // namespace vern::api
