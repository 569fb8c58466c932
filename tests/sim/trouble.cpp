#include "trouble.h"

#include <algorithm>
#include <array>

#include "host.h"
#include "world.h"

namespace vern::sim {

void Trouble::begin(Nanos until) {
    until_ = until;
    if (world_.profile.fault_interval > 0)
        world_.agenda.in(world_.rng.range(0, 2 * world_.profile.fault_interval), [this] { tick(); });
}

void Trouble::tick() {
    static constexpr std::array kKinds{Fault::partition,       Fault::stall,        Fault::roam_address,
                                       Fault::roam_port,       Fault::restart,      Fault::boot_jump,
                                       Fault::wall_back,       Fault::wall_forward, Fault::interface_down,
                                       Fault::sources_cleared, Fault::counter_leap};
    if (world_.now() >= until_) return;
    Rng& rng = world_.rng;
    Host& host = world_.host(rng.below(world_.host_count()));
    const auto other =
        static_cast<HostId>((host.id() + 1 + rng.below(world_.host_count() - 1)) % world_.host_count());
    const Fault what = kKinds[rng.below(kKinds.size())];
    if (world_.profile.may(what) && host.up()) befall(host, other, what);
    world_.agenda.in(rng.range(kMillisecond, 2 * world_.profile.fault_interval), [this] { tick(); });
}

void Trouble::befall(Host& host, HostId other, Fault what) {
    Rng& rng = world_.rng;
    world_.trace.add(world_.now(), Event::fault, host.id(), other, static_cast<std::uint64_t>(what));
    switch (what) {
        case Fault::partition:
            return world_.network.partition(
                host.id(), other, rng.range(kSecond, rng.chance(0.2) ? 150 * kSecond : 20 * kSecond));
        case Fault::stall: {
            const Nanos duration = std::min(rng.range(kSecond, 14 * kSecond), until_ - world_.now());
            if (duration > 0) world_.network.stall(host.id(), other, duration);
            return;
        }
        case Fault::roam_address: return move(host, true);
        case Fault::roam_port: return move(host, false);
        case Fault::restart: return restart(host);
        case Fault::boot_jump:
            world_.coverage.add(what);
            return host.jump_boot(rng.range(kSecond, rng.chance(0.5) ? 30 * kSecond : 400 * kSecond));
        case Fault::wall_back:
            world_.coverage.add(what);
            return host.jump_wall(-rng.range(kMillisecond, 3600 * kSecond));
        case Fault::wall_forward:
            world_.coverage.add(what);
            return host.jump_wall(rng.range(kMillisecond, 3600 * kSecond));
        case Fault::interface_down:
            world_.coverage.add(what);
            host.set_running(false);
            return world_.agenda.in(rng.range(0, 10 * kSecond), [&host] { host.set_running(true); });
        case Fault::sources_cleared: world_.coverage.add(what); return host.device().clear_sources();
        case Fault::counter_leap: return leap(host);
        default: return;
    }
}

void Trouble::move(Host& host, bool address) {
    world_.coverage.add(address ? Fault::roam_address : Fault::roam_port);
    world_.ledger.order_may_change();  // another 4-tuple, another worker
    Place to = world_.network.fresh_place();
    if (!address) to.ip = host.place().ip;
    host.move(to, address && world_.rng.chance(0.5));
}

void Trouble::restart(Host& host) {
    world_.coverage.add(Fault::restart);
    world_.ledger.order_may_change();
    host.stop();
    world_.agenda.in(world_.rng.range(50 * kMillisecond, 8 * kSecond), [&host] {
        if (!host.up()) host.start();
    });
}

// A session as it is after very many messages: near the limit at which it must be renewed, or end.
void Trouble::leap(Host& host) {
    if (!world_.profile.ordered || host.any_lane_busy()) return;
    for (Peer* peer : host.device().snapshot().peers) {
        if (!peer->current) continue;
        const std::uint64_t limit = world_.rng.chance(0.5) ? kRekeyAfterMessages : kRejectAfterMessages;
        const std::uint64_t to = limit - world_.rng.below(40);
        if (peer->current->next_counter.load() < to) peer->current->next_counter.store(to);
        world_.coverage.add(Fault::counter_leap);
    }
}

}  // namespace vern::sim
