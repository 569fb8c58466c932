#include "control/policy/names.h"

#include <algorithm>

#include "control/policy/language.h"
#include "control/policy/service_text.h"
#include "control/text.h"

namespace vern::policy {
namespace {

constexpr std::string_view kPeer = "peer:";

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '_' || c == '.';
    });
}

// "10.0.0.1", "fd00::/8", and what was meant to be one.
bool looks_like_address(std::string_view text) {
    return text.find_first_not_of("0123456789abcdefABCDEF.:/") == std::string_view::npos &&
           (text.find('/') != std::string_view::npos || text.find(':') != std::string_view::npos ||
            text.find_first_not_of("0123456789./") == std::string_view::npos);
}

bool looks_like_service(std::string_view text) {
    return text == "any" || text.starts_with("tcp") || text.starts_with("udp") || text.starts_with("icmp") ||
           text.starts_with("proto/");
}

bool looks_like_key(std::string_view text) { return text.size() == 44 && text.ends_with('='); }

std::string_view text_of(const toml::node& entry) { return entry.as_string()->get(); }

template <typename T>
void make_set(std::vector<T>& entries) {
    std::sort(entries.begin(), entries.end());
    entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
}

}  // namespace

Names::Names(Reader& reader, const toml::table& policy) : reader_(reader) {
    if (const auto* table = reader_.table(policy, "peers")) read_peers(*table);
    if (const auto* table = reader_.table(policy, "sets")) read_sets(*table);
    if (const auto* table = reader_.table(policy, "groups")) read_groups(*table);
}

bool Names::check_name(const toml::key& key, std::string_view what) {
    if (is_name(key.str())) return true;
    reader_.messages().error(position_of(key), in_quotes(key.str()) + " cannot name " + std::string(what) +
                                                   ": up to 64 letters, digits and any of -_.");
    return false;
}

void Names::read_peers(const toml::table& table) {
    if (table.size() > kNamesMax)
        return reader_.error(table, "more than " + std::to_string(kNamesMax) + " peers");
    std::map<PublicKey, std::string_view> owners;
    for (const auto& [key, value] : table) {
        if (!check_name(key, "a peer")) continue;
        const auto* text = value.as_string();
        PublicKey peer;
        if (text == nullptr || !from_base64(text->get(), peer.bytes)) {
            // What stands there may be a private key that lost its way.
            reader_.error(
                value, std::string(key.str()) + ": not a public key (44 characters of base64 ending in '=')");
            continue;
        }
        if (peer.is_zero()) {
            reader_.error(value, std::string(key.str()) + ": the key of zeros is nobody's");
            continue;
        }
        peers_.emplace(key.str(), peer);
        const auto [first, is_new] = owners.emplace(peer, key.str());
        if (!is_new)
            reader_.warn(value,
                         std::string(key.str()) + " has the same key as " + std::string(first->second));
    }
}

void Names::read_sets(const toml::table& table) {
    if (table.size() > kNamesMax)
        return reader_.error(table, "more than " + std::to_string(kNamesMax) + " sets");
    for (const auto& [key, value] : table) {
        if (!check_name(key, "a set")) continue;
        const auto* entries = reader_.list(value, key.str(), false);
        if (entries == nullptr) continue;
        Set set{.entries = entries, .prefixes = {}, .services = {}};
        const bool services = looks_like_service(text_of(*entries->begin()));
        for (const toml::node& entry : *entries) {
            const auto text = text_of(entry);
            if (text.starts_with('@')) {
                reader_.error(entry, "a set holds prefixes or services, not other sets");
            } else if (looks_like_service(text) != services) {
                reader_.error(entry, in_quotes(text) + ": a set holds prefixes or services, not both");
            } else if (services && text == "any") {
                reader_.error(entry, "a set of \"any\" says nothing: write \"any\" in the rule");
            } else if (services) {
                add_service(entry, text, set.services);
            } else {
                add_prefix(entry, text, set.prefixes);
            }
        }
        sets_.emplace(key.str(), std::move(set));
    }
}

