#include "coverage.h"

#include <fmt/format.h>

namespace vern::sim {

void Coverage::merge(const Coverage& other) noexcept {
    worlds += other.worlds;
    events += other.events;
    virtual_seconds += other.virtual_seconds;
    packets_sent += other.packets_sent;
    packets_delivered += other.packets_delivered;
    datagrams += other.datagrams;
    handshakes += other.handshakes;
    rekeys += other.rekeys;
    endpoint_moves += other.endpoint_moves;
    keepalives += other.keepalives;
    recoveries += other.recoveries;
    order_checks += other.order_checks;
    for (std::size_t i = 0; i < kFaultCount; ++i) faults[i] += other.faults[i];
    for (std::size_t i = 0; i < kCounterCount; ++i) counters[i] += other.counters[i];
}

std::string Coverage::report() const {
    std::string out = fmt::format(
        "{} worlds, {} virtual minutes, {} events\n"
        "  packets sent {}, delivered {}, order checked {}; datagrams {}\n"
        "  handshakes {} (rekeys {}), keepalives {}, endpoint moves {}, recoveries {}\n",
        worlds, virtual_seconds / 60, events, packets_sent, packets_delivered, order_checks, datagrams,
        handshakes, rekeys, keepalives, endpoint_moves, recoveries);
    const auto list = [&out](std::string_view title, const auto& names, const auto& values) {
        out += fmt::format("  {}:", title);
        std::size_t column = 0;
        for (std::size_t i = 0; i < values.size(); ++i)
            out += fmt::format("{}{} {}", column++ % 6 == 0 ? "\n    " : ", ", names(i), values[i]);
        out += '\n';
    };
    list(
        "faults", [](std::size_t i) { return kFaultNames[i]; }, faults);
    list(
        "counters of the core", [](std::size_t i) { return kCounterInfo[i].name; }, counters);
    return out;
}

std::vector<std::string> Coverage::missing() const {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < kFaultCount; ++i) {
        if (faults[i] == 0) names.push_back(fmt::format("fault {}", kFaultNames[i]));
    }
    for (std::size_t i = 0; i < kCounterCount; ++i) {
        // Of what a policy may say the worlds know allowed and denied flows, changes, and TCP in midstream;
        // the rest is in the gate's tests.
        const std::string_view name = kCounterInfo[i].name;
        if (name.starts_with("policy_") && name != "policy_no_rule" && name != "policy_no_flow" &&
            name != "policy_denied" && name != "policy_flow_cut" && name != "policy_picked_up")
            continue;
        // Eight sessions for each of a million peers would have to be in use at once; nobody here moves five
        // times in a few seconds, and nobody's routing leads his own datagrams into the tunnel.
        const auto counter = static_cast<Counter>(i);
        if (counters[i] == 0 && counter != Counter::handshake_no_memory &&
            counter != Counter::endpoint_held && counter != Counter::tun_loop)
            names.push_back(fmt::format("counter {}", kCounterInfo[i].name));
    }
    return names;
}

}  // namespace vern::sim
