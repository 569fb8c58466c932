// A vector type of `Lanes` lanes of 32 bits without any vector instruction: the kernels of CPUs that have
// none of ours, and the wide kernels on hosts that lack theirs (tests). See aead_lanes_avx512.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vern::aead {
namespace {

template <int Lanes>
struct PlainLanes {
    static constexpr int kLanes = Lanes;
    static constexpr int kWide = Lanes / 2;
    // Lanes of Poly1305 cost as much as messages one by one; they are only here to be tested.
    static constexpr int kMinimumForLanes = Lanes >= 8 ? 4 : 1 << 16;
    // Length from which on a message by itself has its blocks in lanes.
    static constexpr std::uint32_t kAlongFromBytes = Lanes >= 8 ? 256 : 1u << 31;

    template <class Word, int Count>
    struct Vector {
        Word lane[Count];
    };
    // What passes, and what they call, have of the stack.
    static constexpr std::size_t kStackBytes = 4096;
    using U32 = Vector<std::uint32_t, kLanes>;
    using U64 = Vector<std::uint64_t, kWide>;
    using Mask = std::uint32_t;

    template <class Vector, class Function>
    [[gnu::always_inline]] static Vector map(Function function) {
        Vector result;
        for (int i = 0; i < static_cast<int>(sizeof result.lane / sizeof result.lane[0]); ++i)
            result.lane[i] = function(i);
        return result;
    }
    template <class Vector, class From>
    [[gnu::always_inline]] static Vector copy(const From* from) {
        Vector result;
        std::memcpy(&result, from, sizeof result);
        return result;
    }

    static U32 load32(const std::uint32_t* from) { return copy<U32>(from); }
    static void store32(std::uint32_t* to, const U32& x) { std::memcpy(to, &x, sizeof x); }
    static U32 set32(std::uint32_t x) {
        return map<U32>([&](int) { return x; });
    }
    static U32 add32(const U32& a, const U32& b) {
        return map<U32>([&](int i) { return a.lane[i] + b.lane[i]; });
    }
    static U32 xor32(const U32& a, const U32& b) {
        return map<U32>([&](int i) { return a.lane[i] ^ b.lane[i]; });
    }
    template <int N>
    static U32 rotate32(const U32& x) {
        return map<U32>([&](int i) { return x.lane[i] << N | x.lane[i] >> (32 - N); });
    }
    static U32 lookup32(const std::uint32_t (&table)[16], const U32& which) {
        return map<U32>([&](int i) { return table[which.lane[i]]; });
    }
    template <int N>
    static U32 turn32(const U32& x) {
        return map<U32>([&](int i) { return x.lane[i / 4 * 4 + (i + N) % 4]; });
    }
    static U32 gather128(const std::byte* const* from) {
        U32 result;
        for (int i = 0; i < kLanes / 4; ++i) std::memcpy(&result.lane[4 * i], from[i], 16);
        return result;
    }
    static void transpose32(U32 (&x)[kLanes]) {
        for (int i = 0; i < kLanes; ++i)
            for (int j = 0; j < i; ++j) {
                const std::uint32_t held = x[i].lane[j];
                x[i].lane[j] = x[j].lane[i];
                x[j].lane[i] = held;
            }
    }
    static void transpose128(U32 (&x)[4]) {
        std::uint32_t blocks[4 * kLanes];
        for (int row = 0; row < 4; ++row)
            for (int i = 0; i < kLanes; ++i) blocks[i / 4 * 16 + row * 4 + i % 4] = x[row].lane[i];
        std::memcpy(x, blocks, sizeof blocks);
    }

    static U32 load_bytes(const std::byte* from) { return copy<U32>(from); }
    static void store_bytes(std::byte* to, const U32& x) { std::memcpy(to, &x, sizeof x); }
    static U32 load_bytes(const std::byte* from, std::size_t count) {
        U32 result = set32(0);
        std::memcpy(&result, from, count);
        return result;
    }
    static void store_bytes(std::byte* to, const U32& x, std::size_t count) { std::memcpy(to, &x, count); }

