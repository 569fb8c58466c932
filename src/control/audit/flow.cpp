#include "control/audit/flow.h"

#include <fmt/format.h>

#include "control/policy/service_text.h"
#include "control/text.h"

namespace vern::audit {
namespace {

std::string address_text(const std::array<std::byte, 16>& bytes, bool v6) {
    return to_text(v6 ? IpAddress::v6(std::span<const std::byte, 16>(bytes))
                      : IpAddress::v4(std::span(bytes).first<4>()));
}

Kind kind_of(const policy::LogRecord& logged) {
    if (logged.would_be) return Kind::would_deny;
    switch (logged.verdict) {
        case policy::Verdict::pass: return Kind::flow_allowed;
        case policy::Verdict::drop: return Kind::flow_denied;
        case policy::Verdict::reject: return Kind::flow_rejected;
    }
    return Kind::flow_denied;
}

}  // namespace

Record flow_record(const policy::LogRecord& logged, const std::optional<PublicKey>& peer,
                   const policy::InForce& policy, const policy::ClockPair& now) {
    const bool in = logged.direction == policy::Direction::in;
    const bool current = policy.document && logged.generation == policy.generation;
    Record record;
    record.time = now.wall - (now.boot - logged.at);
    record.kind = kind_of(logged);
    record.direction = in ? "in" : "out";
    record.protocol = policy::protocol_text(logged.key.protocol);
    const std::string remote = address_text(logged.key.remote, logged.key.v6),
                      local = address_text(logged.key.local, logged.key.v6);
    record.src = in ? remote : local;
    record.dst = in ? local : remote;
    if (logged.key.protocol == policy::kTcp || logged.key.protocol == policy::kUdp) {
        record.src_port = in ? logged.key.remote_port : logged.key.local_port;
        record.dst_port = in ? logged.key.local_port : logged.key.remote_port;
    } else if (logged.key.protocol == policy::kIcmp || logged.key.protocol == policy::kIcmp6) {
        record.detail = fmt::format("type {} code {}", logged.port / 256, logged.port % 256);
    }
    if (peer) {
        record.peer_key = to_base64(peer->bytes);
        if (current) record.peer = policy.document->peer_name(*peer);
        if (record.peer == record.peer_key) record.peer.clear();
    }
    if (current) {
        record.policy_version = policy.document->name;
        record.policy_hash = policy.hash;
        if (logged.rule < policy.document->rules.size()) record.rule = policy.document->rules[logged.rule].id;
    }
    if (logged.reason != Counter::count)
        record.reason = kCounterInfo[static_cast<std::size_t>(logged.reason)].name;
    return record;
}

}  // namespace vern::audit
