#include "traffic.h"

#include <algorithm>

#include "host.h"
#include "world.h"

namespace vern::sim {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17;
constexpr std::size_t kHeadersMax = 64;

}  // namespace

std::array<std::byte, 16> home_address(HostId host, bool v6, std::uint8_t number) {
    std::array<std::byte, 16> address{};
    if (v6) {
        address = {std::byte{0xfd}, std::byte{0x07}};
        address[14] = std::byte{host};
        address[15] = std::byte{number};
    } else {
        address = {std::byte{10}, std::byte{7}, std::byte{host}, std::byte{number}};
    }
    return address;
}

Prefix home_prefix(HostId host, bool v6) {
    const auto bytes = home_address(host, v6, 0);
    Prefix prefix;
    prefix.address = v6 ? IpAddress::v6(bytes) : IpAddress::v4(std::span(bytes).first<4>());
    prefix.length = v6 ? 120 : 24;
    return prefix;
}

Flow& Traffic::add_flow(HostId from, HostId to, bool spoofed) {
    Rng& rng = world_.rng;
    Flow flow;
    flow.id = static_cast<std::uint32_t>(flows_.size());
    flow.source = from;
    flow.destination = to;
    flow.spoofed = spoofed;
    flow.v6 = rng.chance(0.4);
    const auto protocol = rng.below(10);
    flow.protocol = protocol < 5 ? kUdp : protocol < 9 ? kTcp : kOtherProtocol;
    flow.source_port = static_cast<std::uint16_t>(10000 + flow.id);
    flow.destination_port = static_cast<std::uint16_t>(rng.range(1, 65535));
    // Of the last addresses some belong to others: see Operators.
    const auto number = static_cast<std::uint8_t>(rng.range(1, 254));
    flow.from =
        home_address(spoofed ? static_cast<HostId>(rng.below(world_.host_count())) : from, flow.v6, number);
    flow.to = home_address(to, flow.v6, static_cast<std::uint8_t>(rng.range(1, 254)));
    flow.dont_fragment = rng.chance(0.7);
    flow.tcp_sequence = static_cast<std::uint32_t>(rng.next());
    flow.ip_id = static_cast<std::uint16_t>(rng.next());
    flows_.push_back(flow);
    return flows_.back();
}

void Traffic::begin() {
    running_ = true;
    const auto hosts = static_cast<HostId>(world_.host_count());
    for (HostId from = 0; from < hosts; ++from) {
        for (HostId to = 0; to < hosts; ++to) {
            if (!world_.host(from).setting(to).neighbour) continue;
            probes_.push_back(add_flow(from, to, false).id);
            for (std::uint64_t more = world_.rng.below(3); more > 0; --more) add_flow(from, to, false);
            if (world_.rng.chance(0.15)) add_flow(from, to, true);
        }
    }
    for (const Flow& flow : flows_) {
        world_.agenda.in(world_.rng.range(0, 2 * world_.profile.traffic_interval),
                         [this, id = flow.id] { tick(id); });
    }
}

void Traffic::tick(std::uint32_t id) {
    if (!running_) return;
    Rng& rng = world_.rng;
    Flow& flow = flows_[id];
    const auto what = rng.below(1000);
    if (what < 40) {
        world_.coverage.add(Fault::burst);
        for (auto left = rng.range(20, rng.chance(0.2) ? 160 : 60); left > 0; --left) emit(flow, 1);
    } else if (what < 140 && world_.profile.superpackets) {
        emit(flow, static_cast<std::size_t>(rng.range(2, 30)));
    } else if (what < 150) {
        emit_malformed(flow);
    } else if (what < 155) {
        emit_unroutable(flow);
    } else if (what < 158) {
        emit_large(flow);
    } else {
        for (auto left = rng.range(1, 6); left > 0; --left) emit(flow, 1);
    }
    // Mostly a steady pace, sometimes a pause long enough for keepalives and for sessions to end.
    const Nanos mean = world_.profile.traffic_interval;
    const Nanos pause =
        rng.chance(0.03) ? rng.range(10 * kSecond, 100 * kSecond) : rng.range(kMillisecond, 2 * mean);
    world_.agenda.in(pause, [this, id] { tick(id); });
}

void Traffic::probe(Nanos interval) {
    running_ = false;
    for (const std::uint32_t id : probes_) probe_tick(id, interval);
}

void Traffic::probe_tick(std::uint32_t id, Nanos interval) {
    if (world_.silent()) return;
    emit(flows_[id], 1);
    world_.agenda.in(world_.rng.range(interval / 2, interval),
                     [this, id, interval] { probe_tick(id, interval); });
}

void Traffic::hand(Host& host, const Flow& flow, std::vector<std::byte> bytes, const VnetHeader& header,
                   std::size_t segments) {
    host.lane_of(flow.id).take({std::move(bytes), header, segments});
}

