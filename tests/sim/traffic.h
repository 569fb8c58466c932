// What the hosts' stacks send: flows of small packets, bursts and superpackets, and now and then what no
// stack should send.
#pragma once

#include <deque>

#include "packet.h"
#include "virtual_time.h"

namespace vern::sim {

class World;
class Host;

// The inner network of a host: 10.7.<id>.0/24 and fd07::<id>00/120.
Prefix home_prefix(HostId host, bool v6);
std::array<std::byte, 16> home_address(HostId host, bool v6, std::uint8_t number);

class Traffic {
  public:
    explicit Traffic(World& world) : world_(world) {}

    void begin();
    void stop() noexcept { running_ = false; }
    // From now on every neighbour sends to every neighbour, a packet at least every `interval`.
    void probe(Nanos interval);
    Flow& flow(std::uint32_t id) noexcept { return flows_[id]; }

  private:
    Flow& add_flow(HostId from, HostId to, bool spoofed);
    void tick(std::uint32_t id);
    void probe_tick(std::uint32_t id, Nanos interval);
    void emit(Flow& flow, std::size_t segments);
    void emit_large(Flow& flow);
    void emit_malformed(Flow& flow);
    void emit_unroutable(const Flow& flow);
    void hand(Host& host, const Flow& flow, std::vector<std::byte> bytes, const VnetHeader& header,
              std::size_t segments);

    World& world_;
    bool running_ = false;
    std::deque<Flow> flows_;
    std::vector<std::uint32_t> probes_;  // a flow for each direction between neighbours
};

}  // namespace vern::sim
