#include "control/api/target.h"

#include <algorithm>
#include <optional>

namespace vern::api {
namespace {

bool is_unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

// What may stand in a segment of a path without being encoded: pchar. A query may hold "/" and "?" too.
bool is_literal(char c, bool in_query) {
    return is_unreserved(c) || std::string_view("!$&'()*+,;=:@").find(c) != std::string_view::npos ||
           (in_query && (c == '/' || c == '?'));
}

std::optional<unsigned> hex_digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
    return std::nullopt;
}

Result<std::string> decode(std::string_view text, bool in_query) {
    std::string out;
    while (!text.empty()) {
        const char c = text.front();
        text.remove_prefix(1);
        if (c != '%') {
            if (!is_literal(c, in_query)) return fail("a character that has to be percent-encoded");
            out += in_query && c == '+' ? ' ' : c;
            continue;
        }
        const auto high = text.size() >= 2 ? hex_digit(text[0]) : std::nullopt;
        const auto low = text.size() >= 2 ? hex_digit(text[1]) : std::nullopt;
        if (!high || !low) return fail("'%' without two hexadecimal digits");
        text.remove_prefix(2);
        const unsigned value = *high * 16 + *low;
        if (value < 0x20 || value == 0x7f) return fail("an encoded control character");
        if (value == '/' && !in_query) return fail("an encoded slash");
        out += static_cast<char>(value);
    }
    return out;
}

// Takes off what stands before the next `end`.
std::string_view take(std::string_view& text, char end) {
    const std::string_view part = text.substr(0, text.find(end));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    return part;
}

Result<void> read_path(std::string_view text, Target& target) {
    if (!text.starts_with('/')) return fail("the target does not begin with '/'");
    if (text == "/") return {};
    if (text.ends_with('/')) return fail("an empty segment in the path");
    for (text.remove_prefix(1); !text.empty();) {
        auto segment = decode(take(text, '/'), false);
        if (!segment) return tl::unexpected(segment.error());
        if (segment->empty()) return fail("an empty segment in the path");
        if (*segment == "." || *segment == "..") return fail("'.' or '..' in the path");
        if (target.path.size() == kSegmentsMax) return fail("too many segments in the path");
        target.path.push_back(std::move(*segment));
    }
    return {};
}

Result<void> read_query(std::string_view text, Target& target) {
    if (text.ends_with('&')) return fail("a parameter without a name");
    while (!text.empty()) {
        std::string_view pair = take(text, '&');
        auto name = decode(take(pair, '='), true);
        if (!name) return tl::unexpected(name.error());
        auto value = decode(pair, true);
        if (!value) return tl::unexpected(value.error());
        if (name->empty()) return fail("a parameter without a name");
        if (std::any_of(target.query.begin(), target.query.end(),
                        [&](const auto& other) { return other.first == *name; }))
            return fail("a parameter that comes twice");
        if (target.query.size() == kParametersMax) return fail("too many parameters");
        target.query.emplace_back(std::move(*name), std::move(*value));
    }
    return {};
}

void encode(std::string& out, std::string_view text) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    for (const char c : text) {
        if (is_unreserved(c)) {
            out += c;
            continue;
        }
        const auto value = static_cast<unsigned char>(c);
        out += '%';
        out += kDigits[value / 16];
        out += kDigits[value % 16];
    }
}

}  // namespace

Result<Target> parse_target(std::string_view text) {
    if (text.size() > kTargetBytesMax) return fail("the target is too long", EMSGSIZE);
    Target target;
    const auto mark = text.find('?');
    if (auto read = read_path(text.substr(0, mark), target); !read) return tl::unexpected(read.error());
    if (mark == std::string_view::npos) return target;
    if (auto read = read_query(text.substr(mark + 1), target); !read) return tl::unexpected(read.error());
    return target;
}

std::string with_query(std::string_view path, const std::vector<std::pair<std::string, std::string>>& query) {
    std::string target(path);
    char before = '?';
    for (const auto& [name, value] : query) {
        target += std::exchange(before, '&');
        encode(target, name);
        target += '=';
        encode(target, value);
    }
    return target;
}

}  // namespace vern::api
