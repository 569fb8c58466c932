// Takes values of the expected kind out of TOML, and tells where another one stands. A missing key is no
// error here.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "control/policy/messages.h"
#include "control/policy/toml.h"

namespace vern::policy {

Position position_of(const toml::node& node);
Position position_of(const toml::key& key);
std::string in_quotes(std::string_view text);  // in quotes, fit for one line

class Reader {
  public:
    explicit Reader(Messages& messages) : messages_(messages) {}

    // Keys of `table` that are none of `known` are errors; `where` says whose keys these are ("a rule").
    void only(const toml::table& table, std::initializer_list<std::string_view> known,
              std::string_view where);

    const toml::table* table(const toml::table& in, std::string_view key);
    // Of texts, and not empty unless that is said. Too long a list is an error as well.
    const toml::array* list(const toml::table& in, std::string_view key, bool may_be_empty = false);
    const toml::array* list(const toml::node& node, std::string_view key, bool may_be_empty);
    std::optional<std::string> text(const toml::table& in, std::string_view key, std::size_t bytes_max = 256);
    std::optional<bool> truth(const toml::table& in, std::string_view key);
    std::optional<std::int64_t> number(const toml::table& in, std::string_view key, std::int64_t min,
                                       std::int64_t max);
    // [[key]]: calls take(table) for each.
    template <typename Take>
    void tables(const toml::table& in, std::string_view key, std::size_t count_max, Take take);

    void error(const toml::node& at, std::string what) { messages_.error(position_of(at), std::move(what)); }
    void warn(const toml::node& at, std::string what) { messages_.warn(position_of(at), std::move(what)); }
    Messages& messages() { return messages_; }

  private:
    Messages& messages_;
};

template <typename Take>
void Reader::tables(const toml::table& in, std::string_view key, std::size_t count_max, Take take) {
    const toml::node* node = in.get(key);
    if (node == nullptr) return;
    const toml::array* array = node->as_array();
    if (array == nullptr)
        return error(*node, "write [[" + std::string(key) + "]], one for each " + std::string(key));
    if (array->size() > count_max)
        return error(*node, "more than " + std::to_string(count_max) + " of [[" + std::string(key) + "]]");
    for (const toml::node& entry : *array) {
        if (const toml::table* table = entry.as_table()) {
            take(*table);
        } else {
            error(entry, "write [[" + std::string(key) + "]], one for each " + std::string(key));
        }
    }
}

}  // namespace vern::policy
