#include "control/trust/der.h"

#include <algorithm>
#include <array>
#include <string>

namespace vern::trust {
namespace {

enum Universal : unsigned {
    kEndOfContents = 0x00,
    kBoolean = 0x01,
    kInteger = 0x02,
    kBitString = 0x03,
    kNull = 0x05,
    kOid = 0x06,
    kReal = 0x09,
    kEnumerated = 0x0a,
    kUtf8String = 0x0c,
    kRelativeOid = 0x0d,
    kSequence = 0x10,
    kSet = 0x11,
    kUtcTime = 0x17,
    kGeneralizedTime = 0x18,
};

constexpr unsigned kClassBits = 0xc0;
constexpr unsigned kNumberBits = 0x1f;

unsigned value(std::byte byte) noexcept { return std::to_integer<unsigned>(byte); }

// The first nine bits of a number that has more than one byte are not all alike.
bool is_minimal_integer(Bytes content) noexcept {
    if (content.empty()) return false;
    if (content.size() == 1) return true;
    const bool second_is_negative = (value(content[1]) & 0x80U) != 0;
    return value(content[0]) != (second_is_negative ? 0xffU : 0x00U);
}

bool is_bit_string(Bytes content) noexcept {
    if (content.empty()) return false;
    const unsigned unused = value(content.front());
    if (unused > 7 || (content.size() == 1 && unused != 0)) return false;
    return (value(content.back()) & ((1U << unused) - 1)) == 0 || content.size() == 1;
}

bool is_oid(Bytes content) noexcept {
    bool starts = true;
    for (const std::byte byte : content) {
        if (starts && value(byte) == 0x80) return false;
        starts = (value(byte) & 0x80U) == 0;
    }
    return starts && !content.empty();
}

// Digits alone and seconds in, and UTC: "YYMMDDHHMMSSZ", or with four digits of the year.
bool is_time(Bytes content, std::size_t digits) noexcept {
    if (content.size() != digits + 1 || value(content.back()) != 'Z') return false;
    return std::all_of(content.begin(), content.end() - 1,
                       [](std::byte byte) { return value(byte) >= '0' && value(byte) <= '9'; });
}

bool is_primitive_well_formed(unsigned number, Bytes content) noexcept {
    switch (number) {
        case kEndOfContents:
        case kReal:
        case kRelativeOid: return false;  // none of our formats has them
        case kBoolean: return content.size() == 1 && (value(content[0]) == 0x00 || value(content[0]) == 0xff);
        case kInteger:
        case kEnumerated: return is_minimal_integer(content);
        case kBitString: return is_bit_string(content);
        case kNull: return content.empty();
        case kOid: return is_oid(content);
        case kUtf8String: return is_utf8(content);
        case kUtcTime: return is_time(content, 12);
        case kGeneralizedTime: return is_time(content, 14);
        default: return true;
    }
}

// X.690 11.6: as octet strings, the shorter filled up with zeros.
bool is_sorted_before(Bytes a, Bytes b) noexcept {
    const std::size_t size = std::max(a.size(), b.size());
    for (std::size_t i = 0; i < size; ++i) {
        const unsigned left = i < a.size() ? value(a[i]) : 0, right = i < b.size() ? value(b[i]) : 0;
        if (left != right) return left < right;
    }
    return true;
}

bool is_well_formed(const DerReader::Element& element, unsigned depth) noexcept {
    const bool universal = (element.tag & kClassBits) == 0;
    const unsigned number = element.tag & kNumberBits;
    if (universal && element.constructed() != (number == kSequence || number == kSet)) return false;
    if (!element.constructed()) return !universal || is_primitive_well_formed(number, element.content);
    if (depth == kDerDepthMax) return false;
    Bytes before;
    for (DerReader reader(element.content); !reader.at_end();) {
        const auto inner = reader.next();
        if (!inner || !is_well_formed(*inner, depth + 1)) return false;
        if (universal && number == kSet && !is_sorted_before(before, inner->whole)) return false;
        before = inner->whole;
    }
    return true;
}

}  // namespace

std::optional<std::byte> DerReader::take() noexcept {
    if (rest_.empty()) return std::nullopt;
    const std::byte byte = rest_.front();
    rest_ = rest_.subspan(1);
    return byte;
}

std::optional<std::size_t> DerReader::take_length() noexcept {
    const auto first = take();
    if (!first) return std::nullopt;
    if (value(*first) < 0x80) return value(*first);
    const unsigned count = value(*first) & 0x7fU;
    if (count == 0 || count > 4) return std::nullopt;
    std::size_t length = 0;
    for (unsigned i = 0; i < count; ++i) {
        const auto byte = take();
        if (!byte) return std::nullopt;
        length = length << 8U | value(*byte);
    }
    const bool minimal = length >= 0x80 && length >> (8U * (count - 1)) != 0;
    return minimal ? std::optional(length) : std::nullopt;
}

std::optional<DerReader::Element> DerReader::next() noexcept {
    const Bytes start = rest_;
    const auto tag = take();
    if (!tag || (value(*tag) & kNumberBits) == kNumberBits) return std::nullopt;
    const auto length = take_length();
    if (!length || *length > rest_.size()) return std::nullopt;
    const Element element{.tag = value(*tag),
                          .content = rest_.first(*length),
                          .whole = start.first(start.size() - rest_.size() + *length)};
    rest_ = rest_.subspan(*length);
    return element;
}

Verdict<void> check_der(Bytes object, std::size_t bytes_max, std::string_view what) {
    if (object.size() > bytes_max)
        return refuse(Refusal::too_large,
                      std::string(what) + ": larger than " + std::to_string(bytes_max) + " bytes");
    DerReader reader(object);
    const auto element = reader.next();
    if (!element || !is_well_formed(*element, 0))
        return refuse(Refusal::malformed, std::string(what) + ": is not well-formed DER");
    if (!reader.at_end()) return refuse(Refusal::malformed, std::string(what) + ": has bytes after its end");
    return {};
}

bool is_utf8(Bytes text) noexcept {
    constexpr std::array<unsigned, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
    while (!text.empty()) {
        const unsigned first = value(text.front());
        const unsigned size = first < 0x80             ? 1
                              : (first >> 5U) == 0x06U ? 2
                              : (first >> 4U) == 0x0eU ? 3
                              : (first >> 3U) == 0x1eU ? 4
                                                       : 0;
        if (size == 0 || size > text.size()) return false;
        unsigned point = size == 1 ? first : first & (0x7fU >> size);
        for (unsigned i = 1; i < size; ++i) {
            if ((value(text[i]) & 0xc0U) != 0x80U) return false;
            point = point << 6U | (value(text[i]) & 0x3fU);
        }
        if (point < kLeast[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
        text = text.subspan(size);
    }
    return true;
}

}  // namespace vern::trust
