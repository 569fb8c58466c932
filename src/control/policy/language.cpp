#include "control/policy/language.h"

#include <algorithm>
#include <set>

#include "control/policy/lint.h"
#include "control/policy/names.h"
#include "control/policy/rate_text.h"
#include "control/policy/reader.h"
#include "control/policy/service_text.h"
#include "control/text.h"

namespace vern::policy {
namespace {

constexpr std::size_t kIdBytesMax = 64;
constexpr std::size_t kLogPrefixBytesMax = 64;
constexpr unsigned kKeyDotsMax = 16;

// toml++ makes a table of each part of a dotted key and takes them apart by recursion: a key of a million
// dots would use up the stack. Gives the line of one that is too deep, or 0. Knows no more of TOML than where
// texts and comments are.
unsigned line_of_deep_key(std::string_view text) {
    unsigned line = 1, dots = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"' || c == '\'') {
            const std::string_view three = text.substr(i, 3);
            const bool long_text = three.size() == 3 && three[1] == c && three[2] == c;
            i += long_text ? 3 : 1;
            for (; i < text.size(); ++i) {
                if (text[i] == '\n') ++line;
                if (text[i] == '\\' && c == '"') {
                    if (i + 1 < text.size() && text[i + 1] == '\n') ++line;
                    ++i;
                } else if (!long_text ? text[i] == c || text[i] == '\n' : text.substr(i, 3) == three) {
                    break;
                }
            }
            // Its last three quotes end a long text: of up to five in a row, the first two are its own.
            if (long_text) i += 2;
            for (int own = 0; long_text && own < 2 && i + 1 < text.size() && text[i + 1] == c; ++own) ++i;
        } else if (c == '#') {
            while (i + 1 < text.size() && text[i + 1] != '\n') ++i;
        } else if (c == '.') {
            if (++dots > kKeyDotsMax) return line;
        } else if (c == '\n' || c == '=' || c == ',' || c == '{' || c == '[') {
            dots = 0;
            if (c == '\n') ++line;
        }
    }
    return 0;
}

// toml++ 3.3 does what it calls unreachable with some characters beyond ASCII. The line of the first, or 0.
unsigned line_beyond_ascii(std::string_view text) {
    unsigned line = 1;
    for (const char c : text) {
        if (static_cast<unsigned char>(c) >= 0x80) return line;
        if (c == '\n') ++line;
    }
    return 0;
}

bool is_id(std::string_view text) {
    return !text.empty() && text.size() <= kIdBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '_' || c == '.' || c == '/';
    });
}

WallTime wall_time_of(const toml::date_time& from) {
    using namespace std::chrono;
    const auto day =
        sys_days(year(from.date.year) / month(from.date.month) / std::chrono::day(from.date.day));
    const auto time = hours(from.time.hour) + minutes(from.time.minute) + seconds(from.time.second) +
                      nanoseconds(from.time.nanosecond);
    // From before 1678 or after 2261 nanoseconds do not fit.
    if (day < sys_days(year(1678) / 1 / 1)) return WallTime(sys_days(year(1678) / 1 / 1));
    if (day > sys_days(year(2261) / 1 / 1)) return WallTime(sys_days(year(2261) / 1 / 1));
    return WallTime(day + time) - minutes(from.offset->minutes);
}

class Parser {
  public:
    Parser(Messages& messages, WallTime now) : reader_(messages), now_(now) {}
    Document run(const toml::table& policy);

  private:
    void read_defaults(const toml::table& table);
    void read_required_identity(const toml::table& policy);
    void read_identity_max(const toml::table& policy);
    void read_rule(const toml::table& table);
    void read_id(const toml::table& table, DocumentRule& rule);
    void read_direction(const toml::table& table, DocumentRule& rule);
    void read_remote(const toml::table& selectors, std::string_view key, Rule& rule);
    void read_action(const toml::table& table, Rule& rule);
    void read_options(const toml::table& table, DocumentRule& rule);
    void read_expiry(const toml::table& table, DocumentRule& rule);
    void read_log(const toml::table& table, std::string_view key, bool& on, std::string& prefix);
    void check_families(const toml::table& table, const Rule& rule);

