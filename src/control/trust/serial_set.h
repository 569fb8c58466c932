// A set of serial numbers as revocation lists write them: ranges and bitmaps, kept as compact as they came
// (16 bytes for a range, 16 for 64 neighbours of a bitmap), in whatever order and overlap. Lookups take the
// logarithm of that.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace vern::trust {

class SerialSet {
  public:
    void add(std::uint64_t first, std::uint64_t last);  // first <= last
    // Bit N (of a big-endian number, 0 the last) is the serial offset + N. False if that is more than 64
    // bits.
    bool add_bitmap(std::uint64_t offset, std::span<const std::byte> magnitude);
    void seal();  // once, before contains()
    bool contains(std::uint64_t serial) const;

  private:
    struct Range {
        std::uint64_t first = 0, last = 0;
    };
    struct Word {
        std::uint64_t index = 0;  // serial / 64
        std::uint64_t bits = 0;
    };
    void add_word(std::uint64_t index, std::uint64_t bits);

    std::vector<Range> ranges_;
    std::vector<Word> words_;
};

}  // namespace vern::trust
