// What the rules said last time: most new flows ask for a service that another one has just asked for, from
// another port. A worker's own; an answer is a pure function of what it is kept under, the policy's
// generation included, so nothing needs to be taken out. Whoever crowds it costs a worker the lookup that it
// would have made anyway.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/policy/policy.h"
#include "dataplane/policy/reserved.h"

namespace vern::policy {

class MatchMemo {
  public:
    MatchMemo() noexcept : sets_(kSets), marks_(kSets) {}

    // As policy.match(), from the beginning.
    std::uint32_t match(const Policy& policy, Direction direction, std::uint32_t peer_class,
                        const FlowKey& key, std::uint16_t port) noexcept {
        if (!sets_ || !marks_) return policy.match(direction, peer_class, key, port);
        Words wanted;
        std::memcpy(&wanted[0], key.remote.data(), 16);
        std::memcpy(&wanted[2], key.local.data(), 16);
        wanted[4] = std::uint64_t{policy.generation()} << 32 | peer_class;
        wanted[5] = std::uint64_t{port} << 16 | std::uint64_t{key.protocol} << 8 |
                    static_cast<std::uint64_t>(direction) << 1 | (key.v6 ? 1U : 0U);
        const std::uint64_t h = hash(wanted);
        Set& set = sets_[h % kSets];
        Marks& marks = marks_[h % kSets];
        const auto mark = static_cast<std::uint16_t>(h / kSets);
        for (std::size_t way = 0; way < kWays; ++way) {
            if (marks[way] == mark && same(set[way].words, wanted)) return set[way].rank;
        }
        next_ = (next_ + 1) % kWays;
        Answer& answer = set[next_];
        // Far away, and the next locked instruction would wait until it is written.
        __builtin_prefetch(&answer, 1);
        const std::uint32_t rank = policy.match(direction, peer_class, key, port);
        marks[next_] = mark;
        answer = {wanted, rank};
        return rank;
    }

  private:
    static constexpr std::size_t kSets = 4096, kWays = 2;
    using Words = std::array<std::uint64_t, 6>;
    struct alignas(64) Answer {
        Words words;  // all zero: none, since a generation is never 0
        std::uint32_t rank;
    };
    using Set = std::array<Answer, kWays>;
    // Parts of the hashes of what is there: they stay near, and what is not there is seldom looked for
    // further away.
    using Marks = std::array<std::uint16_t, kWays>;

    static bool same(const Words& a, const Words& b) noexcept {  // std::array would be compared by a call
        std::uint64_t differ = 0;
        for (std::size_t i = 0; i < a.size(); ++i) differ |= a[i] ^ b[i];
        return differ == 0;
    }
    static std::uint64_t hash(const Words& words) noexcept {
        std::uint64_t h = 0;
        for (const std::uint64_t word : words) h = (h ^ word) * 0x9e3779b97f4a7c15 ^ h >> 29;
        return h >> 32;
    }
    Reserved<Set> sets_;  // 512 KiB, touched when used
    Reserved<Marks> marks_;
    std::size_t next_ = 0;  // way that is written over
};

}  // namespace vern::policy
