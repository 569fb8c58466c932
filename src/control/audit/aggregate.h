// Makes few records out of many decisions. In an interval the first of each (peer, rule, direction, protocol,
// destination port, kind) is told at once; those after it are counted, and told at its end by one record with
// `suppressed`. What a peer may add in an interval is bounded too: beyond that its decisions are counted by
// their kind. So a scan of all ports writes no more than kRecordsPerPeer records twice and one a kind.
// Nothing is dropped without being counted. One thread; reads no clock.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>

#include "control/audit/record.h"
#include "crypto/instant.h"

namespace vern::audit {

struct AggregateLimits {
    Duration interval = std::chrono::seconds(10);
    std::size_t keys_max = 4096;
    std::size_t records_per_peer = 64;  // that are told at once, in an interval
};

class Aggregate {
  public:
    using Tell = std::function<void(Record)>;
    explicit Aggregate(Tell tell, AggregateLimits limits = {}) : tell_(std::move(tell)), limits_(limits) {}

    void add(Record record, Instant now);
    // Ends the interval when its time has come. `wall` is the time of what that tells.
    void tick(Instant now, WallTime wall);
    // Ends it now: what it is that rules and peers are called changes, or the daemon stops.
    void end_interval(WallTime wall);
    std::optional<Instant> deadline() const { return ends_; }
    std::size_t keys() const noexcept { return told_.size(); }

  private:
    struct Sum {
        std::uint64_t records = 0;
        Record::Number packets, bytes;
        void add(const Record& record);
        void put_into(Record& record) const;
    };
    struct Told {
        Record record;  // what those after it have in common with it
        Sum after;
    };
    using SumsByKind = std::array<Sum, kKinds>;
    struct Peer {
        std::string name;
        std::size_t told = 0;
        SumsByKind beyond;
    };

    void tell_sums(const SumsByKind& sums, const Record& like, std::string_view detail);

    Tell tell_;
    AggregateLimits limits_;
    std::optional<Instant> ends_;
    std::unordered_map<std::string, Told> told_;
    std::unordered_map<std::string, Peer> peers_;  // each has a key at least, so they are as few
    SumsByKind beyond_{};
};

}  // namespace vern::audit