    void read_test(const toml::table& table);
    bool read_test_ends(const toml::table& table, DocumentTest& test, IpAddress& local,
                        std::optional<IpAddress>& remote, bool& known_peer);
    bool read_test_service(const toml::table& table, DocumentTest& test);

    Reader reader_;
    WallTime now_;
    Names* names_ = nullptr;
    Document document_;
    std::map<std::string, unsigned, std::less<>> ids_;  // and the line of each
};

Document Parser::run(const toml::table& policy) {
    reader_.only(policy,
                 {"version", "name", "require_identity", "identity_max", "defaults", "peers", "groups",
                  "sets", "rule", "test"},
                 "a policy");
    if (policy.get("version") == nullptr) {
        reader_.messages().error({1, 1}, "no version: a policy says \"version = 1\" first");
    } else if (const auto version = reader_.number(policy, "version", 0, INT64_MAX);
               version && *version != 1) {
        reader_.error(*policy.get("version"), "version " + std::to_string(*version) +
                                                  " is not known here; this program reads version 1");
    }
    document_.name = reader_.text(policy, "name", 128).value_or("");
    if (const auto* defaults = reader_.table(policy, "defaults")) read_defaults(*defaults);
    Names names(reader_, policy);
    names_ = &names;
    document_.peers = names.peers();
    for (const auto& [name, key] : document_.peers) document_.names.emplace(key, name);
    read_required_identity(policy);
    read_identity_max(policy);
    reader_.tables(policy, "rule", kRulesMax, [this](const toml::table& table) { read_rule(table); });
    if (document_.rules.empty() && !reader_.messages().failed())
        reader_.messages().warn({1, 1}, "no rules: everything is denied, in and out");
    reader_.tables(policy, "test", kTestsMax, [this](const toml::table& table) { read_test(table); });
    if (!reader_.messages().failed()) warn_of_odd_rules(document_, reader_.messages());
    return std::move(document_);
}

void Parser::read_defaults(const toml::table& table) {
    reader_.only(table, {"log_denied", "observe", "flows_per_peer"}, "[defaults]");
    read_log(table, "log_denied", document_.log_denied, document_.log_denied_prefix);
    document_.observe = reader_.truth(table, "observe").value_or(false);
    if (document_.observe)
        reader_.warn(*table.get("observe"),
                     "observe: the policy is only watched; everything passes, and what would be denied is "
                     "counted and logged");
    if (const auto flows = reader_.number(table, "flows_per_peer", 1, kFlowsMax))
        document_.flows_per_peer = static_cast<std::size_t>(*flows);
}

// true: of every peer; or the peers and groups that it is asked of.
void Parser::read_required_identity(const toml::table& policy) {
    const toml::node* node = policy.get("require_identity");
    if (node == nullptr) return;
    if (node->is_boolean()) {
        document_.all_prove = reader_.truth(policy, "require_identity").value_or(false);
        return;
    }
    const toml::array* entries = reader_.list(policy, "require_identity");
    if (entries == nullptr) return;
    Members members = names_->members(*entries);
    if (!members.selectors.empty())
        reader_.error(*node,
                      "require_identity: of peers and groups of them (who has proven an identity cannot be "
                      "asked for one)");
    document_.some_prove = std::move(members.peers);
}

void Parser::read_identity_max(const toml::table& policy) {
    const auto text = reader_.text(policy, "identity_max");
    if (!text) return;
    document_.identity_max = parse_duration(*text, kIdentityMaxMost);
    if (!document_.identity_max)
        reader_.error(*policy.get("identity_max"),
                      "identity_max: a time from \"1s\" to \"8784h\" is wanted (\"30m\", \"8h\")");
}

