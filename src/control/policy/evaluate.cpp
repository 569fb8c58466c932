#include "control/policy/evaluate.h"

#include <algorithm>
#include <array>

#include "control/policy/service_text.h"
#include "control/text.h"
#include "crypto/blake2s.h"

namespace vern::policy {
namespace {

constexpr std::string_view kQuestionForm =
    "as in 'in web-1 tcp 10.100.0.2:40000 > 10.100.0.1:3306', or 'out web-1 icmp 10.100.0.1 > 10.100.0.2 "
    "echo-request'";

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    while (!text.empty()) {
        const auto end = text.find_first_of(" \t>");
        if (end != 0) words.emplace_back(text.substr(0, end));
        if (end != std::string_view::npos && text[end] == '>') words.emplace_back(">");
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return words;
}

struct End {
    IpAddress address;
    std::optional<std::uint16_t> port;
};

Result<End> parse_end(std::string_view text) {
    if (const auto address = parse_address(text)) return End{*address, std::nullopt};
    const bool brackets = text.starts_with('[');
    const auto colon = text.rfind(':');
    const auto wrong = fail("'" + printable(text) +
                            "' is not an address, or an address and a port (10.0.0.1:80, [fd00::1]:80)");
    if (colon == std::string_view::npos || (brackets && (colon < 3 || text[colon - 1] != ']'))) return wrong;
    const auto address = parse_address(brackets ? text.substr(1, colon - 2) : text.substr(0, colon));
    const auto port = parse_port(text.substr(colon + 1));
    if (!address || !port || brackets != (address->family == Family::v6)) return wrong;
    return End{*address, *port};
}

std::string_view word_of(Action action) {
    return action == Action::allow ? "allow" : action == Action::deny ? "deny" : "reject";
}

Result<void> set_service(Question& question, const std::vector<std::string>& words, const End& from,
                         const End& to) {
    const std::string_view name = words[2];
    const auto protocol = parse_protocol(name.starts_with("proto/") ? name.substr(6) : name);
    if (!protocol) return fail("'" + printable(name) + "' is no protocol (tcp, udp, icmp, icmpv6, proto/47)");
    question.key.protocol = *protocol;
    const bool in = question.direction == Direction::in;
    if (*protocol == kTcp || *protocol == kUdp) {
        if (!to.port) return fail("which port? " + std::string(kQuestionForm));
        if (words.size() > 6) return fail("'" + printable(words[6]) + "' is too much");
        question.port = *to.port;
        question.key.remote_port = in ? from.port.value_or(0) : *to.port;
        question.key.local_port = in ? *to.port : from.port.value_or(0);
        return {};
    }
    if (from.port || to.port) return fail(std::string(name) + " has no ports");
    if (*protocol != kIcmp && *protocol != kIcmp6) return {};
    const bool v6 = *protocol == kIcmp6;
    if (v6 != question.key.v6) return fail("icmp is for IPv4 addresses, icmpv6 for IPv6");
    const auto service = parse_service((v6 ? "icmpv6/" : "icmp/") +
                                       (words.size() > 6 ? words[6] : std::string("echo-request")));
    if (!service) return tl::unexpected(service.error());
    question.port = service->first_port;
    if (question.port == (v6 ? 128 : 8) * 256) question.key.asks = in ? 1 : 2;
    return {};
}

// Stands for somebody who has proven just this; nobody's key.
PublicKey test_peer(const Selector& selector) {
    PublicKey peer;
    const std::string text = "test " + to_text(selector);
    blake2s::hash(peer.bytes, {std::as_bytes(std::span(text))});
    return peer;
}

PublicKey nobody(std::size_t set) {
    PublicKey peer;
    const std::string text = "set " + std::to_string(set);
    blake2s::hash(peer.bytes, {std::as_bytes(std::span(text))});
    return peer;
}

// Rules for identities take room once somebody has them; whether there is room is to be known before.
void fill_sets(const Document& document, RuleSet& rules) {
    for (std::size_t i = 0; i < document.member_sets.size(); ++i) {
        if (!document.member_sets[i].selectors.empty()) rules.peer_sets[i].push_back(nobody(i));
    }
}

void add_test_identities(const Document& document, RuleSet& rules) {
    for (const DocumentTest& test : document.tests) {
        if (!test.holds) continue;
        const trust::Identity identity = example_of(*test.holds);
        for (std::size_t i = 0; i < document.member_sets.size(); ++i) {
            if (std::ranges::any_of(document.member_sets[i].selectors,
                                    [&](const Selector& one) { return matches(one, identity); }))
                rules.peer_sets[i].push_back(test_peer(*test.holds));
        }
    }
}

}  // namespace

Result<Question> parse_question(std::string_view text, const Document& document) {
    const auto words = words_of(text);
    if (words.size() < 6 || words.size() > 7 || words[4] != ">")
        return fail("not understood: " + std::string(kQuestionForm));
    Question question;
    if (words[0] != "in" && words[0] != "out")
        return fail("'" + printable(words[0]) + "' is neither in nor out");
    question.direction = words[0] == "in" ? Direction::in : Direction::out;
    std::string_view peer = words[1];
    if (peer.starts_with("peer:")) peer.remove_prefix(5);
    question.peer_text = peer;
    if (const auto found = document.peers.find(peer); found != document.peers.end()) {
        question.peer = found->second;
    } else if (peer != "-" && !from_base64(peer, question.peer.bytes)) {
        return fail(
            "unknown peer '" + printable(peer) +
            "': neither a name of the policy's [peers] nor a public key (- is for one that no rule names)");
    }
    const auto from = parse_end(words[3]);
    if (!from) return tl::unexpected(from.error());
    const auto to = parse_end(words[5]);
    if (!to) return tl::unexpected(to.error());
    if (from->address.family != to->address.family) return fail("one address is IPv4, the other IPv6");
    const bool in = question.direction == Direction::in;
    question.key.v6 = from->address.family == Family::v6;
    question.key.remote = (in ? *from : *to).address.bytes;
    question.key.local = (in ? *to : *from).address.bytes;
    if (auto set = set_service(question, words, *from, *to); !set) return tl::unexpected(set.error());
    return question;
}

Ruling decide(const Policy& policy, const Question& question, Instant now, bool heed_observe) {
    Ruling ruling;
    const std::uint32_t peer_class = policy.class_of(question.peer);
    std::uint32_t rank = Policy::kNoRule;
    while ((rank = policy.match(question.direction, peer_class, question.key, question.port, rank)) !=
           Policy::kNoRule) {
        const Rule& rule = policy.rule_of(rank);
        const std::uint32_t index = policy.index_of(rank);
        const bool expired = rule.expires && *rule.expires <= now, watched = heed_observe && rule.observe;
        if (ruling.considered.size() < kConsideredMax)
            ruling.considered.push_back({index, expired ? "expired" : watched ? "observe" : ""});
        if (expired || watched) continue;
        ruling.action = rule.action;
        ruling.index = index;
        return ruling;
    }
    return ruling;
}

std::vector<std::string> failed_tests(const Document& document, const Policy& policy,
                                      std::string_view file_name, Instant now) {
    std::vector<std::string> lines;
    for (const DocumentTest& test : document.tests) {
        const Question question{.direction = test.direction,
                                .peer = test.holds ? test_peer(*test.holds) : test.peer,
                                .peer_text = {},
                                .key = test.key,
                                .port = test.port};
        const Ruling ruling = decide(policy, question, now, false);
        const Action wanted = test.expect == Expectation::allow  ? Action::allow
                              : test.expect == Expectation::deny ? Action::deny
                                                                 : Action::reject;
        if (ruling.action == wanted) continue;
        const std::string by = ruling.index == Policy::kNoRule
                                   ? "no rule allows it"
                                   : "rule '" + document.rules[ruling.index].id + "' on line " +
                                         std::to_string(document.rules[ruling.index].at.line);
        lines.push_back(std::string(file_name) + ":" + std::to_string(test.at.line) + ":" +
                        std::to_string(test.at.column) + ": test failed: " + test.text + ": " +
                        std::string(word_of(wanted)) + " is expected, and it is " +
                        std::string(word_of(ruling.action)) + " (" + by + ")");
    }
    return lines;
}

std::string crowded_text(const Document& document, const Policy& policy) {
    return "peers are in too many different combinations of groups and identities, and there are no lookups "
           "left for " +
           std::to_string(policy.crowded().size()) + " of them, as that of " +
           document.peer_name(policy.crowded().front()) + ": put peers of the same rights into one group";
}

Result<std::unique_ptr<const Policy>> compile_tested(const Document& document, RuleSet rules,
                                                     unsigned workers, std::string_view file_name,
                                                     Instant now) {
    add_test_identities(document, rules);
    fill_sets(document, rules);
    auto policy = Policy::compile(std::move(rules), workers);
    if (!policy) return fail(std::string(file_name) + ": " + policy.error().message, policy.error().code);
    if (!(*policy)->crowded().empty())
        return fail(std::string(file_name) + ": " + crowded_text(document, **policy), E2BIG);
    const auto failed = failed_tests(document, **policy, file_name, now);
    if (failed.empty()) return policy;
    std::string text;
    for (std::size_t i = 0; i < failed.size() && i < 10; ++i) text += (i == 0 ? "" : "\n") + failed[i];
    if (failed.size() > 10)
        text += "\n" + std::string(file_name) + ": and " + std::to_string(failed.size() - 10) + " more";
    return fail(text);
}

}  // namespace vern::policy
