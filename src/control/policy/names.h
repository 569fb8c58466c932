// The names that a policy defines: peers, groups of them, sets of prefixes and services; and what a list of a
// rule that uses them means.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "control/policy/document.h"
#include "control/policy/reader.h"

namespace vern::policy {

class Names {
  public:
    Names(Reader& reader, const toml::table& policy);

    const std::map<std::string, PublicKey, std::less<>>& peers() const { return peers_; }

    enum class Kind { peers, prefix, nothing };
    // What an entry of a rule's list looks like; `nothing` after an error was told.
    Kind kind_of(const toml::node& entry, std::string_view text) const;

    // Peers, groups and identities; each group with all that is in it.
    Members members(const toml::array& entries);
    // The index of the set that they make, in `document`.
    std::uint32_t member_set(const toml::array& entries, Document& document);
    std::vector<Prefix> prefixes(const toml::array& entries);
    std::vector<Service> services(const toml::array& entries, std::string_view key);
    // For tests: one peer, by name or key.
    const PublicKey* peer(std::string_view text);

  private:
    struct Group {
        const toml::key* key;
        const toml::array* entries;
        enum class State { untouched, open, done } state = State::untouched;
        Members members;
    };
    struct Set {
        const toml::array* entries;
        std::vector<Prefix> prefixes;
        std::vector<Service> services;
    };

    void read_peers(const toml::table& table);
    void read_groups(const toml::table& table);
    void read_sets(const toml::table& table);
    bool check_name(const toml::key& key, std::string_view what);
    void resolve(Group& group, unsigned depth);
    // Adds what one entry stands for.
    void add_members(const toml::node& entry, Members& to, unsigned depth);
    void unknown_name(const toml::node& entry, std::string_view text);
    bool add_prefix(const toml::node& entry, std::string_view text, std::vector<Prefix>& to);
    bool add_service(const toml::node& entry, std::string_view text, std::vector<Service>& to);
    const Set* set_named(const toml::node& entry, std::string_view text);

    Reader& reader_;
    std::map<std::string, PublicKey, std::less<>> peers_;
    std::map<std::string, Group, std::less<>> groups_;
    std::map<std::string, Set, std::less<>> sets_;
    std::map<Members, std::uint32_t> indices_;
    std::size_t members_ = 0;  // of all groups and sets so far
    PublicKey by_key_;
};

}  // namespace vern::policy
