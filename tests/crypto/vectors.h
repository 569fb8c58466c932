// Bytes for tests: hex, files of tests/vectors, reproducible noise.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/keys.h"

namespace vern::test {

using Bytes = std::vector<std::byte>;

inline Bytes from_hex(std::string_view text) {
    if (text.size() % 2 != 0) throw std::runtime_error("odd hex");
    Bytes bytes;
    for (std::size_t i = 0; i < text.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(std::stoul(std::string(text.substr(i, 2)), nullptr, 16)));
    return bytes;
}
// A string inside a vectors file.
template <typename Json>
requires std::same_as<Json, nlohmann::json> Bytes from_hex(const Json& text) {
    return from_hex(text.template get_ref<const std::string&>());
}

inline std::string hex(std::span<const std::byte> bytes) {
    std::string text;
    for (std::byte byte : bytes) {
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
}

template <std::size_t N>
std::array<std::byte, N> array_of(std::span<const std::byte> bytes) {
    if (bytes.size() != N) throw std::runtime_error("wrong length");
    std::array<std::byte, N> result;
    std::copy(bytes.begin(), bytes.end(), result.begin());
    return result;
}
template <std::size_t N, typename Json>
requires std::same_as<Json, nlohmann::json> std::array<std::byte, N> array_of(const Json& text) {
    return array_of<N>(from_hex(text));
}

// From hex, be it in a test or in a vectors file.
template <typename Text>
Secret<32> secret_of(const Text& text) {
    return Secret<32>(array_of<32>(from_hex(text)));
}
template <typename Text>
PublicKey public_key(const Text& text) {
    return {array_of<32>(from_hex(text))};
}

template <typename Wire>
std::span<const std::byte, sizeof(Wire)> bytes_of(const Wire& wire) {
    return std::as_bytes(std::span<const Wire, 1>(&wire, 1));
}
template <typename Wire>
std::span<std::byte, sizeof(Wire)> writable_bytes_of(Wire& wire) {
    return std::as_writable_bytes(std::span<Wire, 1>(&wire, 1));
}

inline nlohmann::json vectors(const std::string& name) {
    std::ifstream file(std::string(VERN_VECTORS) + "/" + name);
    if (!file) throw std::runtime_error("no vectors " + name);
    return nlohmann::json::parse(file);
}

// The same bytes in every run.
class Noise {
  public:
    explicit Noise(std::uint64_t seed) : generator_(seed) {}
    std::uint64_t below(std::uint64_t bound) { return generator_() % bound; }
    void fill(std::span<std::byte> bytes) {
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator_() & 0xff);
    }
    template <std::size_t N>
    std::array<std::byte, N> array() {
        std::array<std::byte, N> bytes;
        fill(bytes);
        return bytes;
    }
    PrivateKey private_key() {
        PrivateKey key(array<32>());
        clamp(key);
        return key;
    }

  private:
    std::mt19937_64 generator_;
};

}  // namespace vern::test
