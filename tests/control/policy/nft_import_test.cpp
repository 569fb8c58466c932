#include "control/policy/nft_import.h"

#include <gtest/gtest.h>

#include "control/json.h"
#include "control/policy/evaluate.h"
#include "control/policy/language.h"
#include "control/text.h"

namespace vern::policy {
namespace {

using nlohmann::json;

json field(const char* protocol, const char* name) {
    return {{"payload", {{"protocol", protocol}, {"field", name}}}};
}
json meta(const char* key) { return {{"meta", {{"key", key}}}}; }
json match(const json& left, const json& right, const char* op = "==") {
    return {{"match", {{"op", op}, {"left", left}, {"right", right}}}};
}
json dport(const json& right) { return match(field("tcp", "dport"), right); }
json saddr(const json& right) { return match(field("ip", "saddr"), right); }
json daddr(const json& right) { return match(field("ip", "daddr"), right); }
const json kAccept{{"accept", nullptr}}, kDrop{{"drop", nullptr}}, kReject{{"reject", nullptr}};
json state(const json& states) { return match({{"ct", {{"key", "state"}}}}, states, "in"); }

class Ruleset {
  public:
    Ruleset& chain(const char* name, const char* hook = nullptr, const char* policy = "drop",
                   const char* table = "filter", const char* family = "inet") {
        json chain{{"family", family}, {"table", table}, {"name", name}};
        if (hook != nullptr)
            chain.update({{"type", "filter"}, {"hook", hook}, {"prio", 0}, {"policy", policy}});
        items_.push_back({{"chain", chain}});
        chain_ = {{"family", family}, {"table", table}, {"chain", name}};
        return *this;
    }
    Ruleset& rule(std::initializer_list<json> statements) {
        json rule = chain_;
        rule["handle"] = ++handle_;
        rule["expr"] = json::array();
        for (const json& statement : statements) rule["expr"].push_back(statement);
        items_.push_back({{"rule", rule}});
        return *this;
    }
    Ruleset& set(const char* name, const json& elements, const json& flags = {}) {
        items_.push_back({{"set",
                           {{"family", "inet"},
                            {"table", "filter"},
                            {"name", name},
                            {"elem", elements},
                            {"flags", flags}}}});
        return *this;
    }
    NftImport import(std::vector<Prefix> local = {}) const {
        auto imported = import_nft(json{{"nftables", items_}}.dump(),
                                   {.source = "test", .interface = "wg0", .local = std::move(local)});
        EXPECT_TRUE(imported) << (imported ? "" : imported.error().message);
        return imported ? std::move(*imported) : NftImport{};
    }
    std::string error() const {
        const auto imported = import_nft(json{{"nftables", items_}}.dump(),
                                         {.source = "test", .interface = "wg0", .local = {}});
        return imported ? "(taken)" : imported.error().message;
    }

