#include "control/audit/ecs.h"

#include "control/audit/sentence.h"
#include "control/json.h"

namespace vern::audit {
namespace {

using nlohmann::json;

struct Meaning {
    const char* category;
    const char* type;
    const char* outcome;
};

// event.category, event.type and event.outcome are out of the schema's own lists.
Meaning meaning_of(Kind kind) {
    switch (kind) {
        case Kind::flow_allowed:
        case Kind::would_deny: return {"network", "allowed", "success"};
        case Kind::flow_denied:
        case Kind::flow_rejected: return {"network", "denied", "failure"};
        case Kind::policy_loaded:
        case Kind::policy_confirmed:
        case Kind::policy_rolled_back:
        case Kind::policy_removed:
        case Kind::trust_changed: return {"configuration", "change", "success"};
        case Kind::policy_refused: return {"configuration", "change", "failure"};
        case Kind::identity_bound: return {"authentication", "start", "success"};
        case Kind::identity_refused: return {"authentication", "start", "failure"};
        case Kind::identity_ended: return {"authentication", "end", "success"};
        case Kind::handshake_failed: return {"authentication", "start", "failure"};
        case Kind::roamed: return {"network", "change", "success"};
        case Kind::limit: return {"network", "denied", "failure"};
        case Kind::records_lost: return {"process", "error", "failure"};
        case Kind::started: return {"process", "start", "success"};
        case Kind::stopped: return {"process", "end", "success"};
    }
    return {"process", "info", "unknown"};
}

void put(json& document, const char* pointer, const std::string& value) {
    if (!value.empty()) document[json::json_pointer(pointer)] = value;
}
void put(json& document, const char* pointer, const Record::Number& value) {
    if (value) document[json::json_pointer(pointer)] = *value;
}

}  // namespace

std::string ecs_of(const Record& record) {
    const Meaning meaning = meaning_of(record.kind);
    json document{{"@timestamp", time_text(record.time)},
                  {"ecs", {{"version", kEcsVersion}}},
                  {"message", sentence_of(record)},
                  {"event",
                   {{"kind", "event"},
                    {"category", {meaning.category}},
                    {"type", {meaning.type}},
                    {"outcome", meaning.outcome},
                    {"action", name_of(record.kind)},
                    {"sequence", record.seq},
                    {"provider", "vern"}}}};
    put(document, "/event/reason", record.reason);
    put(document, "/host/name", record.host);
    put(document, "/rule/id", record.rule);
    put(document, "/rule/ruleset", record.policy_version);
    put(document, "/rule/version", record.policy_hash);
    // From where a host is watched, as the schema wants it of a host.
    if (record.direction == "in") put(document, "/network/direction", std::string("ingress"));
    if (record.direction == "out") put(document, "/network/direction", std::string("egress"));
    put(document, "/network/transport", record.protocol == "icmpv6" ? "ipv6-icmp" : record.protocol);
    put(document, "/network/packets", record.packets);
    put(document, "/network/bytes", record.bytes);
    put(document, "/source/ip", record.src);
    put(document, "/source/port", record.src_port);
    put(document, "/destination/ip", record.dst);
    put(document, "/destination/port", record.dst_port);
    put(document, "/user/name", record.by);
    put(document, "/vern/interface", record.interface);
    put(document, "/vern/peer/name", record.peer);
    put(document, "/vern/peer/key", record.peer_key);
    put(document, "/vern/identity/name", record.identity);
    put(document, "/vern/identity/issuer", record.issuer);
    put(document, "/vern/identity/serial", record.serial);
    put(document, "/vern/identity/not_after", record.not_after);
    put(document, "/vern/suppressed", record.suppressed);
    put(document, "/vern/detail", record.detail);
    return document.dump(-1, ' ', true, json::error_handler_t::replace);
}

}  // namespace vern::audit
