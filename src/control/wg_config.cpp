#include "control/wg_config.h"

#include <algorithm>
#include <array>
#include <map>

#include "control/text.h"

namespace vern {
namespace {

constexpr std::size_t kErrorsToldMax = 10;
constexpr std::size_t kWarningsToldMax = 10;
constexpr std::uint32_t kMtuMin = 68;  // RFC 791
constexpr std::uint32_t kMtuMax = 65535;
constexpr std::string_view kNotAKey = "not a key (44 characters of base64 ending in '=')";

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

std::string_view trim(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_word(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

// For errors. What looks like a key in the wrong place may be a private one.
std::string shown(std::string_view value) {
    const auto of_base64 = [](char c) {
        return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' ||
               c == '=';
    };
    std::size_t run = 0;
    for (const char c : value) {
        run = of_base64(c) ? run + 1 : 0;
        if (run >= 32) return "(not shown)";
    }
    return "'" + printable(value) + "'";
}

enum class Section { none, interface, peer, unknown };

class Parser {
  public:
    Parser(std::string_view text, std::string_view file_name) : rest_(text), file_(file_name) {}
    Result<WgConfig> run();

  private:
    using Read = void (Parser::*)(std::string_view value);
    struct Key {
        std::string_view name;
        Section section;
        bool repeats;  // may come several times
        bool may_be_empty;
        Read read;
    };
    static const std::array<Key, 17> kKeys;

    void take_line(std::string_view line);
    void begin_section(std::string_view line);
    void take_key(std::string_view name, std::string_view value);
    void unknown_key(std::string_view name);
    void finish_peer();
    void warn_of_shared_prefixes();

    void error(const std::string& what) { error_at(line_, what); }
    void error_at(unsigned line, const std::string& what);
    void warn_at(unsigned line, const std::string& what);
    // "file:line: Key: what".
    void bad(const std::string& what) { error(std::string(key_) + ": " + what); }

    WgConfigPeer& peer() { return config_.peers.back(); }
    template <typename Take>
    void each_word(std::string_view value, Take take);

    void read_private_key(std::string_view value);
    void read_listen_port(std::string_view value);
    void read_fwmark(std::string_view value);
    void read_address(std::string_view value);
    void read_dns(std::string_view value);
    void read_mtu(std::string_view value);
    void read_table(std::string_view value);
    void read_pre_up(std::string_view value) { config_.pre_up.emplace_back(value); }
    void read_post_up(std::string_view value) { config_.post_up.emplace_back(value); }
    void read_pre_down(std::string_view value) { config_.pre_down.emplace_back(value); }
    void read_post_down(std::string_view value) { config_.post_down.emplace_back(value); }
    void read_save_config(std::string_view value);
    void read_public_key(std::string_view value);
    void read_preshared_key(std::string_view value);
    void read_allowed_ips(std::string_view value);
    void read_endpoint(std::string_view value);
    void read_keepalive(std::string_view value);

    std::string_view rest_;
    std::string file_;
    unsigned line_ = 0;
    std::string_view key_;  // in its usual spelling
    Section section_ = Section::none;
    unsigned interface_line_ = 0;
    bool has_public_key_ = false;                // the peer being read
    std::map<std::string_view, unsigned> seen_;  // keys of the section being read, and where
    std::map<PublicKey, unsigned> peer_lines_;   // where each peer was first
    WgConfig config_;
    std::string errors_;
    std::size_t error_count_ = 0;
};

const std::array<Parser::Key, 17> Parser::kKeys{{
    {"PrivateKey", Section::interface, false, false, &Parser::read_private_key},
    {"ListenPort", Section::interface, false, false, &Parser::read_listen_port},
    {"FwMark", Section::interface, false, false, &Parser::read_fwmark},
    {"Address", Section::interface, true, true, &Parser::read_address},
    {"DNS", Section::interface, true, true, &Parser::read_dns},
    {"MTU", Section::interface, false, false, &Parser::read_mtu},
    {"Table", Section::interface, false, false, &Parser::read_table},
    {"PreUp", Section::interface, true, true, &Parser::read_pre_up},
    {"PostUp", Section::interface, true, true, &Parser::read_post_up},
    {"PreDown", Section::interface, true, true, &Parser::read_pre_down},
    {"PostDown", Section::interface, true, true, &Parser::read_post_down},
    {"SaveConfig", Section::interface, false, false, &Parser::read_save_config},
    {"PublicKey", Section::peer, false, false, &Parser::read_public_key},
    {"PresharedKey", Section::peer, false, false, &Parser::read_preshared_key},
    {"AllowedIPs", Section::peer, true, true, &Parser::read_allowed_ips},
    {"Endpoint", Section::peer, false, false, &Parser::read_endpoint},
    {"PersistentKeepalive", Section::peer, false, false, &Parser::read_keepalive},
}};

void Parser::error_at(unsigned line, const std::string& what) {
    if (++error_count_ > kErrorsToldMax) return;
    if (!errors_.empty()) errors_ += '\n';
    errors_ += file_ + ":" + std::to_string(line) + ": " + what;
}

void Parser::warn_at(unsigned line, const std::string& what) {
    if (config_.warnings.size() < kWarningsToldMax)
        config_.warnings.push_back(file_ + ":" + std::to_string(line) + ": " + what);
}

Result<WgConfig> Parser::run() {
    if (rest_.size() > kWgConfigBytesMax) return fail(file_ + ": larger than 256 MiB", EFBIG);
    if (rest_.starts_with("\xef\xbb\xbf")) rest_.remove_prefix(3);  // Windows editors put it there
    while (!rest_.empty()) {
        ++line_;
        const auto end = rest_.find('\n');
        take_line(rest_.substr(0, end));
        rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    }
    finish_peer();
    if (interface_line_ == 0) error_at(1, "no [Interface] section");
    warn_of_shared_prefixes();
    if (error_count_ == 0) return std::move(config_);
    if (error_count_ > kErrorsToldMax)
        errors_ += "\n" + file_ + ": and " + std::to_string(error_count_ - kErrorsToldMax) + " more";
    return fail(errors_);
}

void Parser::take_line(std::string_view line) {
    line = trim(line.substr(0, line.find('#')));
    if (line.empty()) return;
    if (line.find('\0') != std::string_view::npos) return error("has a zero byte: not a text file");
    if (line.front() == '[') return begin_section(line);
    const auto equals = line.find('=');
    // The line itself may be a key that lost its name: it is not repeated.
    if (equals == std::string_view::npos) return error("neither a [Section] nor 'Key = value'");
    take_key(trim(line.substr(0, equals)), trim(line.substr(equals + 1)));
}

void Parser::begin_section(std::string_view line) {
    finish_peer();
    seen_.clear();
    if (same_word(line, "[Interface]")) {
        section_ = Section::interface;
        if (interface_line_ != 0)
            error("second [Interface], first on line " + std::to_string(interface_line_));
        if (interface_line_ == 0) interface_line_ = line_;
        return;
    }
    if (same_word(line, "[Peer]")) {
        section_ = Section::peer;
        config_.peers.emplace_back();
        peer().line = line_;
        peer().change.replace_allowed_ips = true;
        has_public_key_ = false;
        if (config_.peers.size() > kPeersMax) error("more than 2^20 peers");
        return;
    }
    section_ = Section::unknown;
    error("unknown section " + shown(line) + " ([Interface] or [Peer])");
}

void Parser::take_key(std::string_view name, std::string_view value) {
    if (section_ == Section::unknown) return;  // one error is enough
    const auto known =
        std::find_if(kKeys.begin(), kKeys.end(), [&](const Key& key) { return same_word(key.name, name); });
    if (known == kKeys.end()) return unknown_key(name);
    key_ = known->name;
    if (section_ == Section::none) return bad("before any section: [Interface] must come first");
    if (known->section != section_) {
        return bad(known->section == Section::peer ? "belongs in a [Peer] section"
                                                   : "belongs in the [Interface] section");
    }
    const auto [first, is_first] = seen_.emplace(known->name, line_);
    if (!is_first && !known->repeats)
        return bad("given twice, first on line " + std::to_string(first->second));
    if (value.empty() && !known->may_be_empty) return bad("has no value");
    if (!value.empty()) (this->*known->read)(value);
}

void Parser::unknown_key(std::string_view name) {
    // A long "name" may be a piece of a key with its '=' at the end.
    if (name.empty() || name.size() > 24) return error("not of the form 'Key = value' with a known key");
    if (error_count_ >= kErrorsToldMax) return error("");  // only counted
    const auto nearest = std::min_element(kKeys.begin(), kKeys.end(), [&](const Key& a, const Key& b) {
        return letters_apart(a.name, name) < letters_apart(b.name, name);
    });
    std::string what = "unknown key " + shown(name);
    if (is_likely_meant(nearest->name, name)) {
        what += " (" + std::string(nearest->name) + "?)";
    }
    error(what);
}

void Parser::finish_peer() {
    if (section_ != Section::peer || has_public_key_) return;
    if (seen_.contains("PublicKey")) return;  // there, but wrong: already told
    error_at(peer().line, "[Peer] without PublicKey");
}

// One prefix belongs to one peer; as in the kernel the last one gets it, which is hardly what two lines were
// written for.
void Parser::warn_of_shared_prefixes() {
    std::map<Prefix, unsigned> owner;
    for (const WgConfigPeer& entry : config_.peers) {
        for (const AllowedIpChange& allowed : entry.change.allowed_ips) {
            const auto [first, is_new] = owner.emplace(allowed.prefix, entry.line);
            if (is_new || first->second == entry.line) continue;
            warn_at(entry.line, "AllowedIPs: " + to_text(allowed.prefix) + " is also of the peer on line " +
                                    std::to_string(first->second) + "; only this peer gets it");
            first->second = entry.line;
        }
    }
}

// Lists that wg-quick itself reads: commas, spaces or both between the words.
template <typename Take>
void Parser::each_word(std::string_view value, Take take) {
    const auto between = [](char c) { return c == ',' || is_space(c); };
    while (true) {
        while (!value.empty() && between(value.front())) value.remove_prefix(1);
        if (value.empty()) return;
        const auto end =
            static_cast<std::size_t>(std::find_if(value.begin(), value.end(), between) - value.begin());
        take(value.substr(0, end));
        value.remove_prefix(end);
    }
}

void Parser::read_private_key(std::string_view value) {
    PrivateKey key;
    if (!from_base64(value, key.writable())) return bad(std::string(kNotAKey));
    if (!key.is_zero()) clamp(key);
    config_.private_key = std::move(key);
}

void Parser::read_listen_port(std::string_view value) {
    config_.listen_port = parse_port(value);
    if (!config_.listen_port) bad(shown(value) + " is not a port (0 to 65535)");
}

void Parser::read_fwmark(std::string_view value) {
    if (same_word(value, "off")) {
        config_.fwmark = 0;
        return;
    }
    if (value.size() > 2 && value.size() <= 10 && same_word(value.substr(0, 2), "0x")) {
        std::uint32_t mark = 0;
        const auto [end, status] = std::from_chars(value.data() + 2, value.data() + value.size(), mark, 16);
        if (status == std::errc{} && end == value.data() + value.size()) config_.fwmark = mark;
    } else {
        config_.fwmark = parse_decimal<std::uint32_t>(value);
    }
    if (!config_.fwmark)
        bad(shown(value) + " is not a mark (off, a number, or 0x and up to 8 hexadecimal digits)");
}

void Parser::read_address(std::string_view value) {
    each_word(value, [&](std::string_view word) {
        const auto address = parse_interface_address(word);
        if (!address) return bad(shown(word) + " is not an IP address with or without /length");
        config_.addresses.push_back(*address);
    });
}

void Parser::read_dns(std::string_view value) {
    each_word(value, [&](std::string_view word) {
        if (const auto address = parse_address(word)) {
            config_.dns.push_back(*address);
            return;
        }
        const bool numeric = word.find(':') != std::string_view::npos ||
                             word.find_first_not_of("0123456789./") == std::string_view::npos;
        if (numeric) return bad(shown(word) + " is not an IP address");
        const bool name = std::all_of(word.begin(), word.end(), [](char c) {
            return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                   c == '_' || c == '~';
        });
        if (!name) return bad(shown(word) + " is neither an IP address nor a search domain");
        config_.dns_search.emplace_back(word);
    });
}

void Parser::read_mtu(std::string_view value) {
    const auto mtu = parse_decimal<std::uint32_t>(value, kMtuMax);
    if (!mtu || *mtu < kMtuMin)
        return bad(shown(value) + " is not an MTU (68 to 65535; 1280 at least for IPv6)");
    config_.mtu = *mtu;
}

void Parser::read_table(std::string_view value) {
    const bool plain =
        value.size() <= 64 && value.front() != '-' && std::all_of(value.begin(), value.end(), [](char c) {
            return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                   c == '_';
        });
    const bool number = value.find_first_not_of("0123456789") == std::string_view::npos;
    const auto index = parse_decimal<std::uint32_t>(value);
    if (!plain || (number && (!index || *index == 0))) {
        return bad(shown(value) +
                   " is not a routing table (auto, off, a number from 1 to 4294967295, or a name)");
    }
    config_.table = value;
    for (const std::string_view word : {"auto", "off"}) {
        if (same_word(value, word)) config_.table = word;
    }
}

void Parser::read_save_config(std::string_view value) {
    config_.save_config = same_word(value, "true");
    if (!config_.save_config && !same_word(value, "false")) bad(shown(value) + " is neither true nor false");
}

void Parser::read_public_key(std::string_view value) {
    PublicKey key;
    if (!from_base64(value, key.bytes)) return bad(std::string(kNotAKey));
    const auto [first, is_new] = peer_lines_.emplace(key, peer().line);
    if (!is_new) bad("duplicate peer, first on line " + std::to_string(first->second));
    peer().change.public_key = key;
    has_public_key_ = true;
}

void Parser::read_preshared_key(std::string_view value) {
    PresharedKey key;
    if (!from_base64(value, key.writable())) return bad(std::string(kNotAKey));
    peer().change.preshared_key = std::move(key);
}

void Parser::read_allowed_ips(std::string_view value) {
    while (true) {
        const auto comma = value.find(',');
        const std::string_view word = trim(value.substr(0, comma));
        const auto prefix = parse_prefix(word);
        if (prefix) {
            peer().change.allowed_ips.push_back({.prefix = *prefix, .remove = false});
        } else {
            bad(shown(word) + " is not an IP address with or without /length" +
                (word.find(' ') != std::string_view::npos ? " (commas go between several)" : ""));
        }
        if (comma == std::string_view::npos) return;
        value.remove_prefix(comma + 1);
    }
}

void Parser::read_endpoint(std::string_view value) {
    if (const auto parts = split_endpoint(value); !parts)
        return bad(shown(value) + ": " + parts.error().message);
    peer().endpoint_text = value;
    peer().endpoint_line = line_;
    if (auto numeric = parse_endpoint(value)) {
        peer().change.endpoint = *numeric;
    } else if (value.front() == '[') {
        bad(shown(value) + ": " + numeric.error().message);
    }
}

void Parser::read_keepalive(std::string_view value) {
    auto& keepalive = peer().change.persistent_keepalive_s;
    keepalive =
        same_word(value, "off") ? std::optional<std::uint16_t>(0) : parse_decimal<std::uint16_t>(value);
    if (!keepalive) bad(shown(value) + " is not a number of seconds (off, or 0 to 65535)");
}

// --- writing ---

void put_key(SecretText& out, std::string_view name, std::span<const std::byte, kKeyBytes> key) {
    std::string text = to_base64(key);
    out.append(name).append(" = ").append(text).append("\n");
    sodium_memzero(text.data(), text.size());
}

template <typename Value>
void put(SecretText& out, std::string_view name, const Value& value) {
    out.append(name).append(" = ");
    if constexpr (std::unsigned_integral<Value>) {
        append_decimal(out, value);
    } else if constexpr (std::convertible_to<Value, std::string_view>) {
        out.append(std::string_view(value));
    } else {
        append_text(out, value);
    }
    out.push_back('\n');
}

template <typename Values>
void put_each(SecretText& out, std::string_view name, const Values& values) {
    for (const auto& value : values) put(out, name, value);
}

void put_interface(SecretText& out, const WgConfig& kept, const DeviceStatus& status) {
    out += "[Interface]\n";
    put_each(out, "Address", kept.addresses);
    put_each(out, "DNS", kept.dns);
    put_each(out, "DNS", kept.dns_search);
    if (kept.mtu) put(out, "MTU", *kept.mtu);
    if (kept.table != "auto") put(out, "Table", kept.table);
    if (kept.save_config) put(out, "SaveConfig", "true");
    put_each(out, "PreUp", kept.pre_up);
    put_each(out, "PostUp", kept.post_up);
    put_each(out, "PreDown", kept.pre_down);
    put_each(out, "PostDown", kept.post_down);
    if (status.listen_port != 0) put(out, "ListenPort", status.listen_port);
    if (status.fwmark != 0) {
        std::array<char, 8> digits;
        const auto [end, error] =
            std::to_chars(digits.data(), digits.data() + digits.size(), status.fwmark, 16);
        put(out, "FwMark", "0x" + std::string(digits.data(), end));
    }
    if (status.private_key) put_key(out, "PrivateKey", status.private_key->span());
}

void put_peer(SecretText& out, const PeerStatus& peer) {
    out += "\n[Peer]\n";
    put_key(out, "PublicKey", peer.public_key.bytes);
    if (!peer.preshared_key.is_zero()) put_key(out, "PresharedKey", peer.preshared_key.span());
    if (!peer.allowed_ips.empty()) {
        out += "AllowedIPs = ";
        for (std::size_t i = 0; i < peer.allowed_ips.size(); ++i) {
            if (i != 0) out += ", ";
            append_text(out, peer.allowed_ips[i]);
        }
        out.push_back('\n');
    }
    if (peer.endpoint.known()) put(out, "Endpoint", peer.endpoint);
    if (peer.persistent_keepalive_s != 0) put(out, "PersistentKeepalive", peer.persistent_keepalive_s);
}

}  // namespace

Result<WgConfig> parse_wg_config(std::string_view text, std::string_view file_name) {
    return Parser(text, file_name).run();
}

Result<void> require_private_key(const WgConfig& config, std::string_view file_name) {
    if (config.private_key) return {};
    for (const auto* hooks : {&config.pre_up, &config.post_up}) {
        for (const std::string& hook : *hooks) {
            if (hook.find("private-key") != std::string::npos || hook.find("setconf") != std::string::npos)
                return {};
        }
    }
    return fail(std::string(file_name) + ": [Interface] has no PrivateKey (`vern genkey` makes one)");
}

DeviceChange device_change_of(const WgConfig& config) {
    DeviceChange change;
    if (config.private_key) change.private_key = config.private_key->clone();
    change.listen_port = config.listen_port;
    change.fwmark = config.fwmark;
    change.replace_peers = true;
    change.peers.reserve(config.peers.size());
    for (const WgConfigPeer& from : config.peers) {
        PeerChange& peer = change.peers.emplace_back();
        peer.public_key = from.change.public_key;
        if (from.change.preshared_key) peer.preshared_key = from.change.preshared_key->clone();
        peer.endpoint = from.change.endpoint;
        peer.persistent_keepalive_s = from.change.persistent_keepalive_s;
        peer.replace_allowed_ips = true;
        peer.allowed_ips = from.change.allowed_ips;
    }
    return change;
}

SecretText format_wg_config(const WgConfig& kept, const DeviceStatus& status) {
    SecretText out;
    put_interface(out, kept, status);
    for (const PeerStatus& peer : status.peers) put_peer(out, peer);
    return out;
}

}  // namespace vern
