// vern policy: checks policies, and asks the daemon to apply them.
#include "policy.h"

#include <fmt/format.h>

#include <ctime>

#include "control/api/client.h"
#include "control/api/parameters.h"
#include "control/api/target.h"
#include "control/files.h"
#include "control/policy/control.h"
#include "control/policy/diff.h"
#include "control/policy/evaluate.h"
#include "control/policy/language.h"
#include "control/text.h"
#include "dataplane/runtime/runtime.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;
using nlohmann::json;
using policy::Document;

policy::ClockPair clocks() {
    return {std::chrono::time_point_cast<WallTime::duration>(std::chrono::system_clock::now()),
            boot_time_now()};
}

std::string shown_name(const std::string& file) { return file == "-" ? "standard input" : file; }

struct PolicyFile {
    std::string text;
    Document document;
};

Result<PolicyFile> read_file(const std::string& file) {
    auto text = read_input(file, policy::kPolicyBytesMax);
    if (!text) return tl::unexpected(text.error());
    auto document = policy::parse_policy(*text, shown_name(file), clocks().wall);
    if (!document) return tl::unexpected(document.error());
    return PolicyFile{std::move(*text), std::move(*document)};
}

void print_warnings(const std::vector<std::string>& warnings) {
    for (const std::string& warning : warnings) fmt::print(stderr, "Warning: {}\n", warning);
}

