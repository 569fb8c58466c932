// Allowed IPs: which peer an address belongs to, by longest match over the prefixes of all peers, for both
// directions.
//
// A poptrie (Asai and Ohara, SIGCOMM 2015) with its paths compressed: six address bits a step, each node two
// 64-bit maps and two offsets, children and leaves in flat arrays. Bits in which all prefixes below agree
// make no nodes: the node behind them compares them at once. So a lookup takes about as many steps as it
// takes to tell the prefixes apart, not as they are long (at most 6 for IPv4 and 22 for IPv6), and the memory
// goes with the number of prefixes, not with where they lie. Immutable once built: part of a snapshot, shared
// by all threads.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "dataplane/base/address.h"
#include "dataplane/base/inner_packet.h"

namespace vern {

struct Peer;

class AllowedIps {
  public:
    struct Entry {
        Prefix prefix;
        Peer* peer;
    };
    AllowedIps() = default;
    // `entries` sorted by prefix (address, then length), each prefix once, host bits zero.
    explicit AllowedIps(std::span<const Entry> entries);

    Peer* find(const std::byte* address, bool v6) const noexcept {
        return v6 ? v6_.find(address) : v4_.find(address);
    }
    Peer* find_source(const InnerPacket& packet) const noexcept { return find(packet.source(), packet.v6); }
    Peer* find_destination(const InnerPacket& packet) const noexcept {
        return find(packet.destination(), packet.v6);
    }

    std::size_t memory_bytes() const noexcept;

  private:
    static constexpr unsigned kStride = 6;
    static constexpr unsigned kSlots = 1U << kStride;
    // Bits [depth, depth + 6) of an address of `bytes` bytes; what lies past its end reads as zero.
    static unsigned chunk(const std::byte* address, std::size_t bytes, unsigned depth) noexcept {
        const std::size_t at = depth / 8;
        const unsigned high = at < bytes ? std::to_integer<unsigned>(address[at]) : 0;
        const unsigned low = at + 1 < bytes ? std::to_integer<unsigned>(address[at + 1]) : 0;
        return (((high << 8) | low) >> (16 - kStride - depth % 8)) & (kSlots - 1);
    }

    struct Node {
        std::uint64_t children = 0;  // bit i: the slot goes on in a child node
        std::uint64_t leaves =
            0;  // bit i: the slot begins a run of equal leaves (only slots without a child count)
        std::uint32_t first_child = 0;
        std::uint32_t first_leaf = 0;
        std::uint32_t depth = 0;     // of the first address bit that this node looks at
        std::uint32_t path = kNone;  // the address whose first `depth` bits must be met; else the leaf before
                                     // first_leaf is the answer
    };
    static constexpr std::uint32_t kNone = 0xffffffff;
    using Path = std::array<std::byte, 16>;
    static bool shares(const std::byte* address, const Path& path, unsigned bits) noexcept;

    template <unsigned kBits>
    class Trie {
      public:
        void build(std::span<const Entry> entries);
        Peer* find(const std::byte* address) const noexcept;
        std::size_t memory_bytes() const noexcept {
            return nodes_.size() * sizeof(Node) + leaves_.size() * sizeof(Peer*) +
                   paths_.size() * sizeof(Path);
        }

      private:
        void build_node(std::size_t at, std::span<const Entry> entries, unsigned depth, Peer* inherited);
        unsigned skip(Node& node, std::span<const Entry> entries, unsigned depth, Peer* inherited);
        std::vector<Node> nodes_;
        std::vector<Peer*> leaves_;
        std::vector<Path> paths_;
    };

    Trie<32> v4_;
    Trie<128> v6_;
};

inline bool AllowedIps::shares(const std::byte* address, const Path& path, unsigned bits) noexcept {
    const std::size_t whole = bits / 8;
    if (std::memcmp(address, path.data(), whole) != 0) return false;
    const unsigned rest = bits % 8;
    return rest == 0 || std::to_integer<unsigned>(address[whole] ^ path[whole]) >> (8 - rest) == 0;
}

template <unsigned kBits>
Peer* AllowedIps::Trie<kBits>::find(const std::byte* address) const noexcept {
    if (nodes_.empty()) return nullptr;
    const Node* node = &nodes_[0];
    for (;;) {
        if (node->path != kNone && !shares(address, paths_[node->path], node->depth))
            return leaves_[node->first_leaf - 1];
        const std::uint64_t bit = std::uint64_t{1} << chunk(address, kBits / 8, node->depth);
        const std::uint64_t upto = bit | (bit - 1);
        if (node->children & bit) {
            node = &nodes_[node->first_child +
                           static_cast<std::size_t>(std::popcount(node->children & (bit - 1)))];
        } else {
            return leaves_[node->first_leaf + static_cast<std::size_t>(std::popcount(node->leaves & upto)) -
                           1];
        }
    }
}

}  // namespace vern
