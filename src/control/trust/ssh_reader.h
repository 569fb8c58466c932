// Reads and writes the wire format of SSH (RFC 4251 section 5). Reading is strict: one spelling for every
// value. After the first thing that is wrong a reader gives only zeros and empty strings and is at its end,
// so a parser reads everything it wants and asks finish() once. What it gives refers to the bytes it was made
// of.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "control/trust/clean_text.h"
#include "control/trust/refusal.h"

namespace vern::trust {

using Bytes = std::span<const std::byte>;

inline std::string_view as_text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

class SshReader {
  public:
    explicit SshReader(Bytes bytes) : rest_(bytes) {}

    std::uint8_t u8() { return number<std::uint8_t>(); }
    std::uint32_t u32() { return number<std::uint32_t>(); }
    std::uint64_t u64() { return number<std::uint64_t>(); }

    Bytes raw(std::size_t count) {
        if (count > rest_.size()) return fail("it ends too early");
        const Bytes taken = rest_.first(count);
        rest_ = rest_.subspan(count);
        return taken;
    }
    Bytes string() { return raw(u32()); }

    // OpenSSH drops a NUL at the end of a name, and so takes two spellings for the same one.
    std::string_view name() {
        const std::string_view name = as_text(string());
        if (name.find('\0') != std::string_view::npos) fail("it has a NUL inside a name");
        return failed() ? std::string_view() : name;
    }
    // What people are shown: printable UTF-8.
    std::string_view text() {
        const std::string_view text = as_text(string());
        if (!is_clean_text(text)) fail("it has control characters, or what is not UTF-8, inside a name");
        return failed() ? std::string_view() : text;
    }

    // The magnitude, without the leading zero; empty for 0. Nothing here has a use for negative numbers.
    Bytes mpint() {
        const Bytes bytes = string();
        if (bytes.empty()) return bytes;
        const bool negative = (bytes[0] & std::byte{0x80}) != std::byte{};
        const bool zero = bytes[0] == std::byte{};
        if (negative) return fail("it has a negative number");
        if (zero && (bytes.size() == 1 || (bytes[1] & std::byte{0x80}) == std::byte{}))
            return fail("it has a number that is longer than needed");
        return bytes.subspan(zero ? 1 : 0);
    }

    bool at_end() const { return rest_.empty(); }
    bool failed() const { return !why_.empty(); }
    Bytes rest() const { return rest_; }
    // What was read since rest() was `earlier`.
    Bytes since(Bytes earlier) const { return earlier.first(earlier.size() - rest_.size()); }

    // Whether all was well and nothing is left. `what` is "the certificate".
    Verdict<void> finish(std::string_view what, Refusal code = Refusal::malformed) {
        if (!failed() && !rest_.empty()) fail("it goes on after its end");
        if (failed()) return refuse(code, std::string(what) + " is malformed: " + std::string(why_));
        return {};
    }

  private:
    template <std::unsigned_integral T>
    T number() {
        std::uint64_t value = 0;
        for (const std::byte octet : raw(sizeof(T)))
            value = value << 8 | std::to_integer<std::uint64_t>(octet);
        return static_cast<T>(value);
    }
    Bytes fail(std::string_view why) {
        if (why_.empty()) why_ = why;
        rest_ = {};
        return {};
    }

    Bytes rest_;
    std::string_view why_;
};

class SshWriter {
  public:
    SshWriter& u8(std::uint8_t value) { return number(value); }
    SshWriter& u32(std::uint32_t value) { return number(value); }
    SshWriter& u64(std::uint64_t value) { return number(value); }
    SshWriter& raw(Bytes bytes) { return raw(as_text(bytes)); }
    SshWriter& raw(std::string_view bytes) {
        written_ += bytes;
        return *this;
    }
    SshWriter& string(Bytes bytes) { return string(as_text(bytes)); }
    SshWriter& string(std::string_view bytes) {
        return u32(static_cast<std::uint32_t>(bytes.size())).raw(bytes);
    }

    const std::string& written() const& { return written_; }
    std::string written() && { return std::move(written_); }
    Bytes bytes() const { return as_bytes(written_); }

  private:
    template <std::unsigned_integral T>
    SshWriter& number(T value) {
        for (std::size_t shift = sizeof(T) * 8; shift != 0; shift -= 8)
            written_ += static_cast<char>(std::uint64_t{value} >> (shift - 8) & 0xff);
        return *this;
    }

    std::string written_;
};

}  // namespace vern::trust