void Traffic::emit(Flow& flow, std::size_t segments) {
    Host& host = world_.host(flow.source);
    if (!host.up()) return;
    Rng& rng = world_.rng;
    Shape shape;
    shape.first_id = world_.ledger.next_packet();
    shape.segments = flow.protocol == kOtherProtocol ? 1 : segments;
    shape.ecn = static_cast<std::uint8_t>(rng.chance(0.7) ? 0 : rng.below(4));
    shape.push = rng.chance(0.2);
    shape.partial_checksum = rng.chance(0.3);
    shape.no_checksum = !flow.v6 && flow.protocol == kUdp && rng.chance(0.05);
    shape.options = !flow.v6 && segments == 1 && rng.chance(0.03);
    const std::size_t most = std::max<std::size_t>(host.device().mtu(), 256) - kHeadersMax;
    shape.payload = shape.segments > 1 || rng.chance(0.1)
                        ? static_cast<std::size_t>(rng.range(kPayloadMin, static_cast<std::int64_t>(most)))
                        : static_cast<std::size_t>(rng.range(kPayloadMin, 100));
    if (rng.chance(0.1))
        shape.payload = most + kHeadersMax - header_bytes(flow, shape);  // to the MTU exactly
    while (shape.segments > 1 && header_bytes(flow, shape) + shape.segments * shape.payload > kTrainBytesMax)
        --shape.segments;
    shape.last_payload =
        shape.segments > 1 && rng.chance(0.5)
            ? static_cast<std::size_t>(rng.range(kPayloadMin, static_cast<std::int64_t>(shape.payload)))
            : shape.payload;
    if (shape.segments > 1)
        world_.coverage.add(flow.protocol == kTcp ? Fault::tcp_superpacket : Fault::udp_superpacket);
    if (shape.options) world_.coverage.add(Fault::ip_options);
    if (flow.spoofed) world_.coverage.add(Fault::spoofed_source);
    for (std::size_t i = 0; i < shape.segments; ++i) {
        PacketRecord record;
        record.flow = flow.id;
        record.sequence = flow.sequence + static_cast<std::uint32_t>(i);
        record.epoch = world_.ledger.epoch();
        record.payload =
            static_cast<std::uint16_t>(i + 1 < shape.segments ? shape.payload : shape.last_payload);
        record.ecn = shape.ecn;
        record.sender = flow.source;
        world_.ledger.packet_made(record);
    }
    world_.coverage.packets_sent += shape.segments;
    world_.trace.add(world_.now(), Event::tun_in, host.id(), shape.first_id, flow.id);
    std::vector<std::byte> bytes;
    const VnetHeader header = build(flow, shape, bytes);
    hand(host, flow, std::move(bytes), header, shape.segments);
}

// What no message can carry.
void Traffic::emit_large(Flow& flow) {
    Host& host = world_.host(flow.source);
    if (!host.up()) return;
    Flow copy = flow;
    Shape shape;
    shape.first_id = UINT64_MAX;
    shape.payload = shape.last_payload = 65500 - header_bytes(flow, shape);
    std::vector<std::byte> bytes;
    const VnetHeader header = build(copy, shape, bytes);
    world_.coverage.add(Fault::too_large);
    hand(host, flow, std::move(bytes), header, 1);
}

void Traffic::emit_malformed(Flow& flow) {
    Host& host = world_.host(flow.source);
    if (!host.up()) return;
    Rng& rng = world_.rng;
    std::vector<std::byte> bytes;
    VnetHeader header;
    if (flow.protocol == kOtherProtocol || rng.chance(0.5)) {
        bytes.resize(rng.below(100) + 1);
        rng.fill(bytes);
        bytes[0] &= std::byte{0x3f};
        world_.coverage.add(Fault::malformed_tun);
    } else {
        Flow copy = flow;
        Shape shape;
        shape.first_id = UINT64_MAX;
        shape.segments = 3;
        header = build(copy, shape, bytes);
        switch (rng.below(3)) {
            case 0: header.gso_size = 0; break;
            case 1: header.checksum_start = 65535; break;
            default: header.gso_type = 7;
        }
        world_.coverage.add(Fault::malformed_gso);
    }
    hand(host, flow, std::move(bytes), header, 1);
}

void Traffic::emit_unroutable(const Flow& flow) {
    Host& host = world_.host(flow.source);
    if (!host.up()) return;
    Flow copy = flow;
    copy.to = home_address(0xee, flow.v6, 9);
    Shape shape;
    shape.first_id = UINT64_MAX;
    std::vector<std::byte> bytes;
    const VnetHeader header = build(copy, shape, bytes);
    world_.coverage.add(Fault::unroutable);
    hand(host, flow, std::move(bytes), header, 1);
}

}  // namespace vern::sim