void Names::read_groups(const toml::table& table) {
    if (table.size() > kNamesMax)
        return reader_.error(table, "more than " + std::to_string(kNamesMax) + " groups");
    for (const auto& [key, value] : table) {
        if (!check_name(key, "a group")) continue;
        if (peers_.contains(key.str())) {
            reader_.messages().error(
                position_of(key),
                in_quotes(key.str()) + " is a peer already: a group needs a name of its own");
            continue;
        }
        const auto* entries = reader_.list(value, key.str(), true);
        if (entries == nullptr) continue;
        if (entries->empty())
            reader_.messages().warn(position_of(key),
                                    "group " + in_quotes(key.str()) + " is empty: rules for it match nobody");
        groups_.emplace(key.str(), Group{.key = &key, .entries = entries, .members = {}});
    }
    for (auto& [name, group] : groups_) resolve(group, 0);
}

void Names::resolve(Group& group, unsigned depth) {
    if (group.state == Group::State::done) return;
    if (group.state == Group::State::open) {
        return reader_.messages().error(
            position_of(*group.key),
            "group " + in_quotes(group.key->str()) + " is in itself, by way of other groups or its own list");
    }
    if (depth > kGroupDepthMax) {
        group.state = Group::State::done;
        return reader_.messages().error(
            position_of(*group.key),
            "groups within groups, more than " + std::to_string(kGroupDepthMax) + " deep");
    }
    group.state = Group::State::open;
    for (const toml::node& entry : *group.entries) add_members(entry, group.members, depth);
    group.state = Group::State::done;
    make_set(group.members.peers);
    make_set(group.members.selectors);
}

void Names::add_members(const toml::node& entry, Members& to, unsigned depth) {
    const std::string_view text = text_of(entry);
    const auto count = [&](std::size_t more) {
        members_ += more;
        if (members_ <= kGroupMembersMax) return true;
        reader_.error(
            entry, "groups of more than " + std::to_string(kGroupMembersMax) + " peers, all taken together");
        return false;
    };
    if (members_ > kGroupMembersMax) return;
    if (is_selector(text)) {
        auto selector = parse_selector(text);
        if (!selector) return reader_.error(entry, selector.error().message);
        if (count(1)) to.selectors.push_back(std::move(*selector));
        return;
    }
    if (const PublicKey* key = peer(text)) {
        if (count(1)) to.peers.push_back(*key);
        return;
    }
    const auto group = groups_.find(text);
    if (group == groups_.end()) return unknown_name(entry, text);
    resolve(group->second, depth + 1);
    if (group->second.state != Group::State::done) return;
    const Members& from = group->second.members;
    if (!count(from.peers.size() + from.selectors.size())) return;
    to.peers.insert(to.peers.end(), from.peers.begin(), from.peers.end());
    to.selectors.insert(to.selectors.end(), from.selectors.begin(), from.selectors.end());
}

const PublicKey* Names::peer(std::string_view text) {
    const bool marked = text.starts_with(kPeer);
    if (marked) text.remove_prefix(kPeer.size());
    if (const auto found = peers_.find(text); found != peers_.end()) return &found->second;
    return marked && from_base64(text, by_key_.bytes) && !by_key_.is_zero() ? &by_key_ : nullptr;
}

void Names::unknown_name(const toml::node& entry, std::string_view text) {
    if (text.starts_with(kPeer)) {
        const std::string_view name = text.substr(kPeer.size());
        return reader_.error(
            entry, "unknown peer " + in_quotes(name) + ": neither a name of [peers] nor a public key");
    }
    if (looks_like_key(text))
        return reader_.error(entry, "a peer's key is written \"peer:" + printable(text) + "\"");
    if (text == "any" || text == "*")
        return reader_.error(entry,
                             in_quotes(text) + " is not a group: leave the key out if anybody is meant");
    std::string what = "unknown group or peer " + in_quotes(text);
    std::string_view nearest;
    const std::string_view wrong = text.substr(0, 64);
    const auto consider = [&](std::string_view known) {
        if (is_likely_meant(known, wrong) &&
            (nearest.empty() || letters_apart(known, wrong) < letters_apart(nearest, wrong)))
            nearest = known;
    };
    if (groups_.size() + peers_.size() <= 1024) {
        for (const auto& [name, group] : groups_) consider(name);
        for (const auto& [name, key] : peers_) consider(name);
    }
    if (!nearest.empty()) what += " (" + std::string(nearest) + "?)";
    reader_.error(entry, what);
}

