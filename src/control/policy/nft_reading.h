// How a ruleset is read: the inside of nft_rules.h.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "control/policy/nft_rules.h"

namespace vern::policy {

inline constexpr std::size_t kNftListMax = 1 << 16;

struct NftChain {
    std::string family, table, name, policy;
    std::optional<NftHook> hook;
    std::int64_t priority = 0;
    std::vector<const nlohmann::json*> rules;
};

// One reading of a ruleset: chains and sets first (nft_rules.cpp), then what each rule asks (nft_match.cpp).
class NftReading {
  public:
    explicit NftReading(std::string interface) : interface_(std::move(interface)) {}
    Result<NftRuleset> run(const nlohmann::json& items);
    const std::string& interface() const { return interface_; }

  private:
    using Key = std::tuple<std::string, std::string, std::string>;  // family, table, name

    void take(const nlohmann::json& item);
    void take_chain(const nlohmann::json& chain);
    void choose_interface();
    Result<void> read_hook(NftHook hook, std::vector<NftRule>& to, NftRuleset::Filtered& filtered);
    void read_chain(const NftChain& chain, const NftRule& outer, unsigned depth, std::vector<NftRule>& to);
    void read_rule(const NftChain& chain, const nlohmann::json& rule, const NftRule& outer, unsigned depth,
                   bool last, std::vector<NftRule>& to);
    // False: the rule is not of our interface.
    bool take_statement(const NftChain& chain, const nlohmann::json& statement, NftRule& rule);
    bool match(const NftChain& chain, const nlohmann::json& left, const nlohmann::json& right,
               std::string_view op, NftRule& rule);
    bool match_meta(std::string_view key, const std::vector<nlohmann::json>& values, bool negated,
                    NftRule& rule);
    bool match_payload(const nlohmann::json& payload, const std::vector<nlohmann::json>& values, bool negated,
                       NftRule& rule);
    void match_icmp(bool v6, std::string_view field, const std::vector<nlohmann::json>& values, bool negated,
                    NftRule& rule);
    void match_ports(std::string_view protocol, const std::vector<nlohmann::json>& values, bool negated,
                     NftRule& rule);
    void match_addresses(bool v6, bool source, const std::vector<nlohmann::json>& values, bool negated,
                         NftRule& rule);
    void match_state(const std::vector<nlohmann::json>& values, bool negated, NftRule& rule);
    void refuse(NftRule::Verdict verdict, NftRule& rule);
    static bool is_filled_by_packets(const nlohmann::json& set);
    void limit(const nlohmann::json& limit, Rate::Scope scope, NftRule& rule);
    std::optional<std::vector<nlohmann::json>> values_of(const NftChain& chain,
                                                         const nlohmann::json& right) const;
    void jump(const NftChain& chain, const std::string& target, bool go, const NftRule& rule, unsigned depth,
              bool last, std::vector<NftRule>& to);

    static void give_up(NftRule& rule, std::string why) {
        if (rule.unsupported.empty()) rule.unsupported = std::move(why);
    }

    std::string interface_;
    NftHook hook_ = NftHook::input;
    std::map<Key, NftChain> chains_;
    std::map<Key, const nlohmann::json*> sets_;
    std::vector<std::string> notes_;
    bool too_many_ = false;
};

}  // namespace vern::policy