// true, false, or the words before each line of the log.
void Parser::read_log(const toml::table& table, std::string_view key, bool& on, std::string& prefix) {
    const toml::node* node = table.get(key);
    if (node == nullptr) return;
    if (!node->is_string()) {
        on = reader_.truth(table, key).value_or(on);
        return;
    }
    prefix = reader_.text(table, key, kLogPrefixBytesMax).value_or("");
    on = true;
    if (prefix != printable(prefix, kLogPrefixBytesMax))
        reader_.error(*node, std::string(key) + ": control characters cannot stand in a log");
}

void Parser::read_rule(const toml::table& table) {
    reader_.only(table, {"id", "in", "out", "allow", "deny", "reject", "rate", "log", "observe", "expires"},
                 "a rule");
    DocumentRule& rule = document_.rules.emplace_back();
    rule.at = position_of(table);
    read_id(table, rule);
    read_direction(table, rule);
    read_action(table, rule.rule);
    read_options(table, rule);
    read_expiry(table, rule);
    check_families(table, rule.rule);
}

void Parser::read_id(const toml::table& table, DocumentRule& rule) {
    if (table.get("id") == nullptr)
        return reader_.error(table, "a rule needs an id, by which logs and counters name it");
    const auto id = reader_.text(table, "id");
    if (!id) return;
    const toml::node& node = *table.get("id");
    if (!is_id(*id))
        return reader_.error(node,
                             in_quotes(*id) + " cannot be an id: up to 64 letters, digits and any of -_./");
    rule.id = *id;
    rule.rule.id = rule_number(*id);
    const auto [first, is_new] = ids_.emplace(*id, position_of(node).line);
    if (!is_new)
        reader_.error(node, "second rule with the id " + in_quotes(*id) + ", first on line " +
                                std::to_string(first->second));
}

void Parser::read_direction(const toml::table& table, DocumentRule& rule) {
    const toml::node *in = table.get("in"), *out = table.get("out");
    if (in == nullptr && out == nullptr)
        return reader_.error(table,
                             "a rule needs a direction: in = { from = [...] } or out = { to = [...] }");
    if (in != nullptr && out != nullptr)
        return reader_.error(*out, "a rule has one direction, in or out: write two rules");
    rule.rule.direction = in != nullptr ? Direction::in : Direction::out;
    const std::string_view key = in != nullptr ? "in" : "out";
    const toml::table* selectors = reader_.table(table, key);
    if (selectors == nullptr) return;
    reader_.only(*selectors, {"from", "to", "peers"}, key);
    const std::string_view remote_key = in != nullptr ? "from" : "to",
                           local_key = in != nullptr ? "to" : "from";
    read_remote(*selectors, remote_key, rule.rule);
    if (const toml::array* local = reader_.list(*selectors, local_key)) {
        bool all_prefixes = true;
        for (const toml::node& entry : *local) {
            if (names_->kind_of(entry, entry.as_string()->get()) != Names::Kind::peers) continue;
            all_prefixes = false;
            reader_.error(entry, std::string(local_key) + " of `" + std::string(key) +
                                     "` is this side: prefixes, and no peers (" +
                                     in_quotes(entry.as_string()->get()) + ")");
        }
        if (all_prefixes) rule.rule.local = names_->prefixes(*local);
    }
}

// Peers or prefixes. A list is "any of these", and a mixed one would have to be both: that is told apart by
// the key `peers`.
void Parser::read_remote(const toml::table& selectors, std::string_view key, Rule& rule) {
    const toml::array* remote = reader_.list(selectors, key);
    const toml::array* peers = reader_.list(selectors, "peers");
    bool names = false, prefixes = false;
    for (std::size_t i = 0; remote != nullptr && i < remote->size(); ++i) {
        const toml::node& entry = *remote->get(i);
        const auto kind = names_->kind_of(entry, entry.as_string()->get());
        if (kind == Names::Kind::nothing) return;
        (kind == Names::Kind::peers ? names : prefixes) = true;
    }
    if (names && prefixes)
        return reader_.error(*remote, std::string(key) +
                                          ": peers and prefixes in one list; put the peers behind `peers` "
                                          "(both must match), or write two rules");
    if (names && peers != nullptr)
        return reader_.error(*peers, "peers are given twice, in `" + std::string(key) + "` and in `peers`");
    if (prefixes) rule.remote = names_->prefixes(*remote);
    if (names) rule.peers = names_->member_set(*remote, document_);
    if (peers == nullptr) return;
    for (const toml::node& entry : *peers) {
        if (names_->kind_of(entry, entry.as_string()->get()) == Names::Kind::prefix)
            return reader_.error(entry, in_quotes(entry.as_string()->get()) +
                                            " is not a peer: prefixes stand behind `" + std::string(key) +
                                            "`");
    }
    rule.peers = names_->member_set(*peers, document_);
}

