// The people who configure the hosts, while sessions live: one side first, the other a little later,
// sometimes in the middle of a worker's turn.
#pragma once

#include <array>

#include "coverage.h"
#include "crypto/secret.h"
#include "network.h"
#include "packet.h"

namespace vern::sim {

class World;
class Host;

class Operators {
  public:
    explicit Operators(World& world) : world_(world) {}
    void set_up();  // who is whose neighbour, and the first configuration
    void begin();
    void stop() noexcept { active_ = false; }
    bool active() const noexcept { return active_; }
    // Changes something on this host (and perhaps on its peer, later).
    void act(Host& host);
    // Everything as it is meant to be: keys, prefixes and preshared keys agree, and of each two neighbours
    // one at least knows where the other is.
    void make_whole();
    void keepalives_off();

  private:
    void tick();
    void move_allowed_ip(Host& host, HostId peer);
    void change_psk(Host& host, HostId peer);
    void set_endpoint(Host& host, HostId peer);
    void toggle_keepalive(Host& host, HostId peer);
    void remove_peer(Host& host, HostId peer);
    void add_peer(Host& host, HostId peer, bool with_endpoint);
    void bar_peer(Host& host, HostId peer);
    void admit_all(Host& host);
    void change_key(Host& host);
    void remove_key(Host& host);
    void change_mtu(Host& host);
    void make_whole(Host& host);
    void make_reachable(Host& a, Host& b);

    World& world_;
    bool active_ = false;
    std::array<std::array<Secret<32>, kHostsMax>, kHostsMax> psks_;  // [lower id][higher id]
    Secret<32>& psk(HostId a, HostId b) noexcept { return a < b ? psks_[a][b] : psks_[b][a]; }
};

}  // namespace vern::sim
