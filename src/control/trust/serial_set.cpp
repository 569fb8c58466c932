#include "control/trust/serial_set.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace vern::trust {

void SerialSet::add(std::uint64_t first, std::uint64_t last) { ranges_.push_back({first, last}); }

void SerialSet::add_word(std::uint64_t index, std::uint64_t bits) {
    if (bits == 0) return;
    if (!words_.empty() && words_.back().index == index) {
        words_.back().bits |= bits;
    } else {
        words_.push_back({index, bits});
    }
}

bool SerialSet::add_bitmap(std::uint64_t offset, std::span<const std::byte> magnitude) {
    while (!magnitude.empty() && magnitude.front() == std::byte{}) magnitude = magnitude.subspan(1);
    if (magnitude.empty()) return true;
    const auto top = static_cast<unsigned>(std::bit_width(std::to_integer<unsigned>(magnitude.front())));
    const std::uint64_t last_bit = std::uint64_t{magnitude.size() - 1} * 8 + top - 1;
    if (offset > std::numeric_limits<std::uint64_t>::max() - last_bit) return false;
    std::uint64_t serial = offset;
    for (auto octet = magnitude.rbegin(); octet != magnitude.rend(); ++octet, serial += 8) {
        const auto bits = std::to_integer<std::uint64_t>(*octet);
        const unsigned shift = serial % 64;
        add_word(serial / 64, bits << shift);
        if (shift > 56) add_word(serial / 64 + 1, bits >> (64 - shift));
    }
    return true;
}

void SerialSet::seal() {
    std::sort(ranges_.begin(), ranges_.end(),
              [](const Range& a, const Range& b) { return a.first < b.first; });
    std::vector<Range> ranges;
    for (const Range& range : ranges_) {
        if (!ranges.empty() && range.first <= ranges.back().last) {
            ranges.back().last = std::max(ranges.back().last, range.last);
        } else {
            ranges.push_back(range);
        }
    }
    ranges_ = std::move(ranges);

    std::sort(words_.begin(), words_.end(), [](const Word& a, const Word& b) { return a.index < b.index; });
    std::vector<Word> unsealed = std::move(words_);
    words_.clear();
    for (const Word& word : unsealed) add_word(word.index, word.bits);
}

bool SerialSet::contains(std::uint64_t serial) const {
    const auto range =
        std::upper_bound(ranges_.begin(), ranges_.end(), serial,
                         [](std::uint64_t wanted, const Range& r) { return wanted < r.first; });
    if (range != ranges_.begin() && serial <= std::prev(range)->last) return true;
    const auto word = std::lower_bound(words_.begin(), words_.end(), serial / 64,
                                       [](const Word& w, std::uint64_t wanted) { return w.index < wanted; });
    return word != words_.end() && word->index == serial / 64 && (word->bits >> (serial % 64) & 1) != 0;
}

}  // namespace vern::trust