std::string counted(std::size_t n, std::string_view what) {
    return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

Result<std::unique_ptr<const policy::Policy>> compile(const Document& document, const std::string& file) {
    const auto now = clocks();
    return policy::compile_tested(document, policy::rule_set_of(document, now, 1), 1, shown_name(file),
                                  now.boot);
}

int check(const Invocation& invocation, const std::string& file) {
    const auto read = read_file(file);
    if (!read) return refuse(invocation, read.error());
    const Document& document = read->document;
    if (!invocation.has("json")) print_warnings(document.warnings);
    if (const auto compiled = compile(document, file); !compiled) return refuse(invocation, compiled.error());
    if (invocation.has("json")) {
        return print_json({{"ok", true},
                           {"name", document.name},
                           {"rules", document.rules.size()},
                           {"tests", document.tests.size()},
                           {"warnings", document.warnings}});
    }
    fmt::print("{}: ok, {}, {} passed\n", shown_name(file), counted(document.rules.size(), "rule"),
               counted(document.tests.size(), "test"));
    return kSuccess;
}

int test(const Invocation& invocation, const std::string& file) {
    const auto read = read_file(file);
    if (!read) return refuse(invocation, read.error());
    const Document& document = read->document;
    const auto now = clocks();
    const auto compiled = policy::Policy::compile(policy::rule_set_of(document, now, 1), 1);
    if (!compiled) return refuse(invocation, compiled.error());
    const auto failures = policy::failed_tests(document, **compiled, shown_name(file), now.boot);
    if (invocation.has("json")) {
        print_json({{"ok", failures.empty()}, {"tests", document.tests.size()}, {"failed", failures}});
    } else {
        for (const std::string& failure : failures) print_error(failure);
        fmt::print("{}: {} of {} passed\n", shown_name(file), document.tests.size() - failures.size(),
                   counted(document.tests.size(), "test"));
    }
    return failures.empty() ? kSuccess : kFailure;
}

// Of a list in an answer, each fit for a terminal.
std::vector<std::string> texts_of(const json& object, const char* key) {
    std::vector<std::string> texts;
    const auto list = object.find(key);
    if (list == object.end() || !list->is_array()) return texts;
    for (const json& text : *list)
        if (text.is_string()) texts.push_back(printable(text.get<std::string>(), 1000));
    return texts;
}

policy::Difference difference_of(const json& answer) {
    policy::Difference found{.added = texts_of(answer, "added"),
                             .removed = texts_of(answer, "removed"),
                             .changed = {},
                             .other = texts_of(answer, "other")};
    if (const auto changed = answer.find("changed"); changed != answer.end() && changed->is_object()) {
        for (const auto& [id, what] : changed->items())
            found.changed.emplace_back(printable(id, 1000), text_of(*changed, id.c_str()));
    }
    return found;
}

int diff(const Invocation& invocation, const std::string& file) {
    const auto read = read_file(file);
    if (!read) return refuse(invocation, read.error());
    auto answer = ask_daemon(invocation, api::Method::post,
                             api::with_query("/v1/policy/diff", {{"file", shown_name(file)}}), read->text);
    if (!answer) return refuse(invocation, answer.error());
    if (invocation.has("json")) {
        answer->erase("warnings");
        return print_done(std::move(*answer));
    }
    print_warnings(read->document.warnings);
    const bool none = answer->value("none_before", json()) == json(true);
    if (none) fmt::print("* there is no policy yet: from now on everything is denied that no rule allows\n");
    const auto found = difference_of(*answer);
    fmt::print("{}", policy::to_text(found));
    if (found.empty() && !none) fmt::print("no difference\n");
    return kSuccess;
}

void print_state(const json& answer) {
    fmt::print("policy: {}\n", policy_line(answer));
    if (const auto hash = text_of(answer, "hash"); !hash.empty())
        fmt::print("  from: {} (hash {})\n", text_of(answer, "file"), hash);
    if (const auto error = text_of(answer, "error"); !error.empty()) fmt::print("  error: {}\n", error);
    if (answer.contains("pending_s")) {
        fmt::print(
            "  on trial until {} ({} s left); then the previous policy comes back\n  to keep it: vern policy "
            "confirm; to end it now: vern policy rollback\n",
            text_of(answer, "deadline"), number_of(answer, "pending_s"));
    }
}

int print_answer(const Invocation& invocation, const Result<json>& answer) {
    if (!answer) return refuse(invocation, answer.error());
    if (invocation.has("json")) return print_done(*answer);
    print_warnings(texts_of(*answer, "warnings"));
    print_state(*answer);
    return kSuccess;
}

int apply(const Invocation& invocation, const std::string& file) {
    std::vector<std::pair<std::string, std::string>> query{{"file", shown_name(file)}};
    if (invocation.has("confirm")) {
        const auto time =
            parse_duration(invocation.options["confirm"].as<std::string>(), policy::kConfirmMax);
        if (!time) {
            print_error("--confirm: a time from 1s to 24h is wanted (60s, 5m)");
            return kUsage;
        }
        query.emplace_back("confirm", std::to_string(time->count()));
    }
    // Read here first: mistakes are told as of the file that was named, and without the daemon.
    const auto read = read_file(file);
    if (!read) return refuse(invocation, read.error());
    return print_answer(invocation, ask_daemon(invocation, api::Method::put,
                                               api::with_query("/v1/policy", query), read->text));
}

int remove(const Invocation& invocation) {
    if (!invocation.has("allowed-ips-only")) {
        print_error(
            "policy remove: from then on everything passes that allowed IPs let through; --allowed-ips-only "
            "says that this is meant");
        return kUsage;
    }
    return print_answer(invocation, ask_daemon(invocation, api::Method::remove, "/v1/policy"));
}

int counters(const Invocation& invocation) {
    const auto answer = ask_daemon(invocation, api::Method::get, "/v1/policy/counters");
    if (!answer) return refuse(invocation, answer.error());
    if (invocation.has("json")) return print_done(*answer);
    fmt::print("{:<32} {:<4} {:<7} {:>12} {:>14} {:>16}\n", "rule", "", "", "new flows", "packets", "bytes");
    if (const auto rules = answer->find("rules"); rules != answer->end() && rules->is_array()) {
        for (const json& rule : *rules) {
            const auto id = text_of(rule, "id");
            fmt::print("{:<32} {:<4} {:<7} {:>12} {:>14} {:>16}", id.empty() ? "(no rule)" : id,
                       text_of(rule, "direction"), text_of(rule, "action"), number_of(rule, "flows"),
                       number_of(rule, "packets"), number_of(rule, "bytes"));
            if (const auto only = number_of(rule, "would_be"); only > 0) fmt::print("  observed {}", only);
            if (const auto over = number_of(rule, "limited"); over > 0) fmt::print("  over rate {}", over);
            fmt::print("\n");
        }
    }
    return kSuccess;
}

int from_nft(const Invocation& invocation, const std::string& file) {
    NftRequest request{.file = file, .interface = {}, .local = {}, .json = invocation.has("json")};
    if (invocation.has("interface")) request.interface = invocation.options["interface"].as<std::string>();
    if (invocation.has("local")) {
        std::string_view list = invocation.options["local"].as<std::string>();
        while (!list.empty()) {
            const auto word = list.substr(0, list.find(','));
            list.remove_prefix(std::min(list.size(), word.size() + 1));
            const auto prefix = parse_prefix(word);
            if (!prefix) {
                print_error("--local: '" + printable(word) + "' is not an address");
                return kUsage;
            }
            request.local.push_back(*prefix);
        }
    }
    return run_from_nft(request);
}

int run_policy(const Invocation& invocation) {
    const std::string& what = invocation.operands[0];
    const bool with_file = invocation.operands.size() == 2;
    const std::string file = with_file ? invocation.operands[1] : "";
    const auto wants_file = [&](bool wanted) {
        if (wanted != with_file)
            print_error(wanted ? "policy " + what + ": which file? (- is standard input)"
                               : "policy " + what + ": '" + file + "' is too much");
        return wanted == with_file;
    };
    for (const auto& [option, command] : {std::pair("confirm", "apply"), std::pair("local", "from-nft"),
                                          std::pair("allowed-ips-only", "remove")}) {
        if (!invocation.has(option) || what == command) continue;
        print_error(fmt::format("--{} belongs to policy {}", option, command));
        return kUsage;
    }
    for (const auto& [name, run] : {std::pair("check", &check), std::pair("diff", &diff),
                                    std::pair("apply", &apply), std::pair("test", &test)}) {
        if (what == name) return wants_file(true) ? run(invocation, file) : kUsage;
    }
    if (what == "from-nft") return wants_file(true) ? from_nft(invocation, file) : kUsage;
    for (const auto& [name, method, target] :
         {std::tuple("confirm", api::Method::post, "/v1/policy/confirm"),
          std::tuple("rollback", api::Method::post, "/v1/policy/rollback"),
          std::tuple("show", api::Method::get, "/v1/policy")}) {
        if (what == name)
            return wants_file(false) ? print_answer(invocation, ask_daemon(invocation, method, target))
                                     : kUsage;
    }
    if (what == "remove") return wants_file(false) ? remove(invocation) : kUsage;
    if (what == "counters") return wants_file(false) ? counters(invocation) : kUsage;
    print_error("no command 'policy " + what + "' (vern help policy)");
    return kUsage;
}

void declare(po::options_description& options) {
    declare_interface(options);
    options.add_options()("confirm", po::value<std::string>()->value_name("TIME"),
                          "apply: go back after TIME (60s, 5m) unless `vern policy confirm` comes first")(
        "allowed-ips-only", "remove: yes, plain WireGuard is what is wanted")(
        "local", po::value<std::string>()->value_name("LIST"),
        "from-nft: this host's addresses in the tunnel, with commas between them")("json,j", "print JSON");
}

}  // namespace

