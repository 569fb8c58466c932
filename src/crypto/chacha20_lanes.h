// ChaCha20 (RFC 8439, 2.3) in the lanes of a vector type V, two ways:
//  - tall: a vector holds one word of the state of kLanes blocks; each lane has its own key, nonce and block
//    number. The most blocks per cycle.
//  - flat: a vector holds one row of the state of kLanes / 4 blocks. A few blocks in half the time of a tall
//    pass, whose latency is the same however few of its lanes are wanted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/aead_secrets.h"

namespace vern::aead {
namespace {

constexpr std::uint32_t kBlockBytes = 64;
constexpr std::uint32_t kSigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};  // "expand 32-byte k"

// Messages whose blocks may share passes.
constexpr int kGroup = 16;

// Their keys and nonces, word by word: index i is message i.
struct alignas(64) Keys {
    std::uint32_t sigma[4][kGroup];    // only for tall passes, whatever the key
    std::uint32_t key[8][kGroup];      // only for tall passes
    std::uint32_t counter[2][kGroup];  // the low words, then the high ones
    const std::byte* raw[kGroup];      // the same keys, 32 bytes each
    bool one_key;                      // every message has the same
    // Where words are put away by passes that have a register for each of them and none to spare.
    alignas(64) std::uint32_t away[4][kGroup];
};

// Which block each lane computes. With room for who writes a whole vector from any lane on. For tall passes,
// also the counter of the lane's message, and its key if there are several: secret, see forget().
template <class V>
struct alignas(64) Lanes {
    std::uint32_t message[2 * V::kLanes];
    std::uint32_t block[2 * V::kLanes];
    std::uint32_t counter[2][V::kLanes];
    std::uint32_t key[8][V::kLanes];
};

// Nothing to do beside ChaCha20. What there may be instead: poly1305_beside.h.
struct Nothing {
    static constexpr void finish() {}
};

template <class V>
struct ChaCha20 {
    using U32 = typename V::U32;
    static constexpr int kVectorsPerBlock = 16 / V::kLanes;
    static constexpr int kFlatBlocks = V::kLanes / 4;

    // a += b; d = (d ^ a) <<< R, for the four columns (S = 0) or diagonals (S = 1) at once: four independent
    // chains hide each other's latency.
    template <int A, int B, int D, int S, int R>
    [[gnu::always_inline]] static void half_quarter(U32 (&x)[16]) {
        for (int i = 0; i < 4; ++i) {
            U32& a = x[A + (i + S * (A / 4)) % 4];
            const U32 b = x[B + (i + S * (B / 4)) % 4];
            U32& d = x[D + (i + S * (D / 4)) % 4];
            a = V::add32(a, b);
            d = V::xor32(d, a);
        }
        for (int i = 0; i < 4; ++i) x[D + i] = V::template rotate32<R>(x[D + i]);
    }
    template <int S>
    [[gnu::always_inline]] static void round(U32 (&x)[16]) {
        half_quarter<0, 4, 12, S, 16>(x);
        half_quarter<8, 12, 4, S, 12>(x);
        half_quarter<0, 4, 12, S, 8>(x);
        half_quarter<8, 12, 4, S, 7>(x);
    }

    // The keys of the first `count` messages, at `raw`, in the form that tall passes want.
    [[gnu::always_inline]] static void spread_keys(Keys& keys, int count) {
        spread_key(keys, keys.raw[0]);
        for (int i = 1; i < count; ++i) keys.one_key &= keys.raw[i] == keys.raw[0];
        if (keys.one_key) return;
        for (int i = 1; i < count; ++i)
            for (int w = 0; w < 8; ++w) __builtin_memcpy(&keys.key[w][i], keys.raw[i] + 4 * w, 4);
    }
    // One for all messages.
    [[gnu::always_inline]] static void spread_key(Keys& keys, const std::byte* key) {
        for (int w = 0; w < 4; ++w) V::store32(keys.sigma[w], V::set32(kSigma[w]));
        for (int w = 0; w < 8; ++w) {
            std::uint32_t word;
            __builtin_memcpy(&word, key + 4 * w, sizeof word);
            V::store32(keys.key[w], V::set32(word));
        }
        keys.one_key = true;
    }
    // Before the words that a pass begins with are asked for: at its beginning and again at its end.
    [[gnu::always_inline]] static void look_up(Keys& keys, Lanes<V>& lanes) {
        const U32 message = V::load32(lanes.message);
        for (int i = 0; i < 2; ++i) V::store32(lanes.counter[i], V::lookup32(keys.counter[i], message));
        if (keys.one_key) return;
        for (int i = 0; i < 8; ++i) V::store32(lanes.key[i], V::lookup32(keys.key[i], message));
    }
    // The words 4 to 11 that each lane begins with.
    [[gnu::always_inline]] static const std::uint32_t* key_of(const Keys& keys, const Lanes<V>& lanes,
                                                              int i) {
        return keys.one_key ? keys.key[i] : lanes.key[i];
    }
    // Behind a pass.
    [[gnu::always_inline]] static void forget(const Keys& keys, Lanes<V>& lanes) {
        if (keys.one_key) return;
        for (auto& row : lanes.key) V::store32(row, V::set32(0));
        wiped(lanes.key);
    }
    // Words are loaded, also the sigma words. Compilers make a vector of a constant by a broadcast from a
    // general register, for which AVX-512 has one port only: the one at which the shuffles that end the pass
    // ahead queue. Rounds, which begin by adding to these words, would wait behind them.
    [[gnu::always_inline]] static U32 start_word(const Keys& keys, const Lanes<V>& lanes, int i) {
        if (i < 4) return V::load32(keys.sigma[i]);
        if (i < 12) return V::load32(key_of(keys, lanes, i - 4));
        if (i == 12) return V::load32(lanes.block);
        if (i == 13) return V::set32(0);
        return V::load32(lanes.counter[i - 14]);
    }

