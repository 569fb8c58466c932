// Runs the kernels with keys and plaintexts marked as undefined: under valgrind, every branch and every
// address that depends on them is an error. Its AVX-512 kin share the code of these kernels, but not their
// vector type.
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "crypto/aead_implementations.h"

namespace vern::aead {
namespace {

// Lengths that take every path: few and many messages, with tails and without, short and long, alone and not.
const std::vector<std::vector<std::uint32_t>> kTrains = {{0},
                                                         {1},
                                                         {64},
                                                         {200},
                                                         {1424},
                                                         {33, 70},
                                                         {1424, 1420, 64, 0},
                                                         {2000, 1424, 1424, 1300, 64, 63, 17, 5, 0, 1424},
                                                         std::vector<std::uint32_t>(32, 64),
                                                         std::vector<std::uint32_t>(20, 1424)};

void secret(void* bytes, std::size_t count) { (void)VALGRIND_MAKE_MEM_UNDEFINED(bytes, count); }
void open_again(void* bytes, std::size_t count) { (void)VALGRIND_MAKE_MEM_DEFINED(bytes, count); }

bool run(const Implementation& implementation, const std::vector<std::uint32_t>& lengths) {
    std::byte keys[2][32] = {{std::byte{1}}, {std::byte{2}}};
    std::vector<std::vector<std::byte>> plain, sealed;
    std::vector<SealJob> seals;
    std::vector<OpenJob> opens;
    for (const std::uint32_t length : lengths) {
        plain.emplace_back(length + 1, std::byte{0x55});
        sealed.emplace_back(length + kTagBytes);
    }
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        const std::byte* key = keys[i % 3 == 2 ? 1 : 0];
        const std::uint32_t front = i % 2 == 1 && lengths[i] >= 64 ? 64 : 0;
        seals.push_back({key, i, plain[i].data() + front, sealed[i].data(), lengths[i], front});
        opens.push_back({key, i, sealed[i].data(), lengths[i], false});
        std::memcpy(sealed[i].data(), plain[i].data(), front);
        secret(sealed[i].data(), front);
        secret(plain[i].data(), plain[i].size());
    }
    secret(keys, sizeof keys);
    implementation.seal(seals);
    // What goes over the wire is public; one message arrives damaged.
    for (auto& bytes : sealed) open_again(bytes.data(), bytes.size());
    sealed[0][lengths[0] / 2] ^= std::byte{1};
    implementation.open(opens);
    for (std::size_t i = 0; i < lengths.size(); ++i)
        if (opens[i].authentic != (i != 0)) return false;
    return true;
}

}  // namespace
}  // namespace vern::aead

int main() {
    using namespace vern::aead;
    const Implementation* const all[] = {
        &kPortable,
#if defined(__x86_64__)
        &kAvx2,
        &kAvx2x2,
#endif
    };
    for (const Implementation* one : all) {
        if (!one->supported()) continue;
        for (const auto& lengths : kTrains)
            if (!run(*one, lengths)) {
                std::printf("%s: wrong answer\n", one->name.data());
                return 1;
            }
        std::printf("%s: done%s\n", one->name.data(), RUNNING_ON_VALGRIND ? ", under valgrind" : "");
    }
}
