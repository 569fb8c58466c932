#include "profile.h"

namespace vern::sim {

static_assert(kFaultCount <= 128);

Profile make_profile(Rng& rng, const Options& options) {
    Profile p;
    const auto size = rng.below(100);
    p.hosts = size < 45 ? 2 : size < 70 ? 3 : size < 85 ? 4 : size < 94 ? 5 : 6;
    const auto length = rng.below(100);
    p.turmoil = length < 60   ? rng.range(20 * kSecond, 60 * kSecond)
                : length < 94 ? rng.range(60 * kSecond, 4 * kMinute)
                              : rng.range(4 * kMinute, 10 * kMinute);
    if (options.hosts) p.hosts = *options.hosts;
    if (options.minutes) p.turmoil = *options.minutes * kMinute;

    p.ordered = rng.chance(0.5);
    p.superpackets = rng.chance(0.6);
    p.v6_underlay = rng.chance(0.3);
    const auto sometimes = [&rng](double how_often, double most) {
        return rng.chance(how_often) ? most * static_cast<double>(rng.below(1000)) / 1000 : 0;
    };
    p.loss = sometimes(0.6, rng.chance(0.2) ? 0.6 : 0.1);
    p.duplication = sometimes(0.5, 0.1);
    p.reordering = p.ordered ? 0 : sometimes(0.9, 0.3);
    p.corruption = sometimes(0.4, 0.05);
    p.truncation = sometimes(0.3, 0.03);
    p.congestion = sometimes(0.4, 0.2);
    p.delay_min = rng.range(10 * kMicrosecond, 20 * kMillisecond);
    p.delay_max = p.delay_min + rng.range(0, 40 * kMillisecond);
    p.preemption = sometimes(0.7, 0.05);
    p.turn_delay_max = rng.range(1, 2 * kMillisecond);
    p.service_delay_max = rng.range(1, rng.chance(0.2) ? 200 * kMillisecond : 10 * kMillisecond);
    p.disposal_delay_max = rng.range(1, rng.chance(0.3) ? 20 * kSecond : 100 * kMillisecond);
    p.engine_faults = sometimes(0.4, 0.05);
    p.fault_interval = rng.chance(0.9) ? rng.range(2 * kSecond, 20 * kSecond) : 0;
    p.attack_interval = rng.chance(0.7) ? rng.range(kSecond / 2, 8 * kSecond) : 0;
    p.traffic_interval = rng.range(kSecond / 2, 4 * kSecond) * static_cast<Nanos>(p.hosts) / 2;
    p.floods = rng.chance(0.15);
    p.helpers = sometimes(0.6, 1);
    p.host_faults = rng.next() | rng.next();  // three quarters of the kinds
    return p;
}

}  // namespace vern::sim
