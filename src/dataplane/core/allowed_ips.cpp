#include "dataplane/core/allowed_ips.h"

#include <algorithm>
#include <array>
#include <bit>

namespace vern {
namespace {

unsigned common_bits(const IpAddress& a, const IpAddress& b) noexcept {
    for (std::size_t i = 0; i < a.bytes.size(); ++i) {
        const auto differ = std::to_integer<std::uint8_t>(a.bytes[i] ^ b.bytes[i]);
        if (differ != 0)
            return static_cast<unsigned>(8 * i) + static_cast<unsigned>(std::countl_zero(differ));
    }
    return static_cast<unsigned>(8 * a.bytes.size());
}

}  // namespace

template <unsigned kBits>
void AllowedIps::Trie<kBits>::build(std::span<const Entry> entries) {
    if (entries.empty()) return;
    nodes_.resize(1);
    // A default route is inherited by everything; it sorts first.
    Peer* inherited = nullptr;
    if (entries.front().prefix.length == 0) {
        inherited = entries.front().peer;
        entries = entries.subspan(1);
    }
    build_node(0, entries, 0, inherited);
    nodes_.shrink_to_fit();
    leaves_.shrink_to_fit();
    paths_.shrink_to_fit();
}

// How deep a node over `entries` can begin: at the first bit in which two of them differ, or at the last of
// the shortest one. What is left out on the way costs a path and a leaf, so it must be more than one step.
template <unsigned kBits>
unsigned AllowedIps::Trie<kBits>::skip(Node& node, std::span<const Entry> entries, unsigned depth,
                                       Peer* inherited) {
    if (entries.empty()) return depth;  // nothing but a default route
    unsigned deepest = common_bits(entries.front().prefix.address, entries.back().prefix.address);
    for (const Entry& entry : entries) deepest = std::min<unsigned>(deepest, entry.prefix.length - 1U);
    if (deepest <= depth + kStride) return depth;
    node.path = static_cast<std::uint32_t>(paths_.size());
    paths_.push_back(entries.front().prefix.address.bytes);
    leaves_.push_back(inherited);
    return deepest;
}

// `entries` share the first `depth` bits and are longer than that. Those that end within this node's six bits
// paint its slots, the longer over the shorter (which sorts before it); those that go further make children,
// which inherit the slot's colour.
template <unsigned kBits>
void AllowedIps::Trie<kBits>::build_node(std::size_t at, std::span<const Entry> entries, unsigned depth,
                                         Peer* inherited) {
    Node node;
    depth = skip(node, entries, depth, inherited);
    node.depth = depth;
    std::array<Peer*, kSlots> colour;
    colour.fill(inherited);
    std::array<std::size_t, kSlots + 1>
        begin{};  // of each slot's deeper entries: sorted input keeps them together
    std::vector<Entry> deeper;

    for (const Entry& entry : entries) {
        const unsigned slot = chunk(entry.prefix.address.bytes.data(), kBits / 8, depth);
        if (entry.prefix.length > depth + kStride) {
            deeper.push_back(entry);
            ++begin[slot + 1];
            continue;
        }
        const unsigned within = entry.prefix.length - depth;
        std::fill_n(colour.begin() + slot, std::size_t{1} << (kStride - within), entry.peer);
    }
    for (unsigned i = 0; i < kSlots; ++i) begin[i + 1] += begin[i];

    node.first_leaf = static_cast<std::uint32_t>(leaves_.size());
    bool have_leaf = false;
    for (unsigned i = 0; i < kSlots; ++i) {
        if (begin[i + 1] > begin[i]) {
            node.children |= std::uint64_t{1} << i;
        } else if (!have_leaf || leaves_.back() != colour[i]) {
            node.leaves |= std::uint64_t{1} << i;
            leaves_.push_back(colour[i]);
            have_leaf = true;
        }
    }
    node.first_child = static_cast<std::uint32_t>(nodes_.size());
    nodes_[at] = node;
    nodes_.resize(nodes_.size() + static_cast<std::size_t>(std::popcount(node.children)));
    std::size_t child = node.first_child;
    for (unsigned i = 0; i < kSlots; ++i) {
        const auto part = std::span<const Entry>(deeper).subspan(begin[i], begin[i + 1] - begin[i]);
        if (!part.empty()) build_node(child++, part, depth + kStride, colour[i]);
    }
}

AllowedIps::AllowedIps(std::span<const Entry> entries) {
    // v4 and v6 may be mixed in any order by the caller's sort key; each trie takes its own.
    std::vector<Entry> v4, v6;
    for (const Entry& entry : entries) (entry.prefix.address.family == Family::v4 ? v4 : v6).push_back(entry);
    v4_.build(v4);
    v6_.build(v6);
}

std::size_t AllowedIps::memory_bytes() const noexcept { return v4_.memory_bytes() + v6_.memory_bytes(); }

}  // namespace vern
