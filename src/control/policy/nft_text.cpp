#include "control/policy/nft_text.h"

#include <fmt/format.h>

#include "control/text.h"

namespace vern::policy {

using nlohmann::json;

const json& at(const json& value, std::string_view key) {
    static const json kNone;
    if (!value.is_object()) return kNone;
    const auto found = value.find(key);
    return found == value.end() ? kNone : *found;
}
std::string string_at(const json& value, std::string_view key) {
    const json& found = at(value, key);
    return found.is_string() ? found.get<std::string>() : std::string();
}
std::optional<std::uint64_t> number_of(const json& value) {
    if (value.is_number_unsigned()) return value.get<std::uint64_t>();
    if (value.is_string()) return parse_decimal<std::uint64_t>(value.get<std::string>());
    return std::nullopt;
}

std::string list_text(const json& list) {
    std::string text;
    for (const json& entry : list) {
        if (text.size() > 200) return text + ", ...";
        text += (text.empty() ? "" : ", ") + value_text(entry);
    }
    return text;
}

std::string value_text(const json& value) {
    if (value.is_string()) return printable(value.get<std::string>());
    if (value.is_array()) return list_text(value);
    if (const json& set = at(value, "set"); set.is_array()) return "{ " + list_text(set) + " }";
    if (const json& prefix = at(value, "prefix"); prefix.is_object())
        return value_text(at(prefix, "addr")) + "/" + value_text(at(prefix, "len"));
    if (const json& range = at(value, "range"); range.is_array() && range.size() == 2)
        return value_text(range[0]) + "-" + value_text(range[1]);
    if (const json& elem = at(value, "elem"); elem.is_object()) return value_text(at(elem, "val"));
    return printable(value.dump(-1, ' ', false, json::error_handler_t::replace), 100);
}

std::string left_text(const json& left) {
    if (const json& meta = at(left, "meta"); meta.is_object()) return string_at(meta, "key");
    if (const json& ct = at(left, "ct"); ct.is_object()) return "ct " + string_at(ct, "key");
    if (const json& payload = at(left, "payload"); payload.is_object())
        return string_at(payload, "protocol") + " " + string_at(payload, "field");
    return value_text(left);
}

std::string statement_text(const json& statement) {
    if (!statement.is_object() || statement.empty()) return "?";
    const std::string kind = statement.begin().key();
    const json& body = *statement.begin();
    if (kind == "match") {
        const std::string op = string_at(body, "op");
        return left_text(at(body, "left")) + (op == "==" || op == "in" ? " " : " " + op + " ") +
               value_text(at(body, "right"));
    }
    if (kind == "limit") return "limit rate " + value_text(at(body, "rate")) + "/" + string_at(body, "per");
    if (kind == "log")
        return at(body, "prefix").is_string() ? "log prefix \"" + string_at(body, "prefix") + "\"" : "log";
    if (kind == "jump" || kind == "goto") return kind + " " + string_at(body, "target");
    if (kind == "vmap") return left_text(at(body, "key")) + " vmap " + value_text(at(body, "data"));
    if (kind == "reject")
        return body.is_object() && at(body, "type").is_string() ? "reject with " + string_at(body, "type")
                                                                : "reject";
    return printable(kind);
}

std::string rule_text(const json& rule) {
    std::string text;
    for (const json& statement : at(rule, "expr"))
        text += (text.empty() ? "" : " ") + statement_text(statement);
    if (const auto comment = string_at(rule, "comment"); !comment.empty())
        text += " comment \"" + comment + "\"";
    return printable(text, 400);
}

}  // namespace vern::policy
