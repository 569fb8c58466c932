#include "control/policy/nft_import.h"

#include <algorithm>
#include <set>

#include "control/policy/language.h"
#include "control/policy/nft_rules.h"
#include "control/policy/rate_text.h"
#include "control/policy/service_text.h"
#include "control/text.h"

namespace vern::policy {
namespace {

using Verdict = NftRule::Verdict;

constexpr std::size_t kComparisonsMax = 20'000'000;

bool matches_nothing(const NftRule& rule) {
    return (!rule.v4 && !rule.v6) || (rule.source && rule.source->empty()) ||
           (rule.destination && rule.destination->empty()) || (rule.services && rule.services->empty());
}

bool asks_nothing(const NftRule& rule) {
    return !rule.source && !rule.destination && !rule.services && rule.unsupported.empty() && !rule.rate &&
           !rule.from_tunnel && !rule.to_tunnel;
}

std::string quoted_list(const std::vector<std::string>& words) {
    std::string text = "[";
    for (const std::string& word : words) text += (text.size() == 1 ? "\"" : ", \"") + word + "\"";
    return text + "]";
}

// A basic string of TOML.
std::string toml_text(std::string_view text) {
    std::string out = "\"";
    for (const char c : printable(text, 64)) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

class Import {
  public:
    Import(NftRuleset ruleset, const NftImportOptions& options)
        : ruleset_(std::move(ruleset)), local_(options.local) {}
    Result<NftImport> run(const std::string& source, const std::string& interface);

  private:
    struct Kept {
        const NftRule* rule;
        Action action;
        bool out = false;  // left out after all
    };

    std::vector<Kept> carry(const std::vector<NftRule>& rules, bool denies);
    void judge_accept(const NftRule& rule, std::vector<Kept>& kept,
                      const std::vector<const NftRule*>& closed);
    void judge_drop(const std::vector<NftRule>& rules, std::size_t index, bool denies,
                    std::vector<Kept>& kept, std::vector<const NftRule*>& closed);
    bool meet(const NftRule& a, const NftRule& b) {
        if (++comparisons_ > kComparisonsMax) return true;
        return overlap(a, b);
    }
    void take_log(const NftRule& rule);
    void write(Direction direction, Action action, NftRule rule, bool host_only);
    void write_forward(const NftRule& rule);
    void unfiltered_output();
    void left_out(const NftRule& rule, const std::string& why) {
        result_.not_carried.push_back(rule.name + " (" + rule.text + "): " + why);
    }
    void warn(std::string what) {
        if (std::find(result_.warnings.begin(), result_.warnings.end(), what) == result_.warnings.end())
            result_.warnings.push_back(std::move(what));
    }

    NftRuleset ruleset_;
    const std::vector<Prefix>& local_;
    NftImport result_;
    std::string body_;
    std::string default_log_;
    std::set<std::string> ids_;
    std::size_t comparisons_ = 0;
};

// A log line of its own, or of the drop at the chain's end: what is denied.
void Import::take_log(const NftRule& rule) {
    if (!rule.log) return;
    const bool everything = !rule.source && !rule.destination && !rule.services && rule.unsupported.empty();
    if (everything)
        default_log_ = *rule.log;
    else if (rule.verdict != Verdict::none)
        warn(rule.name + " (" + rule.text + "): what it drops is denied here as well, and not logged");
    else
        warn(rule.name + " (" + rule.text +
             ") only logs, and is not carried over: rules here log what they decide");
}

void Import::judge_accept(const NftRule& rule, std::vector<Kept>& kept,
                          const std::vector<const NftRule*>& closed) {
    if (!rule.unsupported.empty()) return left_out(rule, rule.unsupported);
    for (const NftRule* before : closed) {
        if (meet(*before, rule))
            return left_out(
                rule, "the rule before it, " + before->name + " (" + before->text +
                          "), cannot be carried over and may drop some of this: " + before->unsupported);
    }
    if (rule.rate && rule.rate->scope == Rate::Scope::rule)
        warn(rule.name +
             ": nft's limit is for everybody together, so one sender can use it up and shut out all others; "
             "write \"per source\" for \"global\"");
    kept.push_back({&rule, Action::allow});
}

void Import::judge_drop(const std::vector<NftRule>& rules, std::size_t index, bool denies,
                        std::vector<Kept>& kept, std::vector<const NftRule*>& closed) {
    const NftRule& rule = rules[index];
    bool needed = false;
    for (std::size_t i = index + 1; i < rules.size() && !needed; ++i)
        needed = rules[i].verdict == Verdict::accept && !matches_nothing(rules[i]) && meet(rule, rules[i]);
    const bool sayable = rule.unsupported.empty() && !rule.rate && denies;
    std::vector<Kept*> against;
    for (Kept& one : kept) {
        if (one.action == Action::allow && !one.out && meet(rule, *one.rule)) against.push_back(&one);
    }
    if (!needed && (!sayable || !against.empty() || asks_nothing(rule))) {
        take_log(rule);
        if (rule.verdict == Verdict::reject)
            warn(rule.name + " (" + rule.text +
                 "): what no rule allows is dropped in silence here, and not rejected");
        return;
    }
    if (!sayable) {
        take_log(rule);
        closed.push_back(&rule);
        return;
    }
    for (Kept* one : against) {
        one->out = true;
        left_out(*one->rule, "it comes before " + rule.name + " (" + rule.text +
                                 "), which drops some of the same; here deny always comes first");
    }
    kept.push_back({&rule, rule.verdict == Verdict::reject ? Action::reject : Action::deny});
}

std::vector<Import::Kept> Import::carry(const std::vector<NftRule>& rules, bool denies) {
    std::vector<Kept> kept;
    std::vector<const NftRule*> closed;  // drops that have no words here
    for (std::size_t i = 0; i < rules.size(); ++i) {
        const NftRule& rule = rules[i];
        if (matches_nothing(rule)) continue;
        if (rule.verdict == Verdict::none)
            take_log(rule);
        else if (rule.verdict == Verdict::accept)
            judge_accept(rule, kept, closed);
        else
            judge_drop(rules, i, denies, kept, closed);
    }
    std::erase_if(kept, [](const Kept& one) { return one.out; });
    return kept;
}

void Import::write(Direction direction, Action action, NftRule rule, bool host_only) {
    const bool in = direction == Direction::in;
    auto &local = in ? rule.destination : rule.source, &remote = in ? rule.source : rule.destination;
    if (!local && host_only && !local_.empty()) local = local_;
    if (local)
        std::erase_if(*local,
                      [&](const Prefix& p) { return !(p.address.family == Family::v4 ? rule.v4 : rule.v6); });
    // Families of which no address is left are not asked for.
    for (const auto* prefixes : {&local, &remote}) {
        if (!*prefixes) continue;
        const auto has = [&](Family family) {
            return std::ranges::any_of(**prefixes,
                                       [&](const Prefix& one) { return one.address.family == family; });
        };
        rule.v4 &= has(Family::v4);
        rule.v6 &= has(Family::v6);
    }
    std::vector<std::string> services;
    bool v4_only = false, v6_only = false;
    for (const Service& service : rule.services.value_or(std::vector<Service>{})) {
        if ((service.protocol == kIcmp && !rule.v4) || (service.protocol == kIcmp6 && !rule.v6)) continue;
        v4_only = service.protocol == kIcmp;
        v6_only = service.protocol == kIcmp6;
        services.push_back(to_text(service));
    }
    if ((rule.services && services.empty()) || (local && local->empty())) return;
    const bool implied = services.size() == 1 && (v4_only || v6_only);
    if (!remote && !local && rule.v4 != rule.v6 && !implied)
        remote = std::vector<Prefix>{
            {rule.v4 ? IpAddress::v4(std::array<std::byte, 4>{}) : IpAddress::v6(std::array<std::byte, 16>{}),
             0}};
    std::string selectors;
    const auto select = [&](const char* key, const std::optional<std::vector<Prefix>>& prefixes) {
        if (!prefixes) return;
        std::vector<std::string> words;
        for (const Prefix& prefix : *prefixes) words.push_back(to_text(prefix));
        selectors += (selectors.empty() ? " " : ", ") + std::string(key) + " = " + quoted_list(words);
    };
    select("from", in ? remote : local);
    select("to", in ? local : remote);
    std::string id = rule.name.substr(0, 48);
    for (char& c : id) {
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '_' || c == '.'))
            c = '_';
    }
    for (int n = 2; !ids_.insert(id).second; ++n) id = id.substr(0, id.find('/')) + "/" + std::to_string(n);
    body_ += "\n# nft: " + printable(rule.text, 400) + "\n[[rule]]\nid = \"" + id + "\"\n" +
             (in ? "in" : "out") + " = {" + selectors + (selectors.empty() ? "}" : " }") + "\n";
    body_ += (action == Action::allow  ? "allow = "
              : action == Action::deny ? "deny = "
                                       : "reject = ") +
             quoted_list(services.empty() ? std::vector<std::string>{"any"} : services) + "\n";
    if (rule.rate && action == Action::allow) body_ += "rate = \"" + to_text(*rule.rate) + "\"\n";
    if (rule.log) body_ += "log = " + (rule.log->empty() ? std::string("true") : toml_text(*rule.log)) + "\n";
    ++result_.rules;
}

// What goes through this host is judged by forward alone there, and here by `in` and `out`, with what comes
// to the host. So a rule that does not say where to would open the host as well.
void Import::write_forward(const NftRule& rule) {
    if (rule.is_policy)
        return warn(
            "forwarding is accepted there where no rule speaks; here it is denied: allow what hosts behind "
            "this one are to be reached by");
    const bool into = !rule.to_tunnel || rule.from_tunnel, out_of = !rule.from_tunnel || rule.to_tunnel;
    if (into && !rule.destination)
        return left_out(rule,
                        "it forwards to any address, this host's own among them: write a rule with the "
                        "addresses in `to`");
    if (out_of && !rule.source)
        return left_out(rule,
                        "it forwards from any address, this host's own among them: write a rule with the "
                        "addresses in `from`");
    if (into) write(Direction::in, Action::allow, rule, false);
    if (out_of) write(Direction::out, Action::allow, rule, false);
}

// Without a filter on the way out nothing is filtered there.
void Import::unfiltered_output() {
    const auto& filtered = ruleset_.output_filtered;
    NftRule rule;
    rule.name = "output-unfiltered";
    rule.text = "no chain at the hook output: nothing is filtered on the way out";
    rule.v4 = !filtered.v4;
    rule.v6 = !filtered.v6;
    if (rule.v4 || rule.v6) write(Direction::out, Action::allow, rule, true);
}

Result<NftImport> Import::run(const std::string& source, const std::string& interface) {
    if (!ruleset_.input_filtered.v4 && !ruleset_.input_filtered.v6)
        return fail("no filter chain at the hook input: there is nothing to carry over");
    for (const auto& [family, has] :
         {std::pair("IPv4", ruleset_.input_filtered.v4), std::pair("IPv6", ruleset_.input_filtered.v6)}) {
        if (!has) warn(std::string(family) + " is not filtered by this ruleset; here it is denied");
    }
    for (const Kept& one : carry(ruleset_.input, true)) write(Direction::in, one.action, *one.rule, true);
    for (const Kept& one : carry(ruleset_.forward, false)) write_forward(*one.rule);
    for (const Kept& one : carry(ruleset_.output, true)) write(Direction::out, one.action, *one.rule, true);
    unfiltered_output();
    if (comparisons_ > kComparisonsMax) return fail("the ruleset is too large to be compared rule by rule");
    const bool forward_drops = std::any_of(
        ruleset_.forward.begin(), ruleset_.forward.end(),
        [](const NftRule& r) { return r.verdict != Verdict::accept && r.verdict != Verdict::none; });
    if (forward_drops && local_.empty())
        result_.not_carried.push_back(
            "forward: what it drops: the rules of input are written for every destination, hosts behind this "
            "one too; say which addresses are this host's own (--local 10.100.0.1)");
    for (std::string& note : ruleset_.notes) warn(std::move(note));

    result_.interface = interface;
    result_.policy =
        "# Written by `vern policy from-nft` from " + printable(source, 200) + ", for the interface " +
        printable(interface) + ".\n" +
        "# Replies and related ICMP pass with their flow (ct state established,related), strays never do (ct "
        "state invalid):\n# that takes no rules here. What no rule allows is denied.\n";
    for (const std::string& line : result_.not_carried)
        result_.policy += "# NOT CARRIED OVER: " + printable(line, 1000) + "\n";
    for (const std::string& line : result_.warnings)
        result_.policy += "# note: " + printable(line, 1000) + "\n";
    result_.policy += "version = 1\nname = \"from nft\"\n";
    if (!default_log_.empty())
        result_.policy += "\n[defaults]\nlog_denied = " + toml_text(default_log_) + "\n";
    result_.policy += body_;
    // It must be a policy, whatever the ruleset was.
    if (auto read = parse_policy(result_.policy, "the policy written", WallTime{}); !read)
        return fail("the ruleset makes no policy: " + read.error().message);
    return std::move(result_);
}

}  // namespace

Result<NftImport> import_nft(std::string_view json, const NftImportOptions& options) {
    std::string interface = options.interface;
    auto ruleset = read_nft(json, interface);
    if (!ruleset) return tl::unexpected(ruleset.error());
    return Import(std::move(*ruleset), options).run(options.source, interface);
}

}  // namespace vern::policy
