// The policies of the hosts, drawn from the seed and changed while traffic flows, and an oracle that says
// from the same rules, by its own plain code, what may pass. It asks only what is necessary: some rule must
// allow the flow, in the direction in which it began or the other way round as the reply to one; nothing that
// denies may match.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "dataplane/policy/policy.h"
#include "packet.h"
#include "rng.h"
#include "virtual_time.h"

namespace vern::sim {

class World;
class Host;

struct HostRule {
    bool in = true;
    bool allow = true;
    HostId peer =
        kNobody;  // kNobody: any; only of rules that allow, since a peer's key may change under a rule
    std::optional<std::uint8_t> protocol;
    std::uint16_t first_port = 0, last_port = 65535;
    HostId remote = kNobody;       // whose inner network; kNobody: any
    std::optional<Nanos> expires;  // boot time
};

struct HostPolicy {
    std::vector<HostRule> rules;
    std::uint32_t generation = 0;

    // May this host let `found` pass, in this direction, carried by `peer`? `clock`: what the worker was
    // told.
    bool passes(bool in, HostId peer, const Found& found, Nanos clock) const;

  private:
    bool opens(bool in, HostId peer, const std::byte* remote, bool v6, std::uint8_t protocol,
               std::uint16_t port, Nanos clock) const;
};

class Policies {
  public:
    explicit Policies(World& world);
    void begin();
    void stop() noexcept { active_ = false; }
    // What the host has now; nullptr: no policy.
    std::shared_ptr<const HostPolicy> of(const Host& host) const noexcept;
    // A host has started: its device knows nothing.
    void tell(Host& host);
    // All pass everything, and take up what was cut.
    void make_whole();

  private:
    void tick();
    void change(Host& host, std::shared_ptr<HostPolicy> to);
    std::shared_ptr<HostPolicy> draw(const Host& host);
    HostRule draw_rule(const Host& host);

    World& world_;
    Rng rng_;  // its own: worlds without policies are what they were
    bool present_;
    bool active_ = false;
    std::uint32_t generation_ = 0;
    std::array<std::shared_ptr<HostPolicy>, 8> policies_;
};

}  // namespace vern::sim
