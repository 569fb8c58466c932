// vern flows, vern explain: what passes now, and what would.
#include <fmt/format.h>

#include "control/api/target.h"
#include "control/text.h"
#include "policy.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;
using nlohmann::json;

std::string end_text(const json& flow, const char* address, const char* port) {
    std::string text = text_of(flow, address);
    const auto number = number_of(flow, port);
    if (number == 0) return text;
    return text.find(':') == std::string::npos ? fmt::format("{}:{}", text, number)
                                               : fmt::format("[{}]:{}", text, number);
}

void print_flow(const json& flow) {
    const bool in = text_of(flow, "direction") == "in";
    const auto remote = end_text(flow, "remote", "remote_port"),
               local = end_text(flow, "local", "local_port");
    const auto rule = text_of(flow, "rule");
    fmt::print("{:<3} {} {} {} > {} {} rule {} {}/{} packets {}/{} bytes idle {:.1f} s\n", in ? "in" : "out",
               text_of(flow, "peer"), text_of(flow, "protocol"), in ? remote : local, in ? local : remote,
               text_of(flow, "state"), rule.empty() ? "-" : rule, number_of(flow, "packets_in"),
               number_of(flow, "packets_out"), number_of(flow, "bytes_in"), number_of(flow, "bytes_out"),
               static_cast<double>(number_of(flow, "idle_ms")) / 1000);
}

int run_flows(const Invocation& invocation) {
    std::vector<std::pair<std::string, std::string>> query;
    if (invocation.has("peer")) query.emplace_back("peer", invocation.options["peer"].as<std::string>());
    if (invocation.has("port")) {
        const auto port = parse_port(invocation.options["port"].as<std::string>());
        if (!port) {
            print_error("--port: a number from 0 to 65535 is wanted");
            return kUsage;
        }
        query.emplace_back("port", std::to_string(*port));
    }
    const auto answer = ask_daemon(invocation, api::Method::get, api::with_query("/v1/flows", query));
    if (!answer) return failed(answer.error());
    if (invocation.has("json")) return print_done(*answer);
    if (const auto flows = answer->find("flows"); flows != answer->end() && flows->is_array()) {
        for (const json& flow : *flows) print_flow(flow);
        if (answer->contains("more") && (*answer)["more"] == json(true))
            fmt::print(stderr, "vern: of {} flows only {} are shown (--peer, --port)\n",
                       number_of(*answer, "live"), flows->size());
    }
    return kSuccess;
}

void declare_flows(po::options_description& options) {
    declare_interface(options);
    options.add_options()("peer", po::value<std::string>()->value_name("PEER"),
                          "of this peer only: its name in the policy, or its key")(
        "port", po::value<std::string>()->value_name("PORT"), "to this port only")("json,j", "print JSON");
}

std::string rule_text(const json& rule) {
    return fmt::format("rule {} (line {}, {})", text_of(rule, "id"), number_of(rule, "line"),
                       text_of(rule, "action"));
}

// A rule, or what there is instead.
std::string decided_by(const json& answer) {
    auto reason = text_of(answer, "reason");
    if (const auto rule = answer.find("rule"); rule != answer.end() && rule->is_object())
        return rule_text(*rule) + (reason.empty() ? "" : " (" + reason + ")");
    constexpr std::string_view kDenied = "packet denied: ";
    if (reason.starts_with(kDenied)) reason.erase(0, kDenied.size());
    const auto state = text_of(answer, "policy");
    const bool allowed = text_of(answer, "verdict") == "allow";
    if (state == "failed" && answer.contains("rule")) return "the policy could not be loaded";
    if (!reason.empty()) return reason;
    return allowed ? "there is no policy, only allowed IPs decide" : "no rule allows it";
}

int run_explain(const Invocation& invocation) {
    std::string question;
    for (const std::string& word : invocation.operands) question += (question.empty() ? "" : " ") + word;
    const auto answer =
        ask_daemon(invocation, api::Method::get, api::with_query("/v1/explain", {{"q", question}}));
    if (!answer) return failed(answer.error());
    if (invocation.has("json")) return print_done(*answer);
    fmt::print("{}: {}\n", text_of(*answer, "verdict"), decided_by(*answer));
    if (answer->contains("known_peer") && (*answer)["known_peer"] == json(false) &&
        question.find(" - ") == std::string::npos)
        fmt::print("  but this interface has no such peer{}\n",
                   text_of(*answer, "policy") == "active" ? ": it is what the rules say by themselves" : "");
    if (const auto considered = answer->find("considered");
        considered != answer->end() && considered->is_array()) {
        for (const json& one : *considered) {
            const auto why = text_of(one, "passed_over");
            if (!why.empty()) fmt::print("  passed over: {}: {}\n", rule_text(one), why);
        }
    }
    if (answer->contains("observe") && (*answer)["observe"] == json(true))
        fmt::print("  but the policy is only observed: it would be denied, and passes\n");
    if (const auto counts = answer->find("counters"); counts != answer->end()) {
        fmt::print("  so far: {} new flows, {} packets, {} bytes\n", number_of(*counts, "flows"),
                   number_of(*counts, "packets"), number_of(*counts, "bytes"));
    }
    if (answer->contains("live") && (*answer)["live"].is_string())
        fmt::print("  there is such a flow now: {}\n", text_of(*answer, "live"));
    return kSuccess;
}

void declare_explain(po::options_description& options) {
    declare_interface(options);
    options.add_options()("json,j", "print JSON");
}

}  // namespace

const Command kFlows{"flows",
                     "[--peer PEER] [--port PORT]",
                     "the flows that the policy has let through",
                     "Shows each live flow: which way it began, its peer, protocol and ends, its state, the "
                     "rule that allowed it,\n"
                     "packets and bytes in and out, and for how long it has been silent.",
                     0,
                     0,
                     declare_flows,
                     run_flows};

const Command kExplain{"explain",
                       "'in PEER PROTOCOL ADDRESS:PORT > ADDRESS:PORT'",
                       "what the policy says to a new flow, and why",
                       "Asks the running daemon what it would do with a new flow: which rule decides, on "
                       "which line of the policy,\n"
                       "what it has counted, and which rules were passed over and why. For example\n\n"
                       "  vern explain 'in web-1 tcp 10.100.0.2:40000 > 10.100.0.1:3306'\n"
                       "  vern explain 'out web-1 icmp 10.100.0.1 > 10.100.0.2 echo-request'\n\n"
                       "PEER is a name of the policy, a public key, or - for one that no rule names.",
                       1,
                       16,
                       declare_explain,
                       run_explain};

}  // namespace vern::cli
