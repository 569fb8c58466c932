// Eight tuples at once: a dozen are looked at in the time that one takes to come from memory. The
// instructions are named function by function, so that nothing else uses them: other CPUs run this program
// too.
#if defined(__x86_64__)

#include <immintrin.h>

#include <bit>
#include <vector>

#include "dataplane/policy/classifier.h"

// GCC 12 takes the undefined operand inside its own intrinsics for an uninitialised variable of ours.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define VERN_AVX512 [[gnu::target("avx512f,avx512dq")]]

namespace vern::policy {
namespace {

VERN_AVX512 inline __m512i all(std::uint64_t value) noexcept {
    return _mm512_set1_epi64(static_cast<long long>(value));
}

VERN_AVX512 inline __m512i load(__mmask8 lanes, const void* at, std::size_t index) noexcept {
    return _mm512_maskz_loadu_epi64(lanes, static_cast<const std::uint64_t*>(at) + index);
}

// The halves of the 128-bit products, exclusive-or: as hash() of classifier_words.h has it.
VERN_AVX512 inline __m512i fold(__m512i a, __m512i b) noexcept {
    const __m512i low = all(0xffffffff), a1 = _mm512_srli_epi64(a, 32), b1 = _mm512_srli_epi64(b, 32);
    const __m512i p00 = _mm512_mul_epu32(a, b), p01 = _mm512_mul_epu32(a, b1);
    const __m512i p10 = _mm512_mul_epu32(a1, b), p11 = _mm512_mul_epu32(a1, b1);
    const __m512i m = _mm512_add_epi64(p10, _mm512_srli_epi64(p00, 32));
    const __m512i n = _mm512_add_epi64(p01, _mm512_and_si512(m, low));
    const __m512i carried = _mm512_add_epi64(_mm512_srli_epi64(m, 32), _mm512_srli_epi64(n, 32));
    const __m512i lower = _mm512_or_si512(_mm512_slli_epi64(n, 32), _mm512_and_si512(p00, low));
    return _mm512_xor_si512(_mm512_add_epi64(p11, carried), lower);
}

// filter_bits()
VERN_AVX512 inline __m512i filter_bits(__m512i h) noexcept {
    const __m512i six = all(63), first = _mm512_and_si512(h, six),
                  second = _mm512_and_si512(_mm512_srli_epi64(h, 6), six);
    return _mm512_or_si512(_mm512_sllv_epi64(all(1), first), _mm512_sllv_epi64(all(1), second));
}

}  // namespace

VERN_AVX512 std::size_t Classifier::sift_avx512(const Space<1>& space, Range some, const Asked<1>& asked,
                                                Hits& hits, std::size_t count) noexcept {
    const Tuples<1>& tuples = space.tuples;
    const __m512i words = all(asked.words[0]), protocol = all(asked.protocol), ports = all(asked.ports);
    __m512i number = _mm512_add_epi64(all(some.begin), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    for (std::size_t i = some.begin; i < some.end; i += 8, number = _mm512_add_epi64(number, all(8))) {
        const auto lanes = static_cast<__mmask8>(some.end - i >= 8 ? 0xff : (1U << (some.end - i)) - 1);
        const __m512i masked = _mm512_and_si512(words, load(lanes, tuples.mask.data(), i));
        const __m512i salt =
            _mm512_add_epi64(load(lanes, tuples.salt.data(), i),
                             _mm512_and_si512(protocol, load(lanes, tuples.protocol_mask.data(), i)));
        const __m512i h = fold(_mm512_xor_si512(masked, all(kMultiplier)), salt);
        const __m512i asks =
            _mm512_xor_si512(h, _mm512_and_si512(ports, load(lanes, tuples.port_mask.data(), i)));
        const __m512i at = _mm512_and_si512(_mm512_srli_epi64(asks, 12), all(space.filter_mask));
        const __m512i filter =
            _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), lanes, at, space.filter.data(), 8);
        const __m512i bits = filter_bits(asks);
        const __mmask8 hit = _mm512_mask_cmpeq_epi64_mask(lanes, _mm512_and_si512(filter, bits), bits);
        _mm512_storeu_si512(&hits.h[count], _mm512_maskz_compress_epi64(hit, h));
        _mm512_storeu_si512(&hits.tuple[count], _mm512_maskz_compress_epi64(hit, number));
        count += static_cast<std::size_t>(std::popcount(static_cast<unsigned>(hit)));
    }
    return count;
}

}  // namespace vern::policy

#endif