Names::Kind Names::kind_of(const toml::node& entry, std::string_view text) const {
    if (text.starts_with('@') || looks_like_address(text)) return Kind::prefix;
    if (!looks_like_service(text) || text == "any") return Kind::peers;
    if (groups_.contains(text) || peers_.contains(text)) return Kind::peers;
    reader_.error(entry, in_quotes(text) + " is a service: services stand behind allow, deny or reject");
    return Kind::nothing;
}

Members Names::members(const toml::array& entries) {
    Members members;
    for (const toml::node& entry : entries) add_members(entry, members, 0);
    make_set(members.peers);
    make_set(members.selectors);
    return members;
}

std::uint32_t Names::member_set(const toml::array& entries, Document& document) {
    const auto [found, is_new] =
        indices_.emplace(members(entries), static_cast<std::uint32_t>(document.member_sets.size()));
    if (is_new) document.member_sets.push_back(found->first);
    if (is_new && document.member_sets.size() > kPeerSetsMax)
        reader_.error(entries, "more than " + std::to_string(kPeerSetsMax) + " different sets of peers");
    return found->second;
}

bool Names::add_prefix(const toml::node& entry, std::string_view text, std::vector<Prefix>& to) {
    const auto whole = parse_interface_address(text);
    if (!whole) {
        reader_.error(entry, in_quotes(text) + " is not a prefix (10.0.0.0/24, fd00::/64, or an address)");
        return false;
    }
    const auto prefix = parse_prefix(text);
    if (!prefix || *prefix != *whole) {
        reader_.error(entry, in_quotes(text) + " has bits behind its length (" +
                                 (prefix ? to_text(*prefix) : std::string()) + ", or " +
                                 to_text(whole->address) + " alone?)");
        return false;
    }
    to.push_back(*prefix);
    return true;
}

bool Names::add_service(const toml::node& entry, std::string_view text, std::vector<Service>& to) {
    const auto service = parse_service(text);
    if (service) {
        to.push_back(*service);
    } else {
        reader_.error(entry, service.error().message);
    }
    return service.has_value();
}

const Names::Set* Names::set_named(const toml::node& entry, std::string_view text) {
    const auto found = sets_.find(text.substr(1));
    if (found != sets_.end()) return &found->second;
    reader_.error(entry, "unknown set " + in_quotes(text) + ": [sets] has none of that name");
    return nullptr;
}

std::vector<Prefix> Names::prefixes(const toml::array& entries) {
    std::vector<Prefix> found;
    for (const toml::node& entry : entries) {
        const auto text = text_of(entry);
        if (!text.starts_with('@')) {
            add_prefix(entry, text, found);
        } else if (const Set* set = set_named(entry, text)) {
            if (!set->services.empty())
                reader_.error(entry, in_quotes(text) + " is a set of services, and prefixes are wanted");
            found.insert(found.end(), set->prefixes.begin(), set->prefixes.end());
        }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

std::vector<Service> Names::services(const toml::array& entries, std::string_view key) {
    std::vector<Service> found;
    for (const toml::node& entry : entries) {
        const auto text = text_of(entry);
        if (text == "any") {
            if (entries.size() > 1)
                reader_.error(
                    entry, std::string(key) + ": \"any\" stands alone, or it would hide what is beside it");
            return {};
        }
        if (!text.starts_with('@')) {
            add_service(entry, text, found);
        } else if (const Set* set = set_named(entry, text)) {
            if (!set->prefixes.empty())
                reader_.error(entry, in_quotes(text) + " is a set of prefixes, and services are wanted");
            found.insert(found.end(), set->services.begin(), set->services.end());
        }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

}  // namespace vern::policy
