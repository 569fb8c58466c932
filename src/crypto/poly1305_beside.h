// Poly1305 (RFC 8439, 2.5) of two messages in the integer unit, as the AEAD wants it (the message padded with
// zeros to whole blocks, then a block of its length), whose blocks find time between the vector instructions
// that encipher other messages (quarter_rounds_avx2.h). Two messages, since a block has to wait for the one
// ahead of it. For x86 CPUs with BMI2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "crypto/aead_secrets.h"
#include "crypto/poly1305_scalar.h"
#include "crypto/quarter_rounds_avx2.h"

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

    // How many turns, of at most `most`, there are to be: in each, kBlocksPerTurn blocks of either message.
    [[gnu::always_inline]] int turns(int most) {
        const std::uint32_t both =
            chains_[0].blocks < chains_[1].blocks ? chains_[0].blocks : chains_[1].blocks;
        const std::uint32_t left = both / kBlocksPerTurn;
        const int count = left < static_cast<std::uint32_t>(most) ? static_cast<int>(left) : most;
        for (Chain& chain : chains_) chain.blocks -= kBlocksPerTurn * static_cast<std::uint32_t>(count);
        return count;
    }
    [[gnu::always_inline]] Poly1305Key key(int which) const {
        const Poly1305Scalar& poly = chains_[which].poly;
        return {poly.r0, poly.r1, poly.s1};
    }
    // What changes from block to block, for the caller to hold in registers during the turns.
    [[gnu::always_inline]] Poly1305Cursor cursor(int which) const {
        const Chain& chain = chains_[which];
        return {chain.poly.h0, chain.poly.h1, chain.poly.h2, chain.text};
    }
    [[gnu::always_inline]] void keep(int which, const Poly1305Cursor& cursor) {
        Chain& chain = chains_[which];
        chain.poly.h0 = cursor.h0;
        chain.poly.h1 = cursor.h1;
        chain.poly.h2 = cursor.h2;
        chain.text = cursor.text;
    }

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
    static constexpr std::uint32_t kBlocksPerTurn = 3;

    [[gnu::noinline]] void finish_both() {
        Poly1305Cursor first = cursor(0), second = cursor(1);
        for (; chains_[0].blocks > 0 && chains_[1].blocks > 0; --chains_[0].blocks, --chains_[1].blocks) {
            QuarterRounds::block_alone(chains_[0].poly, first);
            QuarterRounds::block_alone(chains_[1].poly, second);
        }
        finish(0, first);
        finish(1, second);
    }

    [[gnu::always_inline]] void finish(int which, Poly1305Cursor cursor) {
        Chain& chain = chains_[which];
        for (; chain.blocks > 0; --chain.blocks) QuarterRounds::block_alone(chain.poly, cursor);
        keep(which, cursor);
        if (chain.length % 16 > 0) chain.poly.last_bytes(chain.text, chain.length % 16);
        chain.poly.block(0, chain.length);
        std::uint64_t tag[2];
        chain.poly.finish(chain.s[0], chain.s[1], tag[0], tag[1]);
        std::memcpy(chain.tag, tag, sizeof tag);
        chain.tag = nullptr;
        wipe_secrets(&chain.poly, sizeof chain.poly);
        wipe_secrets(chain.s, sizeof chain.s);
    }

    Chain chains_[kMessages];
};

}  // namespace
}  // namespace vern::aead
