// A world: hosts of the real core, a network, operators and attackers, all driven by one seed on a virtual
// clock.
//
//   turmoil   traffic, faults, attacks and configuration changes, as the seed's profile says
//   calm      attacks end, then the network heals and the configuration is made whole: every path must carry
//   traffic again in time silence   nobody sends anything: keepalives end, sessions end, and then nothing may
//   move or be left
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agenda.h"
#include "attacker.h"
#include "coverage.h"
#include "host.h"
#include "ledger.h"
#include "network.h"
#include "operators.h"
#include "policies.h"
#include "profile.h"
#include "recovery.h"
#include "rng.h"
#include "trace.h"
#include "traffic.h"
#include "trouble.h"

namespace vern::sim {

struct Violation {
    std::string invariant;
    std::string message;
    Nanos at;
};

struct Outcome {
    std::optional<Violation> violation;
    std::uint64_t hash = 0;
    Coverage coverage;
    std::string tail;  // of the trace, when there was a violation
};

class World {
  public:
    explicit World(const Options& options);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    Outcome run();

    // --- for its parts
    Nanos now() const noexcept { return agenda.now(); }
    HostId host_count() const noexcept { return static_cast<HostId>(hosts_.size()); }  // at most kHostsMax
    Host& host(std::size_t id) noexcept { return *hosts_[id]; }
    Host* host_at(const Place& place) noexcept;
    HostId host_with_key(const PublicKey& key) const noexcept;
    void key_belongs_to(const PublicKey& key, HostId host) { key_owners_.emplace_back(key, host); }
    bool sabotaged(Sabotage how) const noexcept { return options_.sabotage == how; }
    // The first one counts: what follows from it would only confuse.
    void fail(std::string_view invariant, std::string message);
    bool failed() const noexcept { return violation_.has_value(); }
    void fault(Fault what, HostId host, std::uint64_t other = 0);
    void heard(HostId from, HostId at) { recovery.heard(from, at); }
    void sent_to_stranger(const Datagram& datagram) { attacker.caught(datagram); }
    bool silent() const noexcept { return silent_; }

    const Options& options() const noexcept { return options_; }

  private:
    const Options options_;
    std::vector<std::pair<PublicKey, HostId>> key_owners_;
    std::optional<Violation> violation_;
    bool silent_ = false;

    void begin();
    void run_until(Nanos when);
    void calm();
    void silence();
    void finish();

  public:
    Rng rng;
    Profile profile;
    Agenda agenda;
    Trace trace;
    Coverage coverage;
    Ledger ledger;
    Network network;
    Traffic traffic;
    Trouble trouble;
    Operators operators;
    Policies policies;
    Attacker attacker;
    Recovery recovery;

  private:
    std::vector<std::unique_ptr<Host>> hosts_;
};

}  // namespace vern::sim
