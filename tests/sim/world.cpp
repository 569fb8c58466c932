#include "world.h"

#include <algorithm>

namespace vern::sim {
namespace {

constexpr Nanos kAfterAttacks = 5 * kSecond / 2;  // load ends, and what attackers sent has arrived

}  // namespace

World::World(const Options& options)
    : options_(options),
      rng(mix(options.seed) ^ 0x76657261),
      profile(make_profile(rng, options)),
      trace(options.verbose),
      ledger(*this),
      network(*this),
      traffic(*this),
      trouble(*this),
      operators(*this),
      policies(*this),
      attacker(*this),
      recovery(*this) {}

World::~World() = default;

Host* World::host_at(const Place& place) noexcept {
    for (const auto& host : hosts_) {
        if (host->place() == place) return host.get();
    }
    return nullptr;
}

HostId World::host_with_key(const PublicKey& key) const noexcept {
    for (const auto& [known, host] : key_owners_) {
        if (known == key) return host;
    }
    return kNobody;
}

void World::fail(std::string_view invariant, std::string message) {
    if (!violation_) violation_ = Violation{std::string(invariant), std::move(message), now()};
}

void World::begin() {
    for (unsigned i = 0; i < profile.hosts; ++i)
        hosts_.push_back(
            std::make_unique<Host>(*this, static_cast<HostId>(i), static_cast<unsigned>(rng.range(1, 3))));
    operators.set_up();
    traffic.begin();
    operators.begin();
    policies.begin();
    trouble.begin(profile.turmoil);
    attacker.begin();
}

void World::run_until(Nanos when) {
    while (!failed() && agenda.step(when)) {
    }
}

// Everything that could hold traffic back ends here, in this order: first what is in the hosts, then the
// network.
void World::calm() {
    trace.add(now(), Event::phase, 2);
    profile.engine_faults = 0;
    profile.preemption = 0;
    profile.service_delay_max = std::min(profile.service_delay_max, 10 * kMillisecond);
    for (const auto& host : hosts_) {
        if (!host->up()) host->start();
        host->correct_wall();
        host->set_running(true);
    }
    operators.make_whole();
    policies.make_whole();
    ledger.order_may_change();
    network.calm();
    traffic.probe(Recovery::kProbe);
    const Nanos end = recovery.watch();
    while (!failed() && !recovery.complete() && agenda.step(end)) {
    }
    run_until(now() + 3 * kSecond);  // with all directions open, order is checked once more
}

void World::silence() {
    trace.add(now(), Event::phase, 3);
    silent_ = true;
    operators.keepalives_off();
    const Nanos quiet = recovery.begin_silence();
    if (sabotaged(Sabotage::chatter)) agenda.at(quiet + kSecond, [this] { recovery.sent(0, 1, 4, 32); });
    // The last session may be as young as the last handshake; each ends after REJECT_AFTER_TIME, and a look
    // at it comes within KEEPALIVE_TIMEOUT.
    run_until(quiet + nanos(kRejectAfterTime + kKeepaliveTimeout) + kSecond);
}

void World::finish() {
    for (const auto& host : hosts_) {
        if (!failed()) host->check_forgotten();
        if (!failed()) host->check_accounts(true);
    }
}

Outcome World::run() {
    trace.add(now(), Event::phase, 1, profile.hosts);
    begin();
    run_until(profile.turmoil);
    if (!failed()) {
        operators.stop();
        policies.stop();
        attacker.stop();
        run_until(now() + kAfterAttacks);
    }
    if (!failed()) calm();
    if (!failed()) silence();
    if (!failed()) finish();

    Outcome outcome;
    for (const auto& host : hosts_) host->stop();
    coverage.worlds = 1;
    coverage.events = agenda.done();
    coverage.virtual_seconds = static_cast<std::uint64_t>(now() / kSecond);
    outcome.violation = violation_;
    outcome.hash = trace.hash();
    outcome.coverage = coverage;
    if (violation_) outcome.tail = trace.tail(60);
    return outcome;
}

}  // namespace vern::sim
