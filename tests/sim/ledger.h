// Who sent what: every inner packet and every datagram of a world, and the invariants that compare what comes
// out with what went in.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "dataplane/core/train.h"
#include "network.h"
#include "packet.h"
#include "virtual_time.h"

namespace vern::sim {

class World;
class Host;

struct PacketRecord {
    std::uint32_t flow = 0;
    std::uint32_t sequence = 0;
    std::uint32_t epoch = 0;
    std::uint16_t payload = 0;
    std::uint8_t ecn = 0;
    HostId sender = kNobody;   // whose stack it came from
    HostId sent_to = kNobody;  // the peer it was sealed for
    bool delivered = false;
    bool tampered = false;  // made malformed before it was sealed: must not come out
    bool ordered = true;    // false: of a kind whose order the core does not promise
};

// A datagram as a host put it on the wire.
struct WireRecord {
    Nanos at = 0;
    HostId sender = kNobody;
    HostId meant_for = kNobody;  // whose peer it was made for
    std::uint8_t type = 0;
    std::uint32_t accepted =
        0;  // not 0: the receiver has taken it (in its n-th life with the sender) and must not take it again
    std::uint32_t index = 0;  // receiver's of data messages, sender's of handshake messages
    std::uint64_t counter = 0;
};

class Ledger {
  public:
    explicit Ledger(World& world) : world_(world) {}

    // --- inner packets
    std::uint64_t next_packet() const noexcept { return packets_.size(); }
    void packet_made(const PacketRecord& record) { packets_.push_back(record); }
    PacketRecord* packet(std::uint64_t id) noexcept { return id < packets_.size() ? &packets_[id] : nullptr; }
    // Looks at a packet as `host` is about to seal it. Returns its record, or fails the world.
    PacketRecord* about_to_seal(Host& host, std::span<const std::byte> packet, Found& found);
    // What `host` hands to its stack. `owner_of_source` is what the configuration of that turn says. Returns
    // the number of packets.
    template <typename OwnerOf>
    std::size_t delivered(Host& host, std::span<const std::byte> bytes, const VnetHeader& header,
                          const OwnerOf& owner_of) {
        found_.clear();
        if (!examine(host, bytes, header)) return found_.size();
        for (const Found& found : found_) check_delivered(host, found, owner_of(found));
        return found_.size();
    }

    // --- datagrams
    std::uint64_t datagram_sent(HostId sender, HostId meant_for, std::span<const std::byte> bytes);
    WireRecord* wire(std::uint64_t number) noexcept {
        return number < wire_.size() ? &wire_[number] : nullptr;
    }
    // The initiation by `sender` that has this index.
    WireRecord* initiation(std::uint32_t sender_index) noexcept;
    std::uint64_t datagrams() const noexcept { return wire_.size(); }

    // Packets of a flow are compared only within an epoch: a new one begins with whatever may change the
    // order outside of the core (a path that changes, an attacker who brings forward what was lost).
    void order_may_change() noexcept { ++epoch_; }
    std::uint32_t epoch() const noexcept { return epoch_; }

  private:
    bool examine(Host& host, std::span<const std::byte> bytes, const VnetHeader& header);
    void check_delivered(Host& host, const Found& found, HostId owner);
    void check_order(Host& host, PacketRecord& record);

    World& world_;
    std::uint32_t epoch_ = 1;
    std::vector<PacketRecord> packets_;
    std::vector<WireRecord> wire_;
    std::unordered_map<std::uint64_t, std::uint64_t>
        nonces_;  // (sender, receiver index, counter) -> hash of the message
    std::unordered_map<std::uint32_t, std::uint64_t> initiations_;  // sender index -> datagram
    std::vector<Found> found_;
};

}  // namespace vern::sim