void Parser::read_action(const toml::table& table, Rule& rule) {
    constexpr std::pair<std::string_view, Action> kActions[] = {
        {"allow", Action::allow}, {"deny", Action::deny}, {"reject", Action::reject}};
    unsigned given = 0;
    for (const auto& [key, action] : kActions) {
        const toml::node* node = table.get(key);
        if (node == nullptr) continue;
        if (++given == 2) reader_.error(*node, "a rule does one thing: allow, deny or reject");
        rule.action = action;
        if (const toml::array* entries = reader_.list(table, key))
            rule.services = names_->services(*entries, key);
    }
    if (given == 0)
        reader_.error(
            table,
            "a rule needs one of allow, deny and reject, with the services it is for: allow = [\"tcp/22\"]");
}

void Parser::read_options(const toml::table& table, DocumentRule& rule) {
    read_log(table, "log", rule.rule.log, rule.log_prefix);
    if (const auto text = reader_.text(table, "rate")) {
        if (auto rate = parse_rate(*text)) {
            rule.rule.rate = *rate;
        } else {
            reader_.error(*table.get("rate"), "rate: " + rate.error().message);
        }
        if (rule.rule.action != Action::allow)
            reader_.error(*table.get("rate"), "rate: only what is allowed can have one");
        if (rule.rule.rate && rule.rule.rate->scope == Rate::Scope::rule)
            reader_.warn(
                *table.get("rate"),
                "rate: global: whoever uses it up shuts out everybody else; \"per source\" does not");
    }
    rule.rule.observe = reader_.truth(table, "observe").value_or(false);
    if (rule.rule.observe && rule.rule.action == Action::allow)
        reader_.error(
            *table.get("observe"),
            "observe: an allowed flow is not observed (log = true logs it); it is for deny and reject");
}

void Parser::read_expiry(const toml::table& table, DocumentRule& rule) {
    const toml::node* node = table.get("expires");
    if (node == nullptr) return;
    const auto* date = node->as_date_time();
    if (date == nullptr)
        return reader_.error(*node,
                             "expires: a date and time with its offset from UTC is wanted, without quotes: "
                             "2026-12-31T00:00:00Z");
    if (!date->get().offset)
        return reader_.error(
            *node, "expires: whose midnight? Give the offset from UTC: 2026-12-31T00:00:00Z or ...+01:00");
    rule.expires = wall_time_of(date->get());
    if (*rule.expires <= now_)
        reader_.warn(*node, "expires: that was in the past; the rule is as if it were not there");
}

void Parser::check_families(const toml::table& table, const Rule& rule) {
    const auto has = [](const std::vector<Prefix>& prefixes, Family family) {
        return prefixes.empty() || std::any_of(prefixes.begin(), prefixes.end(),
                                               [&](const Prefix& p) { return p.address.family == family; });
    };
    const bool v4 = has(rule.remote, Family::v4) && has(rule.local, Family::v4);
    const bool v6 = has(rule.remote, Family::v6) && has(rule.local, Family::v6);
    if (!v4 && !v6)
        return reader_.error(table, "from and to are of different families: no packet is both IPv4 and IPv6");
    for (const Service& service : rule.services) {
        if (service.protocol == kIcmp && !v4)
            reader_.error(table, in_quotes(to_text(service)) + " with IPv6 prefixes only: icmpv6 is meant");
        if (service.protocol == kIcmp6 && !v6)
            reader_.error(table, in_quotes(to_text(service)) + " with IPv4 prefixes only: icmp is meant");
    }
}

