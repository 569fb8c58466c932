// Strict DER (X.690): what is signed or looked at has one spelling. OpenSSL reads BER in places (long
// lengths, trailing bytes, bits after the end of a BIT STRING), so every object from outside passes here
// before OpenSSL sees it.
//
// Threads: any; nothing is kept.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "control/trust/refusal.h"

namespace vern::trust {

using Bytes = std::span<const std::byte>;

inline Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

// Reads elements one after another; cannot run past the end.
class DerReader {
  public:
    struct Element {
        unsigned tag = 0;  // the identifier byte: class, constructed, number
        Bytes content;
        Bytes whole;

        bool constructed() const noexcept { return (tag & 0x20U) != 0; }
    };

    explicit DerReader(Bytes bytes) noexcept : rest_(bytes) {}
    bool at_end() const noexcept { return rest_.empty(); }
    // nullopt: truncated, a length that is indefinite or longer than it need be, or a tag number above 30,
    // which none of our formats has.
    std::optional<Element> next() noexcept;

  private:
    std::optional<std::byte> take() noexcept;
    std::optional<std::size_t> take_length() noexcept;

    Bytes rest_;
};

inline constexpr unsigned kDerDepthMax = 32;

// `object` is one well-formed element with nothing after it, throughout: definite minimal lengths, minimal
// INTEGERs and OIDs, BOOLEANs of 00 or FF, no set bits after a BIT STRING's end, times in the one form of RFC
// 5280 4.1.2.5, valid UTF-8, SETs sorted, primitive and constructed as X.690 wants them. What is inside an
// OCTET STRING or BIT STRING is not looked at. `what` begins the sentence of a refusal: "certificate".
Verdict<void> check_der(Bytes object, std::size_t bytes_max, std::string_view what);

// Valid UTF-8 without overlong forms, surrogates, or anything above U+10FFFF.
bool is_utf8(Bytes text) noexcept;

}  // namespace vern::trust
