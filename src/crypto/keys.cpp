#include "crypto/keys.h"

#include <sodium.h>

#include <algorithm>

namespace vern {
namespace {

constexpr int kBase64 = sodium_base64_VARIANT_ORIGINAL;
constexpr std::size_t kBase64Characters = 44;
constexpr std::size_t kHexCharacters = 2 * kKeyBytes;
static_assert(sodium_base64_ENCODED_LEN(kKeyBytes, sodium_base64_VARIANT_ORIGINAL) == kBase64Characters + 1);

const unsigned char* raw(std::span<const std::byte, kKeyBytes> key) noexcept {
    return reinterpret_cast<const unsigned char*>(key.data());
}

}  // namespace

// Both encoders end their text with a zero byte: it falls on the string's own terminator.
std::string to_base64(std::span<const std::byte, kKeyBytes> key) {
    std::string text(kBase64Characters, '\0');
    sodium_bin2base64(text.data(), kBase64Characters + 1, raw(key), kKeyBytes, kBase64);
    return text;
}

std::string to_hex(std::span<const std::byte, kKeyBytes> key) {
    std::string text(kHexCharacters, '\0');
    sodium_bin2hex(text.data(), kHexCharacters + 1, raw(key), kKeyBytes);
    return text;
}

bool from_base64(std::string_view text, std::span<std::byte, kKeyBytes> key) noexcept {
    if (text.size() != kBase64Characters) return false;
    Secret<kKeyBytes> decoded;
    std::size_t length = 0;
    const int status = sodium_base642bin(decoded.data(), kKeyBytes, text.data(), text.size(), nullptr,
                                         &length, nullptr, kBase64);
    if (status != 0 || length != kKeyBytes) return false;
    // libsodium 1.0.18 reads some characters above 0x7f as letters: only what encodes to the same text is its
    // spelling.
    Secret<kBase64Characters + 1> encoded;
    sodium_bin2base64(reinterpret_cast<char*>(encoded.data()), kBase64Characters + 1, raw(decoded.span()),
                      kKeyBytes, kBase64);
    if (sodium_memcmp(encoded.data(), text.data(), kBase64Characters) != 0) return false;
    std::copy(decoded.span().begin(), decoded.span().end(), key.begin());
    return true;
}

bool from_hex(std::string_view text, std::span<std::byte, kKeyBytes> key) noexcept {
    if (text.size() != kHexCharacters) return false;
    Secret<kKeyBytes> decoded;
    std::size_t length = 0;
    const int status =
        sodium_hex2bin(decoded.data(), kKeyBytes, text.data(), text.size(), nullptr, &length, nullptr);
    if (status != 0 || length != kKeyBytes) return false;
    std::copy(decoded.span().begin(), decoded.span().end(), key.begin());
    return true;
}

void clamp(PrivateKey& key) noexcept {
    const auto bytes = key.writable();
    bytes[0] &= std::byte{0xf8};
    bytes[31] = (bytes[31] & std::byte{0x7f}) | std::byte{0x40};
}

}  // namespace vern
