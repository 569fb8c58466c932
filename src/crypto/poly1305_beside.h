// Poly1305 (RFC 8439, 2.5) of two messages in the integer unit, as the AEAD wants it (the message padded with
// zeros to whole blocks, then a block of its length), in steps of a block for which there is time between the
// vector instructions that encipher other messages. Two messages, since a block has to wait for the one ahead
// of it. For x86 CPUs with BMI2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "crypto/aead_secrets.h"
#include "crypto/poly1305_scalar.h"

namespace vern::aead {
namespace {

class Poly1305Beside {
  public:
    static constexpr int kMessages = 2;

    // Both messages are to be given (they may be the same one); `key` is r, then s. `text` must stay as it is
    // until `finish`, which writes the tag's 16 bytes to `tag`.
    [[gnu::always_inline]] void start(int which, const std::byte* text, std::uint32_t length,
                                      const std::uint64_t (&key)[4], void* tag) {
        Chain& chain = chains_[which];
        chain.poly.start(key[0], key[1]);
        chain.s[0] = key[2];
        chain.s[1] = key[3];
        chain.text = text;
        chain.length = length;
        chain.blocks = length / 16;
        chain.tag = tag;
    }

    // How many turns, of at most `most`, there are to be: in each, two steps of either message.
    [[gnu::always_inline]] int turns(int most) {
        const std::uint32_t both =
            chains_[0].blocks < chains_[1].blocks ? chains_[0].blocks : chains_[1].blocks;
        const int count = both / 2 < static_cast<std::uint32_t>(most) ? static_cast<int>(both / 2) : most;
        for (Chain& chain : chains_) chain.blocks -= 2 * static_cast<std::uint32_t>(count);
        return count;
    }
    // What changes from step to step, for the caller to hold in registers during the turns.
    struct State {
        std::uint64_t h0, h1, h2;
        const std::byte* text;
    };
    [[gnu::always_inline]] State state(int which) const {
        const Chain& chain = chains_[which];
        return {chain.poly.h0, chain.poly.h1, chain.poly.h2, chain.text};
    }
    [[gnu::always_inline]] void keep(int which, const State& state) {
        Chain& chain = chains_[which];
        chain.poly.h0 = state.h0;
        chain.poly.h1 = state.h1;
        chain.poly.h2 = state.h2;
        chain.text = state.text;
    }
    [[gnu::always_inline]] void step(int which, State& state) const { block(chains_[which].poly, state); }

    // What the turns have left of the messages, if there are any. Their keys are wiped.
    [[gnu::always_inline]] void finish() {
        if (chains_[0].tag != nullptr) finish_both();
    }

  private:
    struct Chain {
        Poly1305Scalar poly;
        std::uint64_t s[2];
        const std::byte* text;
        std::uint32_t length;
        std::uint32_t blocks = 0;  // whole ones that have not had their turn
        void* tag = nullptr;       // null: no message
    };
    struct Half {
        std::byte bytes[8];
    };

    [[gnu::noinline]] void finish_both() {
        State first = state(0), second = state(1);
        for (; chains_[0].blocks > 0 && chains_[1].blocks > 0; --chains_[0].blocks, --chains_[1].blocks) {
            step(0, first);
            step(1, second);
        }
        finish(0, first);
        finish(1, second);
    }

    [[gnu::always_inline]] void finish(int which, State state) {
        Chain& chain = chains_[which];
        for (; chain.blocks > 0; --chain.blocks) step(which, state);
        keep(which, state);
        if (chain.length % 16 > 0) chain.poly.last_bytes(chain.text, chain.length % 16);
        chain.poly.block(0, chain.length);
        std::uint64_t tag[2];
        chain.poly.finish(chain.s[0], chain.s[1], tag[0], tag[1]);
        std::memcpy(chain.tag, tag, sizeof tag);
        chain.tag = nullptr;
        wipe_secrets(&chain.poly, sizeof chain.poly);
        wipe_secrets(chain.s, sizeof chain.s);
    }

    // As Poly1305Scalar::block, of which compilers make half as many instructions again, moving halves of
    // 128-bit numbers about. They compete with the vector code around this for places in the CPU.
    [[gnu::always_inline]] static void block(const Poly1305Scalar& key, State& state) {
        std::uint64_t a, d0, low, high, carry0, carry1;
        __asm__ volatile(
            // h += block
            "add %[text0], %[h0]\n\t"
            "adc %[text1], %[h1]\n\t"
            "adc $1, %[h2]\n\t"
            // carry1:h1 = h1 r0 + h0 r1, carry0:h0 = h1 s1 + h0 r0
            "mov %[h1], %[a]\n\t"
            "mulx %[r0], %[h1], %[carry1]\n\t"
            "mulx %[s1], %[d0], %[carry0]\n\t"
            "mov %[h0], %[a]\n\t"
            "mulx %[r1], %[low], %[high]\n\t"
            "mulx %[r0], %[h0], %[a]\n\t"
            "add %[low], %[h1]\n\t"
            "adc %[high], %[carry1]\n\t"
            "add %[d0], %[h0]\n\t"
            "adc %[a], %[carry0]\n\t"
            // h2:h1 with h2 r0 and h2 s1, and the carries
            "mov %[s1], %[a]\n\t"
            "imul %[h2], %[a]\n\t"
            "imul %[r0], %[h2]\n\t"
            "add %[carry0], %[h1]\n\t"
            "adc %[carry1], %[h2]\n\t"
            "add %[a], %[h1]\n\t"
            "adc $0, %[h2]\n\t"
            // 2^128 = 2^130 / 4 wraps to 5/4
            "mov %[h2], %[a]\n\t"
            "shr $2, %[a]\n\t"
            "and $3, %[h2]\n\t"
            "lea (%[a],%[a],4), %[a]\n\t"
            "add %[a], %[h0]\n\t"
            "adc $0, %[h1]\n\t"
            "adc $0, %[h2]"
            : [h0] "+&r"(state.h0), [h1] "+&r"(state.h1), [h2] "+&r"(state.h2), [a] "=&d"(a), [d0] "=&r"(d0),
              [low] "=&r"(low), [high] "=&r"(high), [carry0] "=&r"(carry0), [carry1] "=&r"(carry1)
            : [r0] "m"(key.r0), [r1] "m"(key.r1), [s1] "m"(key.s1),
              [text0] "m"(*reinterpret_cast<const Half*>(state.text)),
              [text1] "m"(*reinterpret_cast<const Half*>(state.text + sizeof(Half)))
            : "cc");
        state.text += 2 * sizeof(Half);
    }

    Chain chains_[kMessages];
};

}  // namespace
}  // namespace vern::aead
