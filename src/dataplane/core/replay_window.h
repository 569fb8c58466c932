// Which counters of a session have been accepted: a bitmap over the last 8192 (RFC 6479: words are cleared as
// the window moves over them, so nothing is shifted; one word is slack). Not synchronised: the session's lock
// covers it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "crypto/messages.h"

namespace vern {

class ReplayWindow {
  public:
    // True when the counter is new; says nothing of authenticity and changes nothing. For refusing replays
    // before they cost an AEAD.
    bool is_fresh(std::uint64_t counter) const noexcept {
        if (counter >= kRejectAfterMessages) return false;
        if (counter >= next_) return true;
        if (next_ - counter > kUsableBits) return false;
        return (word(counter) & bit(counter)) == 0;
    }

    // Accepts an authenticated counter; false when it was not fresh after all.
    bool accept(std::uint64_t counter) noexcept {
        if (!is_fresh(counter)) return false;
        if (counter >= next_) advance_to(counter);
        word(counter) |= bit(counter);
        return true;
    }

    std::uint64_t next() const noexcept { return next_; }  // one more than the greatest accepted

  private:
    static constexpr std::size_t kWordBits = 64;
    static constexpr std::size_t kWords = kReplayWindowBits / kWordBits;
    static constexpr std::uint64_t kUsableBits = kReplayWindowBits - kWordBits;

    std::uint64_t& word(std::uint64_t counter) noexcept { return words_[(counter / kWordBits) % kWords]; }
    const std::uint64_t& word(std::uint64_t counter) const noexcept {
        return words_[(counter / kWordBits) % kWords];
    }
    static std::uint64_t bit(std::uint64_t counter) noexcept {
        return std::uint64_t{1} << (counter % kWordBits);
    }

    void advance_to(std::uint64_t counter) noexcept {
        const std::uint64_t newest = next_ == 0 ? 0 : (next_ - 1) / kWordBits;
        const std::uint64_t target = counter / kWordBits;
        const std::uint64_t steps = target - newest < kWords ? target - newest : kWords;
        for (std::uint64_t i = 1; i <= steps; ++i) words_[(newest + i) % kWords] = 0;
        next_ = counter + 1;
    }

    std::array<std::uint64_t, kWords> words_{};
    std::uint64_t next_ = 0;
};

}  // namespace vern
