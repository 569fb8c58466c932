// What is measured, as Prometheus reads it (text exposition format 0.0.4,
// https://prometheus.io/docs/instrumenting/exposition_formats/). Any thread; nothing is kept between calls.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/api/statistics.h"
#include "control/audit/recorder.h"
#include "control/policy/control.h"
#include "crypto/instant.h"
#include "dataplane/base/counters.h"
#include "dataplane/runtime/service_times.h"

namespace vern::api {

// A series a peer and a rule; of more than this, the first ones are told.
inline constexpr std::size_t kPeersMeasuredMax = 10'000;
inline constexpr std::size_t kRulesMeasuredMax = 10'000;

struct Measured {
    struct Peer {
        std::string key, name;  // name: the policy's for it, or empty
        std::uint64_t receive_bytes = 0, transmit_bytes = 0;
        std::optional<WallTime> latest_handshake;
    };
    std::string engine, aead;
    unsigned workers = 0, helpers = 0;
    std::array<std::uint64_t, kCounterCount> counters{};
    std::vector<std::pair<std::string, bool>> offloads;
    std::vector<std::pair<std::string_view, std::size_t>> queues;
    ServiceTimeCounts service;
    std::size_t identities = 0;
    std::optional<audit::Keeping> audit;  // nothing: without a trail
    std::vector<Peer> peers;
    std::size_t peers_total = 0;
    policy::Measured policy;
    Counts api;
    std::uint64_t tunnel_handshakes_limited = 0;  // where peers prove who they are
};

std::string format_metrics(std::string_view interface, const Measured& measured);

// As it stands between the quotes of a label: backslash, quote and line feed escaped.
std::string label_value(std::string_view text);

}  // namespace vern::api
