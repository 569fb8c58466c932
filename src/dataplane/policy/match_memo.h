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
    MatchMemo() noexcept : sets_(kSets) {}

    // As policy.match(), from the beginning.
    std::uint32_t match(const Policy& policy, Direction direction, std::uint32_t peer_class,
                        const FlowKey& key, std::uint16_t port) noexcept {
        if (!sets_) return policy.match(direction, peer_class, key, port);
        Answer wanted;
        std::memcpy(&wanted.words[0], key.remote.data(), 16);
        std::memcpy(&wanted.words[2], key.local.data(), 16);
        wanted.words[4] = std::uint64_t{policy.generation()} << 32 | peer_class;
        wanted.words[5] = std::uint64_t{port} << 16 | std::uint64_t{key.protocol} << 8 |
                          static_cast<std::uint64_t>(direction) << 1 | (key.v6 ? 1U : 0U);
        Set& set = sets_[hash(wanted) % kSets];
        if (set[0].words == wanted.words) return set[0].rank;
        if (set[1].words == wanted.words) return set[1].rank;
        set[1] = set[0];
        wanted.rank = policy.match(direction, peer_class, key, port);
        set[0] = wanted;
        return wanted.rank;
    }

  private:
    static constexpr std::size_t kSets = 4096;
    struct alignas(64) Answer {
        std::array<std::uint64_t, 6> words;  // all zero: none, since a generation is never 0
        std::uint32_t rank = Policy::kNoRule;
    };
    using Set = std::array<Answer, 2>;

    static std::uint64_t hash(const Answer& answer) noexcept {
        std::uint64_t h = 0;
        for (const std::uint64_t word : answer.words) h = (h ^ word) * 0x9e3779b97f4a7c15 ^ h >> 29;
        return h >> 40;
    }
    Reserved<Set> sets_;  // 512 KiB, touched when used
};

}  // namespace vern::policy
