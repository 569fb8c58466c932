#include "crypto/aead.h"

#include <algorithm>
#include <array>
#include <utility>

#include "crypto/aead_implementations.h"

namespace vern::aead {
namespace {

constexpr std::array kBestFirst = {
#if defined(__x86_64__)
    &kAvx512Ifma, &kAvx512IfmaX2, &kAvx512,   &kAvx2, &kAvx2x2,
#elif defined(__aarch64__)
    &kNeon,
#endif
    &kOpenssl,    &kLibsodium,    &kPortable,
#if defined(VERN_NULL_CIPHER)
    &kNull,
#endif
};

// The build option `aead`: a name, or "auto".
constexpr std::string_view kPreferred = VERN_AEAD_PREFERRED;

constexpr bool is_preferred(const Implementation* implementation) noexcept {
    return implementation->name == kPreferred;
}

}  // namespace

std::span<const Implementation* const> implementations() noexcept {
    static const auto ordered = [] {
        auto result = kBestFirst;
#if defined(__x86_64__)
        if (cpu_prefers_two_states())
            for (const auto& [one, two] : {std::pair{&kAvx512Ifma, &kAvx512IfmaX2}, {&kAvx2, &kAvx2x2}})
                std::swap(*std::find(result.begin(), result.end(), one),
                          *std::find(result.begin(), result.end(), two));
#endif
        std::stable_partition(result.begin(), result.end(), is_preferred);
        return result;
    }();
    return ordered;
}

const Implementation* find(std::string_view name) noexcept {
    for (const Implementation* implementation : implementations())
        if (implementation->name == name) return implementation->supported() ? implementation : nullptr;
    return nullptr;
}

const Implementation& best() noexcept {
    // Only chosen once: `supported` may be slow. libsodium runs everywhere.
    static const Implementation* const chosen = [] {
        const auto all = implementations();
        const auto first =
            std::find_if(all.begin(), all.end(), [](const Implementation* one) { return one->supported(); });
        return first == all.end() ? &kLibsodium : *first;
    }();
    return *chosen;
}

}  // namespace vern::aead