  private:
    json items_ = json::array(), chain_;
    int handle_ = 0;
};

// "allow", "deny" or "reject" for a new flow.
std::string said(const NftImport& imported, const std::string& question) {
    const auto document = parse_policy(imported.policy, "f", WallTime{});
    if (!document) return document.error().message;
    const auto policy = Policy::compile(rule_set_of(*document, {}, 1), 1);
    const auto asked = parse_question(question, *document);
    if (!policy || !asked) return "?";
    const Ruling ruling = decide(**policy, *asked, Instant{}, true);
    return ruling.action == Action::allow ? "allow" : ruling.action == Action::deny ? "deny" : "reject";
}
std::string tcp(const NftImport& imported, int port, const std::string& from = "10.0.0.2",
                const std::string& to = "10.0.0.1") {
    return said(imported, "in - tcp " + from + ":1 > " + to + ":" + std::to_string(port));
}

TEST(NftImport, DropByDefaultAndAcceptsBefore) {
    const auto imported =
        Ruleset()
            .chain("input", "input")
            .rule({match(meta("iif"), "lo"), kAccept})
            .rule({state({"established", "related"}), kAccept})
            .rule({state("invalid"), kDrop})
            .rule({dport(22),
                   state("new"),
                   {{"limit", {{"rate", 10}, {"per", "minute"}, {"burst", 3}}}},
                   kAccept})
            .rule({match(meta("iifname"), "wg0"), dport(3306), {{"counter", {{"packets", 0}}}}, kAccept})
            .rule({match(meta("iifname"), "eth0"), kAccept})
            .rule({match(meta("iifname"), "eth0", "!="), dport(81), kAccept})
            .rule({{{"log", {{"prefix", "[NFTABLES-DROP]: "}}}}})
            .rule({kDrop})
            .import();
    EXPECT_EQ(imported.not_carried, std::vector<std::string>{});
    EXPECT_EQ(tcp(imported, 22), "allow");
    EXPECT_EQ(tcp(imported, 3306), "allow");
    EXPECT_EQ(tcp(imported, 81), "allow");
    EXPECT_EQ(tcp(imported, 80), "deny");
    EXPECT_EQ(said(imported, "out - tcp 10.0.0.1:1 > 10.0.0.2:80"), "allow");
    EXPECT_NE(imported.policy.find("rate = \"10/minute global burst 3\""), std::string::npos);
    EXPECT_NE(imported.policy.find("log_denied = \"[NFTABLES-DROP]: \""), std::string::npos);
    EXPECT_EQ(imported.rules, 4u);
    ASSERT_EQ(imported.warnings.size(), 1u);
    EXPECT_NE(imported.warnings[0].find("per source"), std::string::npos);
}

TEST(NftImport, SetsRangesAndPrefixes) {
    const auto imported =
        Ruleset()
            .set("web", {"10.0.0.2", {{"prefix", {{"addr", "10.1.0.0"}, {"len", 16}}}}})
            .chain("input", "input")
            .rule({saddr("@web"), dport({{"set", {80, {{"range", {8000, 8010}}}}}}), kAccept})
            .rule({saddr({{"range", {"10.2.0.1", "10.2.0.6"}}}), dport(90), kAccept})
            .rule({dport({{"range", {100, 200}}}), match(field("tcp", "dport"), 150, "!="), kAccept})
            .import();
    EXPECT_EQ(imported.not_carried, std::vector<std::string>{});
    EXPECT_EQ(tcp(imported, 8005), "allow");
    EXPECT_EQ(tcp(imported, 8011), "deny");
    EXPECT_EQ(tcp(imported, 80, "10.1.200.1"), "allow");
    EXPECT_EQ(tcp(imported, 80, "10.0.0.3"), "deny");
    for (const auto& [last, answer] : {std::pair(0, "deny"), {1, "allow"}, {6, "allow"}, {7, "deny"}})
        EXPECT_EQ(tcp(imported, 90, "10.2.0." + std::to_string(last)), answer) << last;
    EXPECT_EQ(tcp(imported, 149), "allow");
    EXPECT_EQ(tcp(imported, 150), "deny");
}

TEST(NftImport, AnAcceptBeforeANeededDropIsLeftOut) {
    const auto imported = Ruleset()
                              .chain("input", "input", "accept")
                              .rule({saddr("10.0.0.2"), dport(22), kAccept})
                              .rule({dport(22), kDrop})
                              .rule({dport(25), kReject})
                              .import();
    EXPECT_EQ(tcp(imported, 22), "deny");  // there it passes: closed, and told
    EXPECT_EQ(tcp(imported, 25), "reject");
    EXPECT_EQ(tcp(imported, 80), "allow");
    ASSERT_EQ(imported.not_carried.size(), 1u);
    EXPECT_EQ(imported.not_carried[0],
              "input-1 (ip saddr 10.0.0.2 tcp dport 22 accept): it comes before input-2 (tcp dport 22 drop), "
              "which drops some of the same; here deny always comes first");
    EXPECT_NE(imported.policy.find("# NOT CARRIED OVER: input-1"), std::string::npos);
}

TEST(NftImport, ADropThatNothingBehindItAcceptsIsNotNeeded) {
    const auto imported = Ruleset()
                              .chain("input", "input")
                              .rule({saddr("10.0.0.2"), dport(22), kAccept})
                              .rule({dport(22), kDrop})
                              .rule({dport(80), kAccept})
                              .rule({kReject})
                              .import();
    EXPECT_EQ(imported.not_carried, std::vector<std::string>{});
    EXPECT_EQ(tcp(imported, 22), "allow");
    EXPECT_EQ(tcp(imported, 22, "10.0.0.3"), "deny");
    EXPECT_EQ(tcp(imported, 80), "allow");
    ASSERT_EQ(imported.warnings.size(), 1u);
    EXPECT_NE(imported.warnings[0].find("dropped in silence"), std::string::npos);
}

TEST(NftImport, WhatHasNoWordsHereClosesAndNeverOpens) {
    // An accept that asks for more than can be said is left out; a drop of that kind takes the accepts behind
    // it along.
    const auto imported = Ruleset()
                              .chain("input", "input")
                              .rule({match(meta("mark"), 7), dport(22), kAccept})
                              .rule({match(meta("mark"), 7), dport({{"range", {80, 89}}}), kDrop})
                              .rule({dport(80), kAccept})
                              .rule({dport(90), kAccept})
                              .import();
    EXPECT_EQ(tcp(imported, 22), "deny");
    EXPECT_EQ(tcp(imported, 80), "deny");
    EXPECT_EQ(tcp(imported, 90), "allow");
    EXPECT_EQ(imported.not_carried.size(), 2u);
    const auto over =
        Ruleset()
            .chain("input", "input")
            .rule({dport(80), {{"limit", {{"rate", 5}, {"per", "second"}, {"inv", true}}}}, kDrop})
            .rule({dport(80), kAccept})
            .import();
    EXPECT_EQ(tcp(over, 80), "deny");
    const auto source_port =
        Ruleset().chain("input", "input").rule({match(field("tcp", "sport"), 53), kAccept}).import();
    EXPECT_EQ(tcp(source_port, 80), "deny");
}

// What an unknown statement does with a packet is not known: not that it lets it pass.
TEST(NftImport, AQueueMayDropAndWhatOnlyMarksDoesNot) {
    const auto queued = Ruleset()
                            .chain("input", "input")
                            .rule({dport(80), {{"queue", {{"num", 1}}}}})
                            .rule({dport(81), {{"notrack", nullptr}}})
                            .rule({dport({{"range", {80, 82}}}), kAccept})
                            .rule({dport(90), kAccept})
                            .import();
    EXPECT_EQ(tcp(queued, 80), "deny");
    EXPECT_EQ(tcp(queued, 90), "allow");
    const auto marked = Ruleset()
                            .chain("input", "input")
                            .rule({dport(80), {{"notrack", nullptr}}})
                            .rule({dport(80), kAccept})
                            .import();
    EXPECT_EQ(tcp(marked, 80), "allow");
}

// "th" is the port of any transport, of which a policy knows two.
TEST(NftImport, ADropOfPortsOfAnyTransportClosesAll) {
    const auto imported = Ruleset()
                              .chain("input", "input")
                              .rule({match(field("th", "dport"), 80), kDrop})
                              .rule({match(meta("l4proto"), "sctp"), kAccept})
                              .rule({dport(81), kAccept})
                              .import();
    EXPECT_EQ(said(imported, "in - 132 10.0.0.2 > 10.0.0.1"), "deny");
    const auto allowed =
        Ruleset().chain("input", "input").rule({match(field("th", "dport"), 80), kAccept}).import();
    EXPECT_EQ(tcp(allowed, 80), "allow");
}

TEST(NftImport, WhatPacketsFillIsNotReadAlsoAsTheOnlyFlag) {
    for (const json& flags : {json("timeout"), json("dynamic"), json{"timeout"}}) {
        Ruleset ruleset;
        ruleset.set("banned", json::array(), flags);
        const auto imported = ruleset.chain("input", "input")
                                  .rule({saddr("@banned"), kDrop})
                                  .rule({dport(80), kAccept})
                                  .import();
        EXPECT_EQ(tcp(imported, 80), "deny") << flags;
        EXPECT_EQ(imported.not_carried.size(), 1u);
    }
}

TEST(NftImport, RangesTheWrongWayRoundAndDeepOnes) {
    const auto imported = Ruleset()
                              .chain("input", "input")
                              .rule({saddr({{"range", {"10.0.0.9", "10.0.0.1"}}}), kDrop})
                              .rule({dport(80), kAccept})
                              .import();
    EXPECT_EQ(tcp(imported, 80), "deny");
    EXPECT_FALSE(
        import_nft(std::string(3'000'000, '['), {.source = "test", .interface = "wg0", .local = {}}));
}

// Rules for both kinds of ICMP, where the host has addresses of one family.
TEST(NftImport, IcmpOfBothFamiliesAtAHostOfOne) {
    const auto imported = Ruleset()
                              .chain("input", "input")
                              .rule({match(meta("l4proto"), {{"set", {"icmp", "ipv6-icmp"}}}), kAccept})
                              .rule({match(meta("l4proto"), "ipv6-icmp"), kAccept})
                              .rule({dport(22), kAccept})
                              .import({*parse_prefix("10.0.0.1/32")});
    EXPECT_EQ(tcp(imported, 22), "allow");
    EXPECT_EQ(imported.policy.find("icmpv6"), std::string::npos) << imported.policy;
    EXPECT_NE(imported.policy.find("\"icmp\""), std::string::npos) << imported.policy;
}

TEST(NftImport, TheLogOfTheLastDropIsTheDefaults) {
    const json log{{"log", {{"prefix", "[DROP]: "}}}};
    const auto imported = Ruleset()
                              .chain("input", "input")
                              .rule({dport(22), kAccept})
                              .rule({dport(23), log, kDrop})
                              .rule({log, kDrop})
                              .import();
    EXPECT_NE(imported.policy.find("log_denied = \"[DROP]: \""), std::string::npos) << imported.policy;
    EXPECT_NE(imported.policy.find("log = \"[DROP]: \""), std::string::npos) << imported.policy;
}

TEST(NftImport, ASetOfOneFamilyOpensNoOther) {
    const json limit{{"limit", {{"rate", 10}, {"per", "minute"}, {"burst", 5}}}};
    const auto imported =
        Ruleset()
            .chain("input", "input")
            .rule({{{"set",
                     {{"op", "update"}, {"elem", field("ip", "saddr")}, {"set", "@s4"}, {"stmt", {limit}}}}},
                   kAccept})
            .import();
    EXPECT_EQ(tcp(imported, 80), "allow");
    EXPECT_EQ(said(imported, "in - tcp [fd00::2]:1 > [fd00::1]:80"), "deny");
}

TEST(NftImport, JumpsAreWrittenOut) {
    const auto imported =
        Ruleset()
            .chain("services")
            .rule({dport(80), kAccept})
            .rule({saddr("10.0.0.2"), dport(81), kAccept})
            .chain("strange")
            .rule({dport(1), {{"return", nullptr}}})
            .rule({kDrop})
            .chain("input", "input")
            .rule({match(meta("iifname"), "wg0"), daddr("10.0.0.1"), {{"jump", {{"target", "services"}}}}})
            .rule({dport(82), {{"jump", {{"target", "strange"}}}}})
            .rule({dport({{"range", {82, 84}}}), kAccept})
            .rule({dport(85), kAccept})
            .import();
    EXPECT_EQ(tcp(imported, 80), "allow");
    EXPECT_EQ(tcp(imported, 80, "10.0.0.2", "10.0.0.9"), "deny");
    EXPECT_EQ(tcp(imported, 81, "10.0.0.3"), "deny");
    EXPECT_EQ(tcp(imported, 83), "deny");
    EXPECT_EQ(tcp(imported, 85), "allow");
    EXPECT_EQ(imported.not_carried.size(), 1u);
}

TEST(NftImport, ASetWithALimitIsPerSource) {
    const json limit{{"limit", {{"rate", 10}, {"per", "minute"}, {"burst", 5}}}};
    const auto imported =
        Ruleset()
            .chain("input", "input")
            .rule({dport(22),
                   {{"set",
                     {{"op", "add"}, {"elem", field("ip", "saddr")}, {"set", "@ssh"}, {"stmt", {limit}}}}},
                   kAccept})
            .import();
    EXPECT_NE(imported.policy.find("rate = \"10/minute per source burst 5\""), std::string::npos)
        << imported.policy;
    EXPECT_EQ(imported.warnings, std::vector<std::string>{});
}

TEST(NftImport, ForwardingNeedsAddresses) {
    const auto imported =
        Ruleset()
            .chain("input", "input")
            .rule({dport(22), kAccept})
            .chain("forward", "forward")
            .rule({match(meta("iifname"), "wg0"), match(meta("oifname"), "wg0"), kAccept})
            .rule({match(meta("iifname"), "wg0"), daddr({{"prefix", {{"addr", "10.5.0.0"}, {"len", 24}}}}),
                   dport(80), kAccept})
            .import({{*parse_address("10.0.0.1"), 32}});
    ASSERT_EQ(imported.not_carried.size(), 1u);
    EXPECT_EQ(tcp(imported, 22), "allow");
    EXPECT_EQ(tcp(imported, 22, "10.0.0.2", "10.5.0.7"), "deny");
    EXPECT_EQ(tcp(imported, 80, "10.0.0.2", "10.5.0.7"), "allow");
    EXPECT_EQ(tcp(imported, 80), "deny");
    EXPECT_EQ(said(imported, "out - tcp 10.0.0.1:1 > 10.0.0.2:80"), "allow");
    EXPECT_EQ(said(imported, "out - tcp 10.9.0.1:1 > 10.0.0.2:80"), "deny");  // what only goes through
}

TEST(NftImport, TablesOfOneFamilyAndChainsThatOnlyTakeAway) {
    const auto v4 =
        Ruleset().chain("input", "input", "drop", "filter", "ip").rule({dport(22), kAccept}).import();
    EXPECT_EQ(tcp(v4, 22), "allow");
    EXPECT_EQ(said(v4, "in - tcp [fd00::2]:1 > [fd00::1]:22"), "deny");
    EXPECT_EQ(v4.warnings.size(), 1u);
    const auto ban = Ruleset()
                         .chain("f2b", "input", "accept", "f2b")
                         .rule({saddr("10.0.0.66"), kReject})
                         .chain("input", "input")
                         .rule({dport(22), kAccept})
                         .import();
    EXPECT_EQ(tcp(ban, 22, "10.0.0.66"), "reject");
    EXPECT_EQ(tcp(ban, 22), "allow");
    EXPECT_NE(Ruleset()
                  .chain("one", "input", "drop", "a")
                  .rule({dport(22), kAccept})
                  .chain("two", "input", "drop", "b")
                  .rule({dport(22), kAccept})
                  .error()
                  .find("judge the same packets"),
              std::string::npos);
    EXPECT_EQ(Ruleset().error(), "no filter chain at the hook input: there is nothing to carry over");
}

TEST(NftImport, WhatIsNoRuleset) {
    for (const char* text : {"", "{}", "[]", "{\"nftables\": 7}",
                             "{\"nftables\": [{\"chain\": 7}, {\"rule\": {\"expr\": {}}}, 7]}"})
        EXPECT_FALSE(import_nft(text, {.source = "x", .interface = {}, .local = {}})) << text;
}

}  // namespace
}  // namespace vern::policy
