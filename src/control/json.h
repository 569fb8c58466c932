// JSON, compiled once: the library is all templates, and each file that uses it would make them again.
#pragma once

#include <nlohmann/json.hpp>

#include <string_view>

namespace vern {

// Whether arrays and objects are within one another more than `depth` times; of what is no JSON, either.
inline bool is_deeper(std::string_view text, std::size_t depth) {
    std::size_t now = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted) {
            if (c == '\\') ++i;
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++now > depth) return true;
        } else if ((c == ']' || c == '}') && now > 0) {
            --now;
        }
    }
    return false;
}

}  // namespace vern

extern template class nlohmann::basic_json<>;
extern template class nlohmann::detail::serializer<nlohmann::json>;
