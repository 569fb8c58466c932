#include "ledger.h"

#include <fmt/format.h>

#include <cstring>

#include "crypto/messages.h"
#include "host.h"
#include "traffic.h"
#include "world.h"

namespace vern::sim {
namespace {

std::uint64_t hash_of(std::span<const std::byte> bytes) noexcept {
    std::uint64_t hash = bytes.size();
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, &bytes[at], std::min<std::size_t>(8, bytes.size() - at));
        hash = (hash ^ word) * 0x9fb21c651e98df25;
        hash ^= hash >> 32;
    }
    return hash;
}

bool same_flow(const Flow& flow, const Found& found) noexcept {
    const std::size_t bytes = flow.v6 ? 16 : 4;
    return flow.v6 == found.v6 && flow.protocol == found.protocol &&
           std::memcmp(flow.from.data(), found.from, bytes) == 0 &&
           std::memcmp(flow.to.data(), found.to, bytes) == 0 &&
           (flow.protocol == kOtherProtocol ||
            (flow.source_port == found.source_port && flow.destination_port == found.destination_port));
}

}  // namespace

PacketRecord* Ledger::about_to_seal(Host& host, std::span<const std::byte> bytes, Found& found) {
    found_.clear();
    const std::string wrong = take_apart(bytes, VnetHeader{}, found_);
    const auto id = wrong.empty() ? payload_id(found_.front().payload) : std::nullopt;
    PacketRecord* record = id ? packet(*id) : nullptr;
    if (!record || !payload_intact(found_.front().payload, *id) ||
        found_.front().payload.size() != record->payload ||
        !same_flow(world_.traffic.flow(record->flow), found_.front()) || record->sender != host.id()) {
        world_.fail("unaltered", fmt::format("host {} seals a packet that its stack did not give it: {}",
                                             host.id(), wrong));
        return nullptr;
    }
    found = found_.front();
    return record;
}

bool Ledger::examine(Host& host, std::span<const std::byte> bytes, const VnetHeader& header) {
    const std::string wrong = take_apart(bytes, header, found_);
    if (wrong.empty()) return true;
    world_.fail("unaltered", fmt::format("host {} hands a broken packet to its stack: {}", host.id(), wrong));
    return false;
}

void Ledger::check_delivered(Host& host, const Found& found, HostId owner) {
    const auto id = payload_id(found.payload);
    PacketRecord* record = id ? packet(*id) : nullptr;
    if (!record || !payload_intact(found.payload, *id) || found.payload.size() != record->payload)
        return world_.fail("unaltered", fmt::format("host {} delivers a packet of {} bytes that nobody sent",
                                                    host.id(), found.payload.size()));
    const Flow& flow = world_.traffic.flow(record->flow);
    const auto fail = [&](std::string_view invariant, std::string_view what) {
        world_.fail(invariant,
                    fmt::format("host {}: packet {} (sequence {} of flow {}, from host {}): {}", host.id(),
                                *id, record->sequence, record->flow, record->sender, what));
    };
    if (!same_flow(flow, found))
        return fail("unaltered", "addresses or ports are not those it was sent with");
    if (record->tampered) return fail("unaltered", "was malformed when it was sealed, and was delivered");
    if (record->delivered) return fail("once", "delivered twice");
    if (record->sent_to != host.id())
        return fail("recipient", fmt::format("was sealed for host {}", record->sent_to));
    if (owner != record->sender)
        return fail("source", fmt::format("its source belongs to host {} here", owner));
    if (found.ecn != record->ecn && (record->ecn == 0 || found.ecn != 3))
        return fail("ecn", fmt::format("ECN {} became {}", record->ecn, found.ecn));
    record->delivered = true;
    ++world_.coverage.packets_delivered;
    world_.trace.add(world_.now(), Event::delivered, host.id(), *id, record->flow);
    check_order(host, *record);
    world_.heard(record->sender, host.id());
}

void Ledger::check_order(Host& host, PacketRecord& record) {
    Flow& flow = world_.traffic.flow(record.flow);
    if (!world_.profile.ordered || record.epoch != epoch_ || !record.ordered) return;
    if (flow.last_epoch == epoch_) {
        ++world_.coverage.order_checks;
        if (record.sequence < flow.last_delivered)
            return world_.fail(
                "order",
                fmt::format("host {}: flow {} delivers sequence {} after {}, and the network keeps the order",
                            host.id(), flow.id, record.sequence, flow.last_delivered));
    }
    flow.last_epoch = epoch_;
    flow.last_delivered = record.sequence;
}

WireRecord* Ledger::initiation(std::uint32_t sender_index) noexcept {
    const auto found = initiations_.find(sender_index);
    return found == initiations_.end() ? nullptr : &wire_[found->second];
}

std::uint64_t Ledger::datagram_sent(HostId sender, HostId meant_for, std::span<const std::byte> bytes) {
    const std::uint64_t number = wire_.size();
    WireRecord record;
    record.at = world_.now();
    record.sender = sender;
    record.meant_for = meant_for;
    record.type = std::to_integer<std::uint8_t>(bytes[0]);
    const std::uint64_t hash = hash_of(bytes);
    world_.trace.mix_in(hash);
    world_.trace.add(world_.now(), Event::sent, sender, number, bytes.size());
    if (record.type == static_cast<std::uint8_t>(MessageType::data)) {
        MessageDataHeader header;
        std::memcpy(&header, bytes.data(), sizeof header);
        record.index = header.receiver_index;
        record.counter = header.counter;
        const std::uint64_t nonce =
            mix(std::uint64_t{sender} << 32 | record.index) ^ record.counter * 0x9e3779b97f4a7c15;
        const auto [at, fresh] = nonces_.try_emplace(nonce, hash);
        if (!fresh && at->second != hash)
            world_.fail("nonce", fmt::format("host {} sends two messages with counter {} to index {:#x}",
                                             sender, record.counter, record.index));
        else if (!fresh)
            world_.fail("nonce", fmt::format("host {} sends the message with counter {} to index {:#x} twice",
                                             sender, record.counter, record.index));
    } else {
        MessageInitiation message;
        std::memcpy(&message, bytes.data(), std::min(bytes.size(), offsetof(MessageInitiation, ephemeral)));
        record.index = message.sender_index;
        if (record.type == static_cast<std::uint8_t>(MessageType::initiation))
            initiations_[record.index] = number;
    }
    wire_.push_back(record);
    return number;
}

}  // namespace vern::sim
