#include "control/policy/reader.h"

#include <algorithm>

#include "control/policy/language.h"
#include "control/text.h"

namespace vern::policy {
namespace {

Position position_of(const toml::source_region& region) {
    return {std::max<unsigned>(1, region.begin.line), std::max<unsigned>(1, region.begin.column)};
}

std::string_view kind_of(const toml::node& node) {
    switch (node.type()) {
        case toml::node_type::table: return "a table";
        case toml::node_type::array: return "a list";
        case toml::node_type::string: return "a text";
        case toml::node_type::integer:
        case toml::node_type::floating_point: return "a number";
        case toml::node_type::boolean: return "true or false";
        default: return "a date";
    }
}

std::string wrong_kind(std::string_view key, const toml::node& node, std::string_view wanted) {
    return std::string(key) + ": " + std::string(wanted) + " is wanted, not " + std::string(kind_of(node));
}

}  // namespace

Position position_of(const toml::node& node) { return position_of(node.source()); }
Position position_of(const toml::key& key) { return position_of(key.source()); }
std::string in_quotes(std::string_view text) { return "'" + printable(text) + "'"; }

void Reader::only(const toml::table& table, std::initializer_list<std::string_view> known,
                  std::string_view where) {
    for (const auto& [key, value] : table) {
        if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
        std::string what = "unknown key " + in_quotes(key.str()) + " in " + std::string(where);
        const std::string_view wrong = key.str().substr(0, 64);
        const auto nearest = std::min_element(known.begin(), known.end(), [&](auto a, auto b) {
            return letters_apart(a, wrong) < letters_apart(b, wrong);
        });
        if (is_likely_meant(*nearest, wrong)) {
            what += " (" + std::string(*nearest) + "?)";
        } else {
            what += "; it may have";
            for (const std::string_view name : known)
                what += (name == *known.begin() ? " " : ", ") + std::string(name);
        }
        messages_.error(position_of(key), what);
    }
}

const toml::table* Reader::table(const toml::table& in, std::string_view key) {
    const toml::node* node = in.get(key);
    if (node == nullptr) return nullptr;
    if (const toml::table* table = node->as_table()) return table;
    error(*node, wrong_kind(key, *node, "a table"));
    return nullptr;
}

const toml::array* Reader::list(const toml::table& in, std::string_view key, bool may_be_empty) {
    const toml::node* node = in.get(key);
    return node == nullptr ? nullptr : list(*node, key, may_be_empty);
}

const toml::array* Reader::list(const toml::node& node, std::string_view key, bool may_be_empty) {
    const toml::array* array = node.as_array();
    if (array == nullptr) {
        std::string what = wrong_kind(key, node, "a list");
        if (const auto* text = node.as_string()) what += " (write [\"" + printable(text->get()) + "\"])";
        error(node, what);
        return nullptr;
    }
    if (array->empty() && !may_be_empty) {
        error(node,
              std::string(key) + ": an empty list never means \"any\"; leave the key out if any is meant");
        return nullptr;
    }
    if (array->size() > kListEntriesMax) {
        error(node, std::string(key) + ": more than " + std::to_string(kListEntriesMax) + " entries");
        return nullptr;
    }
    for (const toml::node& entry : *array) {
        if (entry.is_string()) continue;
        error(entry, wrong_kind(key, entry, "a text in quotes"));
        return nullptr;
    }
    return array;
}

std::optional<std::string> Reader::text(const toml::table& in, std::string_view key, std::size_t bytes_max) {
    const toml::node* node = in.get(key);
    if (node == nullptr) return std::nullopt;
    const auto* text = node->as_string();
    if (text == nullptr) {
        error(*node, wrong_kind(key, *node, "a text in quotes"));
        return std::nullopt;
    }
    if (text->get().size() > bytes_max) {
        error(*node, std::string(key) + ": longer than " + std::to_string(bytes_max) + " bytes");
        return std::nullopt;
    }
    return text->get();
}

std::optional<bool> Reader::truth(const toml::table& in, std::string_view key) {
    const toml::node* node = in.get(key);
    if (node == nullptr) return std::nullopt;
    if (const auto* value = node->as_boolean()) return value->get();
    error(*node, wrong_kind(key, *node, "true or false"));
    return std::nullopt;
}

std::optional<std::int64_t> Reader::number(const toml::table& in, std::string_view key, std::int64_t min,
                                           std::int64_t max) {
    const toml::node* node = in.get(key);
    if (node == nullptr) return std::nullopt;
    const auto* value = node->as_integer();
    if (value == nullptr) {
        error(*node, wrong_kind(key, *node, "a whole number"));
        return std::nullopt;
    }
    if (value->get() >= min && value->get() <= max) return value->get();
    error(*node, std::string(key) + ": " + std::to_string(value->get()) + " is not from " +
                     std::to_string(min) + " to " + std::to_string(max));
    return std::nullopt;
}

}  // namespace vern::policy
