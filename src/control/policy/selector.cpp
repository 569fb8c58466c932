#include "control/policy/selector.h"

#include <algorithm>
#include <array>

#include "control/text.h"

namespace vern::policy {
namespace {

using Kind = trust::Identity::Kind;
using Field = Selector::Field;

constexpr std::size_t kValueBytesMax = 256;
constexpr std::string_view kForm =
    "an identity is written \"ssh:principal=NAME\" or \"x509:cn=NAME\", more conditions after a ';'";

struct Key {
    std::string_view name;
    Field field;
    bool ssh, x509;
};
constexpr std::array kKeys{
    Key{"principal", Field::principal, true, false}, Key{"key-id", Field::key_id, true, false},
    Key{"cn", Field::common_name, false, true},      Key{"ou", Field::org_unit, false, true},
    Key{"san", Field::alternative, false, true},     Key{"issuer", Field::issuer, true, true},
    Key{"serial", Field::serial, true, true},        Key{"group", Field::group, true, true},
    Key{"ca", Field::authority, true, true},
};

std::string_view prefix_of(Kind kind) { return kind == Kind::ssh ? "ssh:" : "x509:"; }

std::string known_keys(Kind kind) {
    std::string names;
    for (const Key& key : kKeys) {
        if (kind == Kind::ssh ? key.ssh : key.x509)
            names += (names.empty() ? "" : ", ") + std::string(key.name);
    }
    return names;
}

// As certificates' are kept: ssh's decimal, x509's lower-case hexadecimal; no leading zeros. Openssl prints
// capitals, zeros, and colons between bytes. Nothing: it is no serial number.
std::optional<std::string> serial_number(Kind kind, std::string_view text) {
    constexpr std::size_t kDigitsMax = 40;  // RFC 5280, 4.1.2.2: 20 bytes
    if (kind == Kind::ssh) {
        const auto number = parse_decimal<std::uint64_t>(text);
        return number ? std::optional(std::to_string(*number)) : std::nullopt;
    }
    std::string digits;
    for (const char c : text) {
        const char low = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
        if (low == ':') continue;
        if (!((low >= '0' && low <= '9') || (low >= 'a' && low <= 'f'))) return std::nullopt;
        if (low != '0' || !digits.empty()) digits += low;
    }
    if (digits.size() > kDigitsMax) return std::nullopt;
    return digits.empty() ? "0" : digits;
}

bool holds(const Selector::Condition& condition, const trust::Identity& identity) {
    const auto among = [&](const std::vector<std::string>& all) {
        return std::ranges::find(all, condition.value) != all.end();
    };
    switch (condition.field) {
        case Field::principal: return among(identity.principals);
        case Field::key_id: return identity.key_id == condition.value;
        case Field::common_name: return identity.common_name == condition.value;
        case Field::org_unit: return among(identity.org_units);
        case Field::alternative: return among(identity.alternatives);
        case Field::issuer: return identity.issuer == condition.value;
        case Field::serial: return identity.serial == condition.value;
        case Field::group: return among(identity.groups);
        case Field::authority: return identity.authority == condition.value;
    }
    return false;
}

}  // namespace

bool is_selector(std::string_view text) { return text.starts_with("ssh:") || text.starts_with("x509:"); }

Result<Selector> parse_selector(std::string_view text) {
    Selector selector;
    selector.kind = text.starts_with("ssh:") ? Kind::ssh : Kind::x509;
    std::string_view rest = text.substr(std::min(text.size(), prefix_of(selector.kind).size()));
    while (true) {
        const std::string_view part = rest.substr(0, rest.find(';'));
        const auto equals = part.find('=');
        if (equals == std::string_view::npos || equals + 1 == part.size())
            return fail("'" + printable(text) + "': " + std::string(kForm));
        const std::string_view name = part.substr(0, equals), value = part.substr(equals + 1);
        const auto* key = std::ranges::find(kKeys, name, &Key::name);
        if (key == kKeys.end() || !(selector.kind == Kind::ssh ? key->ssh : key->x509))
            return fail("'" + printable(text) + "': no '" + printable(name) +
                        "' in such a certificate; there are " + known_keys(selector.kind));
        if (value.size() > kValueBytesMax || value != printable(value, kValueBytesMax))
            return fail("'" + printable(text) + "': up to 256 printable characters are matched");
        std::string wanted(value);
        if (key->field == Field::serial) {
            auto number = serial_number(selector.kind, value);
            if (!number)
                return fail("'" + printable(text) + "': a serial number is " +
                            (selector.kind == Kind::ssh ? "decimal" : "hexadecimal"));
            wanted = std::move(*number);
        }
        selector.conditions.push_back({key->field, std::move(wanted)});
        if (selector.conditions.size() > kConditionsMax)
            return fail("'" + printable(text) + "': more than 8 conditions");
        if (part.size() == rest.size()) break;
        rest.remove_prefix(part.size() + 1);
    }
    std::ranges::sort(selector.conditions);
    return selector;
}

std::string to_text(const Selector& selector) {
    std::string text(prefix_of(selector.kind));
    for (const auto& condition : selector.conditions) {
        if (&condition != &selector.conditions.front()) text += ';';
        text += std::ranges::find(kKeys, condition.field, &Key::field)->name;
        text += '=' + condition.value;
    }
    return text;
}

bool matches(const Selector& selector, const trust::Identity& identity) {
    return selector.kind == identity.kind &&
           std::ranges::all_of(selector.conditions, [&](const auto& one) { return holds(one, identity); });
}

trust::Identity example_of(const Selector& selector) {
    trust::Identity identity;
    identity.kind = selector.kind;
    for (const auto& [field, value] : selector.conditions) {
        switch (field) {
            case Field::principal: identity.principals.push_back(value); break;
            case Field::key_id: identity.key_id = value; break;
            case Field::common_name: identity.common_name = value; break;
            case Field::org_unit: identity.org_units.push_back(value); break;
            case Field::alternative: identity.alternatives.push_back(value); break;
            case Field::issuer: identity.issuer = value; break;
            case Field::serial: identity.serial = value; break;
            case Field::group: identity.groups.push_back(value); break;
            case Field::authority: identity.authority = value; break;
        }
    }
    return identity;
}

}  // namespace vern::policy
