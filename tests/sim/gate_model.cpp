#include "gate_model.h"

#include <algorithm>

namespace vern::sim {
namespace {

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kSyn = 2, kAck = 16;
constexpr Seconds kPickUp = 60, kFragment = 30, kUnanswered = 30, kAnswered = 120, kTcpMost = 24 * 3600;

}  // namespace

void GateModel::restart(Seconds now) {
    flows_.clear();
    datagrams_.clear();
    buckets_.clear();
    pick_up_until_ = now + kPickUp;
    evicted_ = false;
}

GateModel::Key GateModel::key_of(bool in, const ModelPacket& packet) {
    if (in) return {packet.from, packet.source_port, packet.to, packet.destination_port, packet.protocol};
    return {packet.to, packet.destination_port, packet.from, packet.source_port, packet.protocol};
}

std::vector<const ModelRule*> GateModel::matching(bool in, unsigned peer, std::uint8_t protocol,
                                                  std::uint16_t port) const {
    std::vector<const ModelRule*> out;
    for (const ModelRule& rule : policy_.rules) {
        if (rule.in == in && (rule.peer == 0 || rule.peer == peer) &&
            (rule.protocol == 0 || rule.protocol == protocol) && port >= rule.first_port &&
            port <= rule.last_port)
            out.push_back(&rule);
    }
    return out;
}

bool GateModel::allowed(bool in, unsigned peer, std::uint8_t protocol, std::uint16_t port) const {
    const auto rules = matching(in, peer, protocol, port);
    return !rules.empty() && std::ranges::all_of(rules, [](const ModelRule* rule) {
        return rule->action == RuleAction::allow;
    });
}

bool GateModel::allowed(const Flow& flow, const Key& key) const {
    const auto& [remote, remote_port, local, local_port, protocol] = key;
    // TCP's states time out at different times, which this does not follow: it may have begun anew from the
    // other side.
    const auto begun = [&, protocol = protocol, local_port = local_port, remote_port = remote_port](bool in) {
        return allowed(in, flow.peer, protocol, in ? local_port : remote_port);
    };
    return begun(flow.began_in) || ((evicted_ || protocol == kTcp) && begun(!flow.began_in));
}

bool GateModel::rejects(bool in, unsigned peer, const ModelPacket& packet) const {
    const auto first_refusal = [&](bool began_in, std::uint16_t port) {
        for (const ModelRule* rule : matching(began_in, peer, packet.protocol, port))
            if (rule->action != RuleAction::allow) return rule->action == RuleAction::reject;
        return false;
    };
    // A flow that is cut is asked for in the direction in which it began.
    return first_refusal(in, packet.destination_port) || first_refusal(!in, packet.source_port);
}

const GateModel::Flow* GateModel::live(const Key& key, unsigned peer, Seconds now) const {
    const auto at = flows_.find(key);
    if (at == flows_.end() || at->second.peer != peer) return nullptr;
    const Seconds lasts = std::get<4>(key) == kTcp ? kTcpMost : at->second.answered ? kAnswered : kUnanswered;
    return now - at->second.last_seen < lasts ? &at->second : nullptr;
}

// Counted only where one rule alone can have paid: which of several did depends on more than this knows.
bool GateModel::take_token(bool in, unsigned peer, unsigned source, std::uint8_t protocol, std::uint16_t port,
                           Seconds now) {
    const auto rules = matching(in, peer, protocol, port);
    if (rules.size() != 1 || rules[0]->burst == 0) return true;
    const ModelRule& rule = *rules[0];
    const auto [at, fresh] = buckets_.try_emplace({rule.id, source});
    Bucket& bucket = at->second;
    bucket.tokens =
        fresh ? rule.burst : std::min<double>(rule.burst, bucket.tokens + (now - bucket.at) / rule.per_token);
    bucket.at = now;
    if (bucket.tokens < 1 - 1e-6) return false;
    bucket.tokens -= 1;
    ++tokens_taken;
    return true;
}

std::string GateModel::passed(bool in, unsigned peer, const ModelPacket& packet, Seconds now) {
    if (packet.begin > 0) return later_fragment(in, peer, packet, now);
    if (packet.quotes) return error(in, peer, packet, now);
    std::string why = whole(in, peer, packet, now);
    if (why.empty() && packet.is_fragment())
        datagrams_[{in, peer, packet.from, packet.to, packet.protocol, packet.id}] = {
            policy_.generation, now, {{packet.begin, packet.end}}};
    return why;
}

std::string GateModel::whole(bool in, unsigned peer, const ModelPacket& packet, Seconds now) {
    const Key key = key_of(in, packet);
    if (const Flow* known = live(key, peer, now)) {
        Flow& flow = flows_[key];
        if (!allowed(*known, key)) {
            // Over, but the same names may begin anew.
            flows_.erase(key);
            return whole(in, peer, packet, now);
        }
        flow.last_seen = now;
        flow.answered |= in != flow.began_in;
        return {};
    }
    if (!allowed(in, peer, packet.protocol, packet.destination_port)) return "policy";
    if (packet.protocol == kTcp && (packet.tcp_flags & (kSyn | kAck)) != kSyn) {
        if (now >= pick_up_until_) return "pick-up";
        ++picked_up;
    } else if (!take_token(in, peer, packet.from, packet.protocol, packet.destination_port, now)) {
        return "rate";
    }
    flows_[key] = {peer, in, false, now};
    return {};
}

std::string GateModel::later_fragment(bool in, unsigned peer, const ModelPacket& packet, Seconds now) {
    const auto at = datagrams_.find({in, peer, packet.from, packet.to, packet.protocol, packet.id});
    if (at == datagrams_.end() || at->second.generation != policy_.generation ||
        now - at->second.began >= kFragment)
        return "fragment";
    for (const auto& [begin, end] : at->second.pieces)
        if (packet.begin < end && begin < packet.end) return "fragment";
    at->second.pieces.emplace_back(packet.begin, packet.end);
    return {};
}

std::string GateModel::error(bool in, unsigned peer, const ModelPacket& packet, Seconds now) const {
    ModelPacket quoted = packet;
    quoted.from = packet.quoted_from;
    quoted.to = packet.quoted_to;
    quoted.protocol = packet.quoted_protocol;
    const Key key = key_of(!in, quoted);
    const Flow* flow = live(key, peer, now);
    return flow && allowed(*flow, key) ? "" : "related";
}

// What was answered may not be given up for anybody.
std::string GateModel::refused(bool in, unsigned peer, const ModelPacket& packet, Seconds now) {
    if (packet.is_fragment() || packet.quotes) return {};
    const Key key = key_of(in, packet);
    const Flow* flow = live(key, peer, now);
    if (flow == nullptr) return {};
    if (!allowed(*flow, key)) {
        flows_.erase(key);
        return {};
    }
    return flow->answered && !evicted_ && packet.protocol != kTcp ? "given up" : "";
}

}  // namespace vern::sim