void Parser::read_test(const toml::table& table) {
    reader_.only(table, {"direction", "from", "to", "address", "proto", "port", "type", "code", "expect"},
                 "a test");
    DocumentTest test;
    test.at = position_of(table);
    IpAddress local;
    std::optional<IpAddress> remote;
    bool known_peer = false;
    const bool ends = read_test_ends(table, test, local, remote, known_peer);
    const bool service = read_test_service(table, test);
    const auto expect = reader_.text(table, "expect");
    if (!expect) {
        if (table.get("expect") == nullptr)
            reader_.error(table, "a test needs what it expects: expect = \"allow\", \"deny\" or \"reject\"");
        return;
    }
    if (*expect == "allow")
        test.expect = Expectation::allow;
    else if (*expect == "deny")
        test.expect = Expectation::deny;
    else if (*expect == "reject")
        test.expect = Expectation::reject;
    else
        return reader_.error(*table.get("expect"), in_quotes(*expect) + " is none of allow, deny, reject");
    if (!ends || !service) return;
    const bool asked = std::any_of(
        document_.rules.begin(), document_.rules.end(),
        [&](const DocumentRule& r) { return r.rule.direction == test.direction && !r.rule.remote.empty(); });
    if (!remote && asked)
        return reader_.error(
            table, "rules here ask for the peer's address: give it to the test as address = \"10.100.0.2\"");
    test.key.v6 = local.family == Family::v6;
    if (remote && (remote->family == Family::v6) != test.key.v6)
        return reader_.error(table, "one address of the test is IPv4, the other IPv6");
    test.key.local = local.bytes;
    if (remote) test.key.remote = remote->bytes;
    if ((test.key.protocol == kIcmp && test.key.v6) || (test.key.protocol == kIcmp6 && !test.key.v6))
        return reader_.error(table, "icmp is for IPv4 addresses, icmpv6 for IPv6");
    (test.direction == Direction::in ? test.key.local_port : test.key.remote_port) = test.port;
    document_.tests.push_back(std::move(test));
}

// One end is a peer (by name, key or address), the other an address of this side.
bool Parser::read_test_ends(const toml::table& table, DocumentTest& test, IpAddress& local,
                            std::optional<IpAddress>& remote, bool& known_peer) {
    const auto from = reader_.text(table, "from"), to = reader_.text(table, "to");
    if (!from || !to) {
        if (table.get("from") == nullptr || table.get("to") == nullptr)
            reader_.error(table, "a test needs from and to: a peer and an address of this side");
        return false;
    }
    const auto from_address = parse_address(*from), to_address = parse_address(*to);
    if (!from_address && !to_address) {
        reader_.error(table, "from and to are both no addresses: one of a test's ends is this side");
        return false;
    }
    test.direction = from_address && !to_address ? Direction::out : Direction::in;
    if (const auto direction = reader_.text(table, "direction")) {
        const auto said = *direction == "out" ? Direction::out : Direction::in;
        if (*direction != "in" && *direction != "out") {
            reader_.error(*table.get("direction"), in_quotes(*direction) + " is neither in nor out");
            return false;
        }
        if ((!from_address || !to_address) && said != test.direction) {
            reader_.error(*table.get("direction"), "a peer in `from` goes in, a peer in `to` goes out");
            return false;
        }
        test.direction = said;
    }
    const bool in = test.direction == Direction::in;
    const toml::node& peer_node = *table.get(in ? "from" : "to");
    local = in ? *to_address : *from_address;
    remote = in ? from_address : to_address;
    if (const std::string& end = in ? *from : *to; !remote && is_selector(end)) {
        auto selector = parse_selector(end);
        if (!selector) {
            reader_.error(peer_node, selector.error().message);
            return false;
        }
        test.holds = std::move(*selector);
        known_peer = true;
    } else if (!remote) {
        const PublicKey* peer = names_->peer(end);
        if (peer == nullptr) {
            reader_.error(peer_node, "unknown peer " + in_quotes(end) +
                                         " (a name of [peers], \"peer:KEY\", an identity, or an address)");
            return false;
        }
        test.peer = *peer;
        known_peer = true;
    }
    test.text = std::string(in ? "in " : "out ") + *from + " > " + *to;
    const auto address = reader_.text(table, "address");
    if (!address) return table.get("address") == nullptr;
    const auto parsed = parse_address(*address);
    if (!parsed || !known_peer)
        reader_.error(*table.get("address"), !parsed ? in_quotes(*address) + " is not an address"
                                                     : "address: the peer is given by its address already");
    remote = parsed;
    return parsed && known_peer;
}