    static U64 words(const U32& x) { return copy<U64>(&x); }
    static void low_and_high(const U32& a, const U32& b, U64& low, U64& high) {
        const U64 x = words(a), y = words(b);
        for (int i = 0; i < kWide; i += 2) {
            low.lane[i] = x.lane[i];
            low.lane[i + 1] = y.lane[i];
            high.lane[i] = x.lane[i + 1];
            high.lane[i + 1] = y.lane[i + 1];
        }
    }
    static U64 load64(const std::uint64_t* from) { return copy<U64>(from); }
    static void store64(std::uint64_t* to, const U64& x) { std::memcpy(to, &x, sizeof x); }
    static U64 set64(std::uint64_t x) {
        return map<U64>([&](int) { return x; });
    }
    static U64 add64(const U64& a, const U64& b) {
        return map<U64>([&](int i) { return a.lane[i] + b.lane[i]; });
    }
    static U64 and64(const U64& a, const U64& b) {
        return map<U64>([&](int i) { return a.lane[i] & b.lane[i]; });
    }
    static U64 or64(const U64& a, const U64& b) {
        return map<U64>([&](int i) { return a.lane[i] | b.lane[i]; });
    }
    template <int N>
    static U64 right64(const U64& x) {
        return map<U64>([&](int i) { return x.lane[i] >> N; });
    }
    template <int N>
    static U64 left64(const U64& x) {
        return map<U64>([&](int i) { return x.lane[i] << N; });
    }
    template <int N>
    static U64 funnel_right64(const U64& low, const U64& high) {
        return map<U64>([&](int i) { return low.lane[i] >> N | high.lane[i] << (64 - N); });
    }
    static U64 multiply32(const U64& a, const U64& b) {
        return map<U64>([&](int i) { return (a.lane[i] & 0xffffffff) * (b.lane[i] & 0xffffffff); });
    }
    static U64 multiply52_low(const U64& sum, const U64& a, const U64& b) {
        return map<U64>([&](int i) {
            return sum.lane[i] + (static_cast<std::uint64_t>(product52(a.lane[i], b.lane[i])) & kLow52);
        });
    }
    static U64 multiply52_high(const U64& sum, const U64& a, const U64& b) {
        return map<U64>([&](int i) {
            return sum.lane[i] + static_cast<std::uint64_t>(product52(a.lane[i], b.lane[i]) >> 52);
        });
    }
    static U64 widen(const std::uint32_t* from) {
        return map<U64>([&](int i) { return from[i]; });
    }
    static Mask greater(const U64& a, const U64& b) {
        Mask mask = 0;
        for (int i = 0; i < kWide; ++i) mask |= static_cast<Mask>(a.lane[i] > b.lane[i]) << i;
        return mask;
    }
    static U64 select(Mask where, const U64& yes, const U64& no) {
        return map<U64>([&](int i) {
            const std::uint64_t mask = std::uint64_t{0} - (where >> i & 1);
            return (yes.lane[i] & mask) | (no.lane[i] & ~mask);
        });
    }
    static void load_columns(U64 (&x)[kWide], const std::byte* const (&rows)[kWide], std::size_t at) {
        for (int i = 0; i < kWide; ++i)
            for (int row = 0; row < kWide; ++row)
                std::memcpy(&x[i].lane[row], rows[row] + at + 8 * static_cast<std::size_t>(i), 8);
    }

  private:
    __extension__ typedef unsigned __int128 Product;
    static constexpr std::uint64_t kLow52 = (std::uint64_t{1} << 52) - 1;
    static Product product52(std::uint64_t a, std::uint64_t b) {
        return static_cast<Product>(a & kLow52) * (b & kLow52);
    }
};

}  // namespace
}  // namespace vern::aead
