// Control: what it says about the policy in force, its rules, its flows and what it logs. Changes nothing.
#include <fmt/format.h>

#include <algorithm>

#include "control/policy/control.h"
#include "control/policy/language.h"
#include "control/policy/service_text.h"
#include "control/text.h"

namespace vern::policy {
namespace {

using nlohmann::json;

std::string_view word_of(Action action) {
    return action == Action::allow ? "allow" : action == Action::deny ? "deny" : "reject";
}

std::string address_text(const std::array<std::byte, 16>& bytes, bool v6) {
    return to_text(v6 ? IpAddress::v6(std::span<const std::byte, 16>(bytes))
                      : IpAddress::v4(std::span(bytes).first<4>()));
}

json counts_of(const RuleCounts& counts) {
    return {{"flows", counts.flows},   {"packets", counts.packets},   {"bytes", counts.bytes},
            {"denied", counts.denied}, {"would_be", counts.would_be}, {"limited", counts.limited}};
}

}  // namespace

std::string Control::rule_id(std::uint32_t index) const {
    if (!governing_.loaded || index >= governing_.loaded->document.rules.size()) return {};
    return governing_.loaded->document.rules[index].id;
}

std::string Control::peer_name(const PublicKey& key) const {
    return governing_.loaded ? governing_.loaded->document.peer_name(key) : to_base64(key.bytes);
}

json Control::show(bool with_text) const {
    json answer = summary();
    if (governing_.loaded && with_text) answer["text"] = governing_.loaded->text;
    return answer;
}

json Control::rule_json(std::uint32_t index) const {
    if (!governing_.loaded || index >= governing_.loaded->document.rules.size()) return nullptr;
    const DocumentRule& rule = governing_.loaded->document.rules[index];
    return {{"id", rule.id},
            {"line", rule.at.line},
            {"direction", rule.rule.direction == Direction::in ? "in" : "out"},
            {"action", word_of(rule.rule.action)}};
}

Outcome<json> Control::counters() const {
    if (governing_.none()) return refuse(Refused::Why::state, "no policy is in force");
    const auto counts = plane_.counts();
    json rules = json::array();
    for (std::uint32_t i = 0; i < counts.size(); ++i) {
        json entry = i + 1 == counts.size() ? json{{"id", nullptr}, {"action", "deny"}} : rule_json(i);
        if (!entry.is_object()) continue;
        entry.update(counts_of(counts[i]));
        rules.push_back(std::move(entry));
    }
    json answer = summary();
    answer["rules"] = std::move(rules);
    return answer;
}

Measured Control::measured(std::size_t rules_max) const {
    Measured measured{.state = governing_.loaded   ? Measured::State::active
                               : governing_.none() ? Measured::State::none
                                                   : Measured::State::failed,
                      .on_trial = trial_.has_value(),
                      .observe = governing_.loaded && governing_.loaded->document.observe,
                      .generation = governing_.none() ? 0 : generation_,
                      .flows = plane_.live_flows(),
                      .rules_total = governing_.loaded ? governing_.loaded->document.rules.size() : 0,
                      .rules = {}};
    if (governing_.none()) return measured;
    const auto counts = plane_.counts();
    for (std::uint32_t i = 0; i < std::min(measured.rules_total, rules_max) && i + 1 < counts.size(); ++i) {
        const DocumentRule& rule = governing_.loaded->document.rules[i];
        measured.rules.push_back({.id = rule.id,
                                  .direction = rule.rule.direction == Direction::in ? "in" : "out",
                                  .action = word_of(rule.rule.action),
                                  .counts = counts[i]});
    }
    if (!counts.empty())
        measured.rules.push_back({.id = {}, .direction = {}, .action = "deny", .counts = counts.back()});
    return measured;
}

json Control::counts_json(std::uint32_t index) const {
    const auto counts = plane_.counts();
    const std::size_t slot = index == Policy::kNoRule ? counts.size() - 1 : index;
    if (slot >= counts.size()) return nullptr;
    return counts_of(counts[slot]);
}

// Why nothing of the flow gets as far as the rules; empty: it does.
std::string Control::before_rules(const Question& question, const Standing& standing) const {
    if (!standing.known) return {};
    if (!standing.admitted) return "the peer has no session until it has proven who it is";
    if (standing.owner == question.peer) return {};
    return fmt::format("{} is in the allowed IPs of {}", address_text(question.key.remote, question.key.v6),
                       standing.owner ? peer_name(*standing.owner) + ", not of this peer" : "no peer");
}

Outcome<json> Control::explain(std::string_view text) const {
    static const Document kEmpty;
    const Document& document = governing_.loaded ? governing_.loaded->document : kEmpty;
    const auto question = parse_question(text, document);
    if (!question) return refuse(Refused::Why::wrong, question.error().message);
    const Standing standing = plane_.standing(*question);
    json answer{{"verdict", "allow"},
                {"policy", governing_.loaded   ? "active"
                           : governing_.none() ? "none"
                                               : "failed"},
                {"considered", json::array()},
                {"known_peer", standing.known}};
    if (const std::string why = before_rules(*question, standing); !why.empty()) {
        answer["verdict"] = "deny";
        answer["reason"] = why;
    } else if (!governing_.none()) {
        answer.update(explain_rules(*question));
    }
    return answer;
}

json Control::explain_rules(const Question& question) const {
    // The packet path's own answer where the peer is one of the interface's; else what the rules alone say.
    const auto live = plane_.explain(question);
    const Ruling ruling = decide(*published_, question, plane_.now().boot, true);
    json considered = json::array();
    for (const Considered& one : ruling.considered) {
        json entry = rule_json(one.index);
        entry["passed_over"] = one.index == (live ? live->rule : ruling.index) ? std::string()
                               : one.passed_over.empty()                       ? "its rate has no token left"
                                                                               : one.passed_over;
        considered.push_back(std::move(entry));
    }
    const std::uint32_t rule = live ? live->rule : ruling.index;
    const bool observed =
        live ? live->would_be
             : governing_.loaded && governing_.loaded->document.observe && ruling.action != Action::allow;
    const std::string_view verdict = observed || (live && live->allowed) ? "allow"
                                     : !live                             ? word_of(ruling.action)
                                     : live->reject                      ? "reject"
                                                                         : "deny";
    json answer{{"verdict", verdict},
                {"rule", rule_json(rule)},
                {"considered", std::move(considered)},
                {"counters", counts_json(rule)},
                {"observe", observed}};
    if (live && live->reason != Counter::count)
        answer["reason"] = kCounterInfo[static_cast<std::size_t>(live->reason)].meaning;
    if (live && live->live) answer["live"] = name_of(live->live->state);
    if (governing_.loaded) answer["file"] = governing_.loaded->file;
    return answer;
}

json Control::flows(const FlowsWanted& wanted) const {
    const Instant now = plane_.now().boot;
    json flows = json::array();
    bool more = false;
    plane_.each_flow([&](const Flow& flow, const PublicKey& key) {
        const bool in = flow.began == Direction::in;
        const std::uint16_t port = in ? flow.key.local_port : flow.key.remote_port;
        if (wanted.port && *wanted.port != port) return true;
        const std::string peer = peer_name(key);
        if (wanted.peer && *wanted.peer != peer && *wanted.peer != to_base64(key.bytes)) return true;
        if (flows.size() >= wanted.limit) {
            more = true;
            return false;
        }
        const auto idle = std::chrono::duration_cast<std::chrono::milliseconds>(now - flow.last_seen).count();
        flows.push_back(
            {{"direction", in ? "in" : "out"},
             {"peer", peer},
             {"protocol", protocol_text(flow.key.protocol)},
             {"state", name_of(flow.state)},
             {"rule", flow.generation == generation_
                          ? rule_id(flow.rule)
                          : std::string()},  // of an earlier policy: asked again by its next packet
             {"remote", address_text(flow.key.remote, flow.key.v6)},
             {"remote_port", flow.key.remote_port},
             {"local", address_text(flow.key.local, flow.key.v6)},
             {"local_port", flow.key.local_port},
             {"packets_in", flow.packets[0]},
             {"packets_out", flow.packets[1]},
             {"bytes_in", flow.bytes[0]},
             {"bytes_out", flow.bytes[1]},
             {"idle_ms", std::max<std::int64_t>(0, idle)}});
        return true;
    });
    return json{{"flows", std::move(flows)}, {"more", more}, {"live", plane_.live_flows()}};
}

std::string Control::log_line(const LogRecord& record, const std::optional<PublicKey>& peer) const {
    const bool current = governing_.loaded && record.generation == generation_,
               in = record.direction == Direction::in;
    const bool by_rule = record.rule != Policy::kNoRule;
    std::string prefix;
    if (current) {
        const Document& document = governing_.loaded->document;
        prefix = by_rule && record.rule < document.rules.size() && record.reason != Counter::policy_no_rule
                     ? document.rules[record.rule].log_prefix
                     : document.log_denied_prefix;
    }
    const bool icmp = record.key.protocol == kIcmp || record.key.protocol == kIcmp6,
               ports = record.key.protocol == kTcp || record.key.protocol == kUdp;
    const auto end = [&](const std::array<std::byte, 16>& address, std::uint16_t port) {
        const std::string text = address_text(address, record.key.v6);
        return !ports          ? text
               : record.key.v6 ? fmt::format("[{}]:{}", text, port)
                               : fmt::format("{}:{}", text, port);
    };
    const std::string remote = end(record.key.remote, record.key.remote_port),
                      local = end(record.key.local, record.key.local_port);
    std::string line = prefix.empty() ? "policy: " : prefix;
    if (record.would_be) line += "would be ";
    line += record.verdict == ::vern::policy::Verdict::reject                    ? "rejected"
            : record.verdict == ::vern::policy::Verdict::drop || record.would_be ? "denied"
                                                                                 : "allowed";
    line +=
        fmt::format(" {} {} {} {} > {}", in ? "in" : "out", peer ? peer_name(*peer) : "(a peer that is gone)",
                    protocol_text(record.key.protocol), in ? remote : local, in ? local : remote);
    if (icmp) line += fmt::format(" type {} code {}", record.port / 256, record.port % 256);
    if (by_rule) line += ", rule " + (current ? rule_id(record.rule) : std::string("of an earlier policy"));
    if (record.reason != Counter::count)
        line += fmt::format(" ({})", kCounterInfo[static_cast<std::size_t>(record.reason)].meaning);
    return line;
}

}  // namespace vern::policy