bool Parser::read_test_service(const toml::table& table, DocumentTest& test) {
    const auto proto = reader_.text(table, "proto");
    if (!proto) {
        if (table.get("proto") == nullptr) reader_.error(table, "a test needs its protocol: proto = \"tcp\"");
        return false;
    }
    const auto protocol = parse_protocol(*proto);
    if (!protocol) {
        reader_.error(*table.get("proto"),
                      in_quotes(*proto) + " is no protocol (tcp, udp, icmp, icmpv6, or a number)");
        return false;
    }
    test.key.protocol = *protocol;
    const bool icmp = *protocol == kIcmp || *protocol == kIcmp6,
               ports = *protocol == kTcp || *protocol == kUdp;
    for (const auto& [key, fits] :
         {std::pair("port", ports), std::pair("type", icmp), std::pair("code", icmp)}) {
        if (fits || table.get(key) == nullptr) continue;
        reader_.error(*table.get(key), std::string(key) + ": " + *proto + " has none");
        return false;
    }
    test.text += " " + *proto;
    if (ports) {
        if (table.get("port") == nullptr) reader_.error(table, "a test of " + *proto + " needs a port");
        const auto port = reader_.number(table, "port", 0, 65535);
        test.port = static_cast<std::uint16_t>(port.value_or(0));
        test.text += "/" + std::to_string(test.port);
        return port.has_value();
    }
    if (!icmp) return true;
    const bool v6 = *protocol == kIcmp6;
    std::int64_t type = v6 ? 128 : 8;  // echo request
    if (const toml::node* node = table.get("type"); node != nullptr && node->is_string()) {
        const auto name = reader_.text(table, "type");
        const auto number = name ? parse_icmp_type(*name, v6) : std::nullopt;
        if (name && !number) reader_.error(*node, in_quotes(*name) + " is not a type of " + *proto);
        if (!number) return false;
        type = *number;
    } else if (node != nullptr) {
        type = reader_.number(table, "type", 0, 255).value_or(-1);
    }
    const auto code = reader_.number(table, "code", 0, 255);
    if (type < 0 || (table.get("code") != nullptr && !code)) return false;
    test.port = static_cast<std::uint16_t>(type * 256 + code.value_or(0));
    test.text += "/" + std::to_string(type) + "/" + std::to_string(code.value_or(0));
    return true;
}

}  // namespace

Result<Document> parse_policy(std::string_view text, std::string_view file_name, WallTime now) {
    Messages messages(file_name);
    if (text.size() > kPolicyBytesMax) return fail(std::string(file_name) + ": larger than 8 MiB", EFBIG);
    if (const unsigned line = line_of_deep_key(text)) {
        messages.error({line, 1}, "a key of more than " + std::to_string(kKeyDotsMax) + " parts");
        return fail(messages.errors());
    }
    if (const unsigned line = line_beyond_ascii(text)) {
        messages.error({line, 1}, "only ASCII is taken, in comments too");
        return fail(messages.errors());
    }
    const toml::parse_result parsed = toml::parse(text, std::string_view(file_name));
    if (!parsed) {
        const auto& region = parsed.error().source();
        messages.error({std::max<unsigned>(1, region.begin.line), std::max<unsigned>(1, region.begin.column)},
                       printable(parsed.error().description(), 300));
        return fail(messages.errors());
    }
    Document document = Parser(messages, now).run(parsed.table());
    if (messages.failed()) return fail(messages.errors());
    document.warnings = messages.warnings();
    return document;
}

}  // namespace vern::policy