    // x[i] becomes word i of each lane's block.
    [[gnu::always_inline]] static void tall(U32 (&x)[16], Keys& keys, Lanes<V>& lanes) {
        Nothing nothing;
        rounds(x, keys, lanes, nothing);
        for (int i = 0; i < 16; ++i) x[i] = V::add32(x[i], start_word(keys, lanes, i));
        forget(keys, lanes);
    }
    // As tall(), but for adding what the rounds began with. A V that has rounds of its own lets `meanwhile`
    // do its steps between them: scalar work beside the vectors (poly1305_beside.h).
    template <class Meanwhile>
    [[gnu::always_inline]] static void rounds(U32 (&x)[16], Keys& keys, Lanes<V>& lanes,
                                              Meanwhile& meanwhile) {
        look_up(keys, lanes);
        for (int i = 0; i < 16; ++i) x[i] = start_word(keys, lanes, i);
        if constexpr (requires { V::chacha20_rounds(x, meanwhile); }) {
            V::chacha20_rounds(x, meanwhile);
        } else {
            // Unrolled, or the state changes registers at every turn of the loop.
#pragma GCC unroll 10
            for (int i = 0; i < 10; ++i) {
                round<0>(x);
                round<1>(x);
            }
        }
    }

    // From words to bytes: vector q of lane j's block is x[q * kLanes + j] afterwards.
    [[gnu::always_inline]] static void to_blocks(U32 (&x)[16]) {
        for (int q = 0; q < kVectorsPerBlock; ++q)
            V::transpose32(reinterpret_cast<U32(&)[V::kLanes]>(x[q * V::kLanes]));
    }

    // `Sets` * kFlatBlocks blocks, one after the other in `out`: block[i] of message[i].
    template <int Sets>
    static void flat(std::byte* out, const Keys& keys, const Lanes<V>& lanes) {
        constexpr int kBlocks = Sets * kFlatBlocks;
        alignas(16) std::uint32_t nonces[kBlocks][4];
        const std::byte* rows[4][kBlocks];
        for (int i = 0; i < kBlocks; ++i) {
            const std::uint32_t m = lanes.message[i];
            nonces[i][0] = lanes.block[i];
            nonces[i][1] = 0;
            nonces[i][2] = keys.counter[0][m];
            nonces[i][3] = keys.counter[1][m];
            rows[0][i] = reinterpret_cast<const std::byte*>(kSigma);
            rows[1][i] = keys.raw[m];
            rows[2][i] = keys.raw[m] + 16;
            rows[3][i] = reinterpret_cast<const std::byte*>(nonces[i]);
        }
        U32 start[Sets][4], x[Sets][4];
        for (int s = 0; s < Sets; ++s)
            for (int row = 0; row < 4; ++row)
                x[s][row] = start[s][row] = V::gather128(&rows[row][s * kFlatBlocks]);
        for (int i = 0; i < 10; ++i) {
            flat_round<Sets, 1>(x);
            flat_round<Sets, 3>(x);
        }
        for (int s = 0; s < Sets; ++s) {
            for (int row = 0; row < 4; ++row) x[s][row] = V::add32(x[s][row], start[s][row]);
            V::transpose128(x[s]);
            for (int row = 0; row < 4; ++row) V::store_bytes(out + (s * 4 + row) * 4 * V::kLanes, x[s][row]);
        }
    }

  private:
    // A round, then rows b, c, d turned so that the diagonals are columns (T = 1), or back (T = 3).
    template <int Sets, int T>
    [[gnu::always_inline]] static void flat_round(U32 (&x)[Sets][4]) {
        flat_half<Sets, 0, 1, 3, 16>(x);
        flat_half<Sets, 2, 3, 1, 12>(x);
        flat_half<Sets, 0, 1, 3, 8>(x);
        flat_half<Sets, 2, 3, 1, 7>(x);
        for (int s = 0; s < Sets; ++s) {
            x[s][1] = V::template turn32<T>(x[s][1]);
            x[s][2] = V::template turn32<2>(x[s][2]);
            x[s][3] = V::template turn32<4 - T>(x[s][3]);
        }
    }
    template <int Sets, int A, int B, int D, int R>
    [[gnu::always_inline]] static void flat_half(U32 (&x)[Sets][4]) {
        for (int s = 0; s < Sets; ++s) {
            x[s][A] = V::add32(x[s][A], x[s][B]);
            x[s][D] = V::template rotate32<R>(V::xor32(x[s][D], x[s][A]));
        }
    }
};

}  // namespace
}  // namespace vern::aead
