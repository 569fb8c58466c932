// The token buckets of all rules that have a rate, for all workers. Kept by rule id, so that applying a
// policy again gives nobody new tokens.
//
// A bucket is one number, the moment at which it is full again (GCRA, ITU-T I.371): a flow moves it on by the
// price of one token, and is refused when that would be further away than the burst allows. What is full
// again need not be kept: its place is free.
//
// Fixed memory, touched when used, and a lock for each set of 8 buckets: 65536 sets for sources (16 MiB). A
// peer's have theirs, for each rule, in 256 of the sets, and never more than half of a set; those of this
// side are half of each set at most. So no single one who speaks for a whole prefix uses up the buckets of
// others by changing its source; two that do, under as many rules with rates as there are, take all of those
// sets that they both have. 8192 sets more are for rules and peers, whom nobody can invent. What finds no
// bucket is refused: it fails closed, and is counted.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/spin_lock.h"
#include "dataplane/policy/payer.h"
#include "dataplane/policy/reserved.h"
#include "dataplane/policy/rules.h"
#include "dataplane/policy/siphash.h"

namespace vern::policy {

class RateTable {
  public:
    explicit RateTable(Random& random) noexcept : hash_(random), sources_(kSets), others_(kSetsOfOthers) {}
    explicit operator bool() const noexcept { return sources_ && others_; }

    enum class Answer : std::uint8_t { token, none, full };
    // A token for a flow that begins at `source`, of the peer with the serial `sender`; 0: of this side, and
    // it goes to `peer`. Without `take` it only says whether there is one.
    Answer ask(std::uint64_t rule_id, const Rate& rate, std::uint64_t peer, std::uint64_t sender,
               const std::array<std::byte, 16>& source, Instant now, bool take) noexcept;

  private:
    static constexpr std::size_t kSets = 65536;
    static constexpr std::size_t kSetsOfOthers = 8192;
    static constexpr std::size_t kWays = 8;
    static constexpr std::size_t kSetsOfPeer = 256;
    static constexpr std::size_t kWaysOfOne = kWays / 2;

    struct Bucket {
        std::uint64_t rule;    // hash of rule id and scope
        std::uint64_t source;  // hash of what the bucket is for
        Instant full_at;
    };
    struct alignas(64) Set {
        SpinLock lock;
        std::uint32_t owners[kWays];  // hash of who has the bucket
        Bucket buckets[kWays];
        Bucket* find(std::uint64_t rule, std::uint64_t source, std::uint32_t owner, Instant now) noexcept;
    };
    SipHash hash_;
    Reserved<Set> sources_, others_;
};

}  // namespace vern::policy
