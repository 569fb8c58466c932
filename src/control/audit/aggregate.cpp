#include "control/audit/aggregate.h"

#include <fmt/format.h>

namespace vern::audit {
namespace {

std::size_t index_of(Kind kind) { return static_cast<std::size_t>(kind); }

// ICMP has its type and code in the detail, where others have a port.
std::string key_of(const Record& record) {
    std::string key = fmt::format("{} {}", index_of(record.kind),
                                  record.dst_port ? static_cast<std::int64_t>(*record.dst_port) : -1);
    for (const std::string* part :
         {&record.peer_key, &record.rule, &record.direction, &record.protocol, &record.detail})
        key.append(1, '\0').append(*part);
    return key;
}

// What differs cannot be said of all of them.
void keep_common(Record& told, const Record& next) {
    for (const auto member : {&Record::src, &Record::dst, &Record::reason, &Record::identity, &Record::issuer,
                              &Record::serial, &Record::not_after}) {
        if (told.*member != next.*member) (told.*member).clear();
    }
    if (told.src_port != next.src_port) told.src_port.reset();
}

}  // namespace

void Aggregate::Sum::add(const Record& record) {
    records += 1 + record.suppressed.value_or(0);
    if (record.packets) packets = packets.value_or(0) + *record.packets;
    if (record.bytes) bytes = bytes.value_or(0) + *record.bytes;
}

void Aggregate::Sum::put_into(Record& record) const {
    record.suppressed = records;
    record.packets = packets;
    record.bytes = bytes;
}

void Aggregate::add(Record record, Instant now) {
    if (!ends_) ends_ = now + limits_.interval;
    std::string key = key_of(record);
    if (const auto known = told_.find(key); known != told_.end()) {
        keep_common(known->second.record, record);
        return known->second.after.add(record);
    }
    const bool full = told_.size() >= limits_.keys_max;
    auto peer = peers_.find(record.peer_key);
    if (peer == peers_.end()) {
        if (full) return beyond_[index_of(record.kind)].add(record);
        peer = peers_.try_emplace(record.peer_key, Peer{.name = record.peer, .told = 0, .beyond = {}}).first;
    }
    if (full || peer->second.told == limits_.records_per_peer)
        return peer->second.beyond[index_of(record.kind)].add(record);
    ++peer->second.told;
    told_.emplace(std::move(key), Told{.record = record, .after = {}});
    tell_(std::move(record));
}

void Aggregate::tick(Instant now, WallTime wall) {
    if (ends_ && now >= *ends_) end_interval(wall);
}

void Aggregate::tell_sums(const SumsByKind& sums, const Record& like, std::string_view detail) {
    for (std::size_t kind = 0; kind < sums.size(); ++kind) {
        if (sums[kind].records == 0) continue;
        Record record = like;
        record.kind = static_cast<Kind>(kind);
        record.detail = detail;
        sums[kind].put_into(record);
        tell_(std::move(record));
    }
}

void Aggregate::end_interval(WallTime wall) {
    ends_.reset();
    for (auto& [key, told] : told_) {
        if (told.after.records == 0) continue;
        told.record.time = wall;
        told.after.put_into(told.record);
        tell_(std::move(told.record));
    }
    Record like;
    like.time = wall;
    tell_sums(beyond_, like, "of more peers, rules and ports than are told one by one");
    for (const auto& [key, peer] : peers_) {
        like.peer = peer.name;
        like.peer_key = key;
        tell_sums(peer.beyond, like, "of more rules and ports than are told one by one");
    }
    // What a large scan took goes back.
    told_ = {};
    peers_ = {};
    beyond_ = {};
}

}  // namespace vern::audit
