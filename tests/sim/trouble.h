// What befalls hosts and paths: partitions, stalls, moves, restarts, clocks that jump.
#pragma once

#include "coverage.h"
#include "packet.h"
#include "virtual_time.h"

namespace vern::sim {

class World;
class Host;

class Trouble {
  public:
    explicit Trouble(World& world) : world_(world) {}
    void begin(Nanos until);

  private:
    void tick();
    void befall(Host& host, HostId other, Fault what);
    void move(Host& host, bool address);
    void restart(Host& host);
    void leap(Host& host);

    World& world_;
    Nanos until_ = 0;
};

}  // namespace vern::sim
