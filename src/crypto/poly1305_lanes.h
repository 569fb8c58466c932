// Poly1305 (RFC 8439, 2.5) of the bytes of up to kWide messages at once, a message in each lane of a field F
// (poly1305_field44.h, poly1305_field26.h), as the AEAD wants it: the message padded with zeros to whole
// blocks, then a block of its length. No powers of r across lanes and no sums at the end; with rows of
// kBlocks blocks a lane, a row is one sum of products with r^kBlocks ... r and one reduction.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vern::aead {
namespace {

template <class F>
struct Poly1305Lanes {
    using V = typename F::Vector;
    using U64 = typename V::U64;
    using Element = typename F::Element;
    using Multiplier = typename F::Multiplier;
    static constexpr int kWide = V::kWide;
    static constexpr std::uint32_t kRowBytes = 8 * kWide;
    static constexpr int kBlocks = kWide / 2;  // in a row
    // Rows from which on the powers of r pay for themselves.
    static constexpr std::uint32_t kPowersFromRows = 4;

    struct Messages {
        const std::byte* data[kWide];  // lanes without a message repeat another's
        std::uint32_t length[kWide];
        // r and s, word by word; lanes are kLanes of 32 bits apart by `stride`.
        const std::uint32_t* words;
        std::size_t stride;
    };
    // Key material that does not fit into registers: the caller's to wipe.
    struct Powers {
        Multiplier of_r[kBlocks];  // r^kBlocks first, r last
    };

    // tags[0] are the low 64 bits, tags[1] the high ones.
    static void mac(const Messages& messages, Powers& powers, std::uint64_t (&tags)[2][kWide]) {
        const auto word = [&](int i) {
            const std::uint32_t* low = messages.words + static_cast<std::size_t>(2 * i) * messages.stride;
            return V::or64(V::widen(low), V::template left64<32>(V::widen(low + messages.stride)));
        };
        const Element r = F::number(V::and64(word(0), V::set64(0x0ffffffc0fffffff)),
                                    V::and64(word(1), V::set64(0x0ffffffc0ffffffc)));
        Multiplier& first_power = powers.of_r[kBlocks - 1];
        first_power = F::multiplier(r);

        std::uint32_t shortest = ~0u, longest = 0;
        for (const std::uint32_t length : messages.length) {
            shortest = length < shortest ? length : shortest;
            longest = length > longest ? length : longest;
        }
        const std::uint32_t common_rows = shortest / kRowBytes;
        Element h = F::zero();
        std::uint32_t row = 0;
        if (common_rows >= kPowersFromRows) {
            raise(powers, r);
            for (; row < common_rows; ++row) h = whole_row(h, messages, row * kRowBytes, powers);
        } else {
            for (; row < common_rows; ++row) {
                U64 x[kWide];
                V::load_columns(x, messages.data, row * kRowBytes);
                for (int i = 0; i < kBlocks; ++i) h = step(h, F::block(x[2 * i], x[2 * i + 1]), first_power);
            }
        }
        std::uint32_t at = row * kRowBytes;
        for (; at + 16 <= shortest; at += 16) h = step(h, load_block(messages, at), first_power);
        for (; at < longest; at += kRowBytes) h = ragged_row(h, messages, at, first_power);
        h = step(h, F::block(V::set64(0), V::widen(messages.length)), first_power);
        U64 low, high;
        F::finish(h, word(2), word(3), low, high);
        V::store64(tags[0], low);
        V::store64(tags[1], high);
    }

    [[gnu::always_inline]] static Element step(const Element& h, const Element& block, const Multiplier& r) {
        typename F::Sum sum = F::empty();
        F::multiply_add(sum, F::add(h, block), r);
        return F::reduce(sum);
    }

  private:
    [[gnu::always_inline]] static void raise(Powers& powers, const Element& r) {
        Element power = r;
        for (int i = kBlocks - 2; i >= 0; --i) {
            typename F::Sum sum = F::empty();
            F::multiply_add(sum, power, powers.of_r[kBlocks - 1]);
            power = F::reduce(sum);
            powers.of_r[i] = F::multiplier(power);
        }
    }
    [[gnu::always_inline]] static Element whole_row(const Element& h, const Messages& messages,
                                                    std::uint32_t at, const Powers& powers) {
        U64 x[kWide];
        V::load_columns(x, messages.data, at);
        // Two sums: half the latency of one, whose products would fill the scheduler while they wait.
        typename F::Sum sum = F::empty(), rest = F::empty();
        for (int i = kBlocks - 1; i > 0; --i)
            F::multiply_add(i < kBlocks / 2 ? sum : rest, F::block(x[2 * i], x[2 * i + 1]), powers.of_r[i]);
        F::multiply_add(sum, F::add(h, F::block(x[0], x[1])), powers.of_r[0]);
        return F::reduce(F::join(sum, rest));
    }
    // Of every message.
    [[gnu::always_inline]] static Element load_block(const Messages& messages, std::uint32_t at) {
        const std::byte *even[kWide / 2], *odd[kWide / 2];
        for (int i = 0; i < kWide / 2; ++i) {
            even[i] = messages.data[2 * i] + at;
            odd[i] = messages.data[2 * i + 1] + at;
        }
        U64 low, high;
        V::low_and_high(V::gather128(even), V::gather128(odd), low, high);
        return F::block(low, high);
    }
    // A row that some lanes have only in part or not at all: their h stays as it is.
    static Element ragged_row(Element h, const Messages& messages, std::uint32_t at, const Multiplier& r) {
        std::byte rows[kWide][kRowBytes];  // padded
        const std::byte* data[kWide];
        alignas(64) std::uint64_t blocks[kWide];
        std::uint64_t most = 0;
        for (int i = 0; i < kWide; ++i) {
            const std::uint32_t left = messages.length[i] > at ? messages.length[i] - at : 0;
            const std::uint32_t bytes = left < kRowBytes ? left : kRowBytes;
            V::store_bytes(rows[i], V::load_bytes(messages.data[i] + (bytes ? at : 0), bytes));
            data[i] = rows[i];
            blocks[i] = (bytes + 15) / 16;
            most = blocks[i] > most ? blocks[i] : most;
        }
        U64 x[kWide];
        V::load_columns(x, data, 0);
        const U64 count = V::load64(blocks);
        for (std::uint64_t i = 0; i < most; ++i) {
            const Element next = step(h, F::block(x[2 * i], x[2 * i + 1]), r);
            h = F::select(V::greater(count, V::set64(i)), next, h);
        }
        return h;
    }
};

}  // namespace
}  // namespace vern::aead
