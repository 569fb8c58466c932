#include "control/trust/clean_text.h"

#include <cstdint>

namespace vern::trust {
namespace {

struct Lead {
    unsigned following = 0;   // bytes after the first
    std::uint32_t bits = 0;   // that the first one carries
    std::uint32_t least = 0;  // what needs that many bytes
};

constexpr Lead kNone{.following = 0, .bits = 0, .least = ~std::uint32_t{0}};

Lead lead_of(std::uint8_t byte) {
    if (byte < 0x80) return {.following = 0, .bits = byte, .least = 0};
    if ((byte & 0xe0) == 0xc0) return {.following = 1, .bits = byte & 0x1fU, .least = 0x80};
    if ((byte & 0xf0) == 0xe0) return {.following = 2, .bits = byte & 0x0fU, .least = 0x800};
    if ((byte & 0xf8) == 0xf0) return {.following = 3, .bits = byte & 0x07U, .least = 0x10000};
    return kNone;
}

bool is_clean(std::uint32_t character) {
    const bool control = character < 0x20 || (character >= 0x7f && character < 0xa0);
    const bool surrogate = character >= 0xd800 && character < 0xe000;
    return !control && !surrogate && character <= 0x10ffff;
}

}  // namespace

bool is_clean_text(std::string_view text) noexcept {
    while (!text.empty()) {
        const Lead lead = lead_of(static_cast<std::uint8_t>(text.front()));
        text.remove_prefix(1);
        if (text.size() < lead.following) return false;
        std::uint32_t character = lead.bits;
        for (const char c : text.substr(0, lead.following)) {
            if ((c & 0xc0) != 0x80) return false;
            character = character << 6 | (static_cast<std::uint8_t>(c) & 0x3fU);
        }
        text.remove_prefix(lead.following);
        if (character < lead.least || !is_clean(character)) return false;
    }
    return true;
}

std::string shown(std::string_view text, std::size_t max) {
    std::string clean(text.substr(0, max));
    if (!is_clean_text(clean)) {
        for (char& c : clean) {
            if (c < 0x20 || c > 0x7e) c = '?';
        }
    }
    if (text.size() > max) clean += "...";
    return clean;
}

}  // namespace vern::trust
