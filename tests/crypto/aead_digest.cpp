// Seals and opens made-up trains with one implementation and prints digests of every byte: two machines, or a
// machine and an emulator, must print the same. No other library: it is also built by cross compilers
// (aarch64.sh, which names the implementation with VERN_IMPLEMENTATION).
#include <cinttypes>
#include <cstdio>
#include <vector>

#include "crypto/aead_implementations.h"

namespace vern::aead {
namespace {

// xorshift64*
std::uint64_t state = 88172645463325252u;
std::uint64_t made_up() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717u;
}
// FNV-1a
void digest(std::uint64_t& sum, const std::vector<std::byte>& bytes) {
    for (const std::byte byte : bytes) sum = (sum ^ std::to_integer<std::uint64_t>(byte)) * 1099511628211u;
}

bool round(const Implementation& implementation, std::uint64_t& sum) {
    const std::size_t count = 1 + made_up() % 40;
    std::byte keys[3][32];
    for (auto& key : keys)
        for (std::byte& byte : key) byte = static_cast<std::byte>(made_up() & 0xff);
    std::vector<std::vector<std::byte>> plain(count), sealed(count);
    std::vector<SealJob> seals;
    std::vector<OpenJob> opens;
    for (std::size_t i = 0; i < count; ++i) {
        const auto length = static_cast<std::uint32_t>(made_up() % 2101);
        plain[i].resize(length);
        for (std::byte& byte : plain[i]) byte = static_cast<std::byte>(made_up() & 0xff);
        sealed[i].resize(length + kTagBytes);
        const std::byte* key = keys[made_up() % 3];
        const std::uint64_t counter = made_up();
        seals.push_back({key, counter, plain[i].data(), sealed[i].data(), length});
        opens.push_back({key, counter, sealed[i].data(), length, false});
    }
    implementation.seal(seals);
    for (const auto& bytes : sealed) digest(sum, bytes);
    const std::size_t bad = made_up() % count;
    sealed[bad][made_up() % sealed[bad].size()] ^= std::byte{4};
    implementation.open(opens);
    for (std::size_t i = 0; i < count; ++i) {
        if (opens[i].authentic != (i != bad)) return false;
        sealed[i].resize(plain[i].size());
        if (i != bad && sealed[i] != plain[i]) return false;
        digest(sum, sealed[i]);
    }
    return true;
}

}  // namespace
}  // namespace vern::aead

int main() {
    std::uint64_t sum = 14695981039346656037u;
    for (int i = 0; i < 60; ++i) {
        if (!vern::aead::round(vern::aead::VERN_IMPLEMENTATION, sum)) {
            std::printf("round %d: wrong answer\n", i);
            return 1;
        }
        std::printf("%d %016" PRIx64 "\n", i, sum);
    }
}
