// Poly1305 (RFC 8439, 2.5) of one long message with its blocks in the lanes of a field F: each lane takes
// every kWide-th block with r^kWide, and at the end the power of r that its last block wants. The row of
// blocks is complete at the end (it ends with the block of the length); the first may begin with blocks that
// are nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vern::aead {
namespace {

template <class F>
struct Poly1305Along {
    using V = typename F::Vector;
    using U64 = typename V::U64;
    using Element = typename F::Element;
    using Multiplier = typename F::Multiplier;
    static constexpr int kWide = V::kWide;
    static constexpr std::uint32_t kRowBytes = 16 * kWide;

    // Key material that does not fit into registers: the caller's to wipe.
    struct Powers {
        Multiplier row, two_rows;  // r^kWide and its square
        Multiplier lane;           // what each lane's last block is multiplied with
    };
    struct Key {
        std::uint64_t r[2], s[2];
    };

    static void mac(const std::byte* data, std::uint32_t length, const Key& key, Powers& powers,
                    std::uint64_t (&tag)[2]) {
        raise(powers, key);
        const std::uint32_t blocks = (length + 15) / 16 + 1, rows = (blocks + kWide - 1) / kWide;
        const std::uint32_t nothing = rows * kWide - blocks;
        // The rows that are not just message bytes: the first if it has blocks of nothing, and the last.
        alignas(64) std::byte edge[kRowBytes] = {};
        std::uint32_t row = 0;
        Element h = F::zero();
        if (nothing > 0 && rows > 1) {
            __builtin_memcpy(edge + 16 * nothing, data, kRowBytes - 16 * nothing);
            h = load(edge, nothing);
            data += kRowBytes - 16 * nothing;
            length -= kRowBytes - 16 * nothing;
            row = 1;
        }
        for (; row + 2 < rows; row += 2, data += 2 * kRowBytes, length -= 2 * kRowBytes) {
            typename F::Sum sum = F::empty();
            F::multiply_add(sum, load(data), powers.row);
            F::multiply_add(sum, h, powers.two_rows);
            h = F::add(F::reduce(sum), load(data + kRowBytes));
        }
        if (row + 1 < rows) {
            h = F::add(times(h, powers.row), load(data));
            data += kRowBytes;
            length -= kRowBytes;
        }
        const std::uint32_t first = rows > 1 ? 0 : nothing;
        const std::uint64_t lengths[2] = {0, whole_length(rows, nothing, length)};
        __builtin_memset(edge, 0, sizeof edge);
        __builtin_memcpy(edge + 16 * first, data, length);
        __builtin_memcpy(edge + kRowBytes - 16, lengths, 16);
        h = times(F::add(times(h, powers.row), load(edge, first)), powers.lane);
        sum_up(h, key, tag);
    }

  private:
    // The length of the message, of which `left` bytes are in the last row.
    static std::uint64_t whole_length(std::uint32_t rows, std::uint32_t nothing, std::uint32_t left) {
        return rows > 1 ? (rows - 1) * kRowBytes - 16 * nothing + left : left;
    }
    [[gnu::always_inline]] static Element times(const Element& a, const Multiplier& m) {
        typename F::Sum sum = F::empty();
        F::multiply_add(sum, a, m);
        return F::reduce(sum);
    }
    // Two vectors hold a row; their low and high halves of blocks come out with lane l holding this block.
    static constexpr std::uint64_t block_in(int lane) {
        const int block = lane % 2 * (kWide / 2) + lane / 2;
        return static_cast<std::uint64_t>(block);
    }
    [[gnu::always_inline]] static Element load(const std::byte* data) {
        U64 low, high;
        V::low_and_high(V::load_bytes(data), V::load_bytes(data + kRowBytes / 2), low, high);
        return F::block(low, high);
    }
    static Element load(const std::byte* data, std::uint32_t nothing) {
        U64 low, high;
        V::low_and_high(V::load_bytes(data), V::load_bytes(data + kRowBytes / 2), low, high);
        alignas(64) std::uint64_t blocks[kWide];
        for (int i = 0; i < kWide; ++i) blocks[i] = block_in(i) + 1;
        return F::select(V::greater(V::load64(blocks), V::set64(nothing)), F::block(low, high),
                         F::number(low, high));
    }
    // Lane l wants r^(kWide - block): r, times r, r^2, r^4 by the bits of the rest of the exponent.
    static void raise(Powers& powers, const Key& key) {
        const Element r =
            F::number(V::set64(key.r[0] & 0x0ffffffc0fffffff), V::set64(key.r[1] & 0x0ffffffc0ffffffc));
        Element power = r, lane = r;
        for (int bit = 1; bit < kWide; bit *= 2) {
            const Multiplier m = F::multiplier(power);
            alignas(64) std::uint64_t wanted[kWide];
            for (int i = 0; i < kWide; ++i)
                wanted[i] = (kWide - 1 - block_in(i)) & static_cast<std::uint64_t>(bit);
            lane = F::select(V::greater(V::load64(wanted), V::set64(0)), times(lane, m), lane);
            power = times(power, m);
        }
        powers.lane = F::multiplier(lane);
        powers.row = F::multiplier(power);
        powers.two_rows = F::multiplier(times(power, powers.row));
    }
    static void sum_up(const Element& h, const Key& key, std::uint64_t (&tag)[2]) {
        Element total;
        alignas(64) std::uint64_t lanes[kWide];
        for (std::size_t limb = 0; limb < sizeof h.limb / sizeof h.limb[0]; ++limb) {
            V::store64(lanes, h.limb[limb]);
            std::uint64_t sum = 0;
            for (const std::uint64_t lane : lanes) sum += lane;
            total.limb[limb] = V::set64(sum);
        }
        U64 low, high;
        F::finish(total, V::set64(key.s[0]), V::set64(key.s[1]), low, high);
        V::store64(lanes, low);
        tag[0] = lanes[0];
        V::store64(lanes, high);
        tag[1] = lanes[0];
    }
};

}  // namespace
}  // namespace vern::aead
