#include "network.h"

#include <algorithm>
#include <cassert>

#include "crypto/messages.h"
#include "host.h"
#include "world.h"

namespace vern::sim {
namespace {

constexpr std::size_t kOverheardMax = 48;
constexpr std::size_t kFallenMax = 16;
constexpr std::uint64_t kOverhearOneIn = 4;
constexpr Nanos kReorderedByMax = 300 * kMillisecond;
constexpr std::uint8_t kCongestionExperienced = 3;

}  // namespace

bool flip_a_bit(std::span<std::byte> bytes, Rng& rng) noexcept {
    const std::size_t at = rng.below(bytes.size());
    const bool handshake = (bytes[0] == std::byte{1} && bytes.size() == sizeof(MessageInitiation)) ||
                           (bytes[0] == std::byte{2} && bytes.size() == sizeof(MessageResponse));
    bytes[at] ^= static_cast<std::byte>(1U << rng.below(8));
    return handshake && at >= bytes.size() - kMacBytes;
}

Network::Network(World& world) : world_(world) {}

Place Network::fresh_place() {
    const std::uint32_t number = ++places_;
    Place place;
    place.port = static_cast<std::uint16_t>(world_.rng.range(1024, 65535));
    if (world_.profile.v6_underlay) {
        std::array<std::byte, 16> octets{std::byte{0x20}, std::byte{0x01}, std::byte{0x0d}, std::byte{0xb8}};
        octets[14] = static_cast<std::byte>(number >> 8);
        octets[15] = static_cast<std::byte>(number);
        place.ip = IpAddress::v6(octets);
    } else {
        place.ip =
            IpAddress::v4(std::array{std::byte{198}, std::byte{18}, static_cast<std::byte>(number >> 8),
                                     static_cast<std::byte>(number)});
    }
    return place;
}

// Any of them may stay for long: the old are as interesting as the new.
void Network::remember(std::vector<Datagram>& kept, std::size_t most, const Datagram& datagram) {
    if (kept.size() < most) return kept.push_back(datagram);
    if (world_.rng.below(8) == 0) kept[world_.rng.below(most)] = datagram;
}

void Network::lose(const Datagram& datagram, HostId sender, Lost why) {
    world_.trace.add(world_.now(), Event::lost, datagram.wire, sender, static_cast<std::uint64_t>(why));
    if (why == Lost::chance) world_.coverage.add(Fault::loss);
    if (datagram.bytes.size() > kDataOverheadBytes) remember(fallen_, kFallenMax, datagram);
}

void Network::transmit(HostId sender, const Place& to, std::span<const std::byte> bytes, std::uint8_t tos,
                       std::uint64_t wire) {
    World& w = world_;
    Rng& rng = w.rng;
    ++w.coverage.datagrams;
    Datagram datagram{
        {bytes.begin(), bytes.end()}, w.host(sender).place(), to, static_cast<std::uint8_t>(tos & 3), wire};
    Host* receiver = w.host_at(to);
    if (rng.below(kOverhearOneIn) == 0) remember(overheard_, kOverheardMax, datagram);
    if (!receiver) {
        // Attackers read what is sent to their addresses; of hosts that have moved on, nobody does.
        w.sent_to_stranger(datagram);
        return lose(datagram, sender, Lost::nobody);
    }
    Link& link = links_[sender][receiver->id()];
    if (link.cut_until > w.now()) return lose(datagram, sender, Lost::cut);
    const Profile& p = w.profile;
    if (!calm_ && rng.chance(p.loss)) return lose(datagram, sender, Lost::chance);

    if (!calm_ && rng.chance(p.congestion)) {
        datagram.ecn = kCongestionExperienced;
        w.coverage.add(Fault::congestion_mark);
    }
    Nanos arrival = std::max(w.now() + rng.range(p.delay_min, p.delay_max), link.stalled_until);
    if (!calm_ && !p.ordered && rng.chance(p.reordering)) {
        arrival += rng.range(0, kReorderedByMax);
        w.coverage.add(Fault::reordering);
    } else if (p.ordered || calm_) {
        arrival = std::max(arrival, link.last_arrival);
        link.last_arrival = arrival;
    }
    const int copies = !calm_ && rng.chance(p.duplication) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
        Datagram copy = datagram;
        if (!calm_) damage(copy);
        if (i > 0) {
            w.coverage.add(Fault::duplication);
            if (!p.ordered) arrival += rng.range(0, kReorderedByMax);
        }
        w.agenda.at(arrival, [this, moved = std::move(copy)]() mutable { deliver(std::move(moved)); });
    }
}

void Network::damage(Datagram& datagram) {
    Rng& rng = world_.rng;
    if (datagram.bytes.empty()) return;
    if (rng.chance(world_.profile.corruption)) {
        if (!flip_a_bit(datagram.bytes, rng)) datagram.wire = kForged;
        world_.coverage.add(Fault::corruption);
    }
    if (rng.chance(world_.profile.truncation)) {
        datagram.bytes.resize(rng.below(datagram.bytes.size()));
        datagram.wire = kForged;
        world_.coverage.add(Fault::truncation);
    }
}

void Network::inject(Datagram datagram, Nanos delay) {
    world_.agenda.in(delay, [this, moved = std::move(datagram)]() mutable { deliver(std::move(moved)); });
}

void Network::deliver(Datagram datagram) {
    Host* host = world_.host_at(datagram.to);
    if (!host || !host->up()) return lose(datagram, kNobody, Lost::nobody);
    host->receive(std::move(datagram));
}

void Network::partition(HostId a, HostId b, Nanos duration) {
    const Nanos until = world_.now() + duration;
    for (Link* link : {&links_[a][b], &links_[b][a]}) link->cut_until = std::max(link->cut_until, until);
    world_.coverage.add(Fault::partition);
    world_.agenda.at(until, [this] { world_.coverage.add(Fault::heal); });
}

void Network::stall(HostId a, HostId b, Nanos duration) {
    for (Link* link : {&links_[a][b], &links_[b][a]})
        link->stalled_until = std::max(link->stalled_until, world_.now() + duration);
    world_.coverage.add(Fault::stall);
    // Without a queue in order, a stall's end lets everything out in one instant: still in order, since the
    // agenda keeps it.
}

void Network::calm() noexcept {
    calm_ = true;
    for (auto& row : links_) {
        for (Link& link : row) link.cut_until = link.stalled_until = 0;
    }
}

}  // namespace vern::sim