Result<json> ask_daemon(const Invocation& invocation, api::Method method, std::string_view target,
                        std::string_view body) {
    std::string interface;
    if (invocation.has("interface")) {
        interface = invocation.options["interface"].as<std::string>();
    } else {
        auto only = api::only_interface();
        if (!only) return tl::unexpected(only.error());
        interface = *only;
    }
    return api::ask(interface, method, target, body);
}

void declare_interface(po::options_description& options) {
    options.add_options()("interface,i", po::value<std::string>()->value_name("NAME"),
                          "which one; needed only where several interfaces run");
}

Result<json> about_file(Result<json> answer, const std::string& file,
                        const std::vector<std::string>& others) {
    if (answer || answer.error().code != EBADMSG) return answer;
    const std::string& told = answer.error().message;
    if (std::ranges::any_of(others, [&](const auto& other) { return told.starts_with(other + ":"); }))
        return answer;
    return fail((file == "-" ? "standard input" : file) + ": " + told, EBADMSG);
}

int refuse(const Invocation& invocation, const Error& error) {
    if (!invocation.has("json")) return failed(error);
    json lines = json::array();
    std::string_view text = error.message;
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        lines.push_back(line);
        text.remove_prefix(std::min(text.size(), line.size() + 1));
    }
    print_json({{"ok", false}, {"errors", std::move(lines)}});
    return kFailure;
}

int print_json(const json& document) {
    fmt::print("{}\n", document.dump(-1, ' ', false, json::error_handler_t::replace));
    return kSuccess;
}

int print_done(json answer) {
    answer["ok"] = true;
    return print_json(answer);
}

std::string text_of(const json& object, const char* key) {
    if (!object.is_object()) return {};
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? printable(found->get<std::string>(), 1000)
                                                       : std::string();
}

std::string joined(const json& object, const char* key) {
    std::string all;
    for (const std::string& one : texts_of(object, key)) all += (all.empty() ? "" : ", ") + one;
    return all;
}

std::uint64_t number_of(const json& object, const char* key) {
    if (!object.is_object()) return 0;
    const auto found = object.find(key);
    return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string policy_line(const json& summary) {
    const auto state = text_of(summary, "state");
    if (state == "none") return "none: allowed IPs only";
    if (state == "failed") return "COULD NOT BE LOADED: everything is denied (vern policy show)";
    const auto name = text_of(summary, "name");
    std::string line = fmt::format("{}, {}", name.empty() ? "(without a name)" : name,
                                   counted(number_of(summary, "rules"), "rule"));
    if (summary.contains("observe") && summary["observe"] == json(true))
        line += ", observed only: nothing is denied";
    if (summary.contains("pending_s"))
        line += fmt::format(", to be confirmed within {} s", number_of(summary, "pending_s"));
    return line;
}

const Command kPolicy{
    "policy",
    "check | test | diff | apply | from-nft FILE, or confirm | rollback | remove | show | counters",
    "what tunnels let through: check, apply, confirm, roll back",
    "check FILE      read a policy, run its tests, change nothing; needs no daemon\n"
    "test FILE       run its tests only\n"
    "diff FILE       what it would change: rules added (+), removed (-) and changed (~)\n"
    "apply FILE      put it in force; with --confirm 60s the previous one comes back after that time,\n"
    "                unless `vern policy confirm` is called\n"
    "confirm         keep the policy that is on trial\n"
    "rollback        end the trial, or go back to the policy before\n"
    "remove          no policy any more, with --allowed-ips-only: only allowed IPs decide\n"
    "show            which policy is in force\n"
    "counters        what each rule has decided\n"
    "from-nft FILE   write the policy that does what an nftables ruleset does (FILE: nft's own text, or the\n"
    "                output of `nft -j list ruleset`); exit status 3: not all of it could be carried over\n\n"
    "'-' is standard input. The language is described in vern-policy(5).",
    1,
    2,
    declare,
    run_policy};

}  // namespace vern::cli
