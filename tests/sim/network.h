// The underlay between the hosts: datagrams on their way, and all that can happen to them there.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/base/address.h"
#include "packet.h"
#include "virtual_time.h"

namespace vern::sim {

class World;

inline constexpr std::size_t kHostsMax = 6;

// An address and port as others see them.
struct Place {
    IpAddress ip;
    std::uint16_t port = 0;
    bool operator==(const Place&) const = default;
};
inline Place place_of(const Endpoint& endpoint) noexcept { return {endpoint.address, endpoint.port}; }

inline constexpr std::uint64_t kForged = UINT64_MAX;

struct Datagram {
    std::vector<std::byte> bytes;
    Place from;
    Place to;
    std::uint8_t ecn = 0;
    std::uint64_t wire = kForged;  // in the ledger, while it is exactly what a host sent
};

class Rng;

// True when the message is as authentic as before: the bit was in a handshake's mac2, which is only looked at
// under load.
bool flip_a_bit(std::span<std::byte> bytes, Rng& rng) noexcept;

class Network {
  public:
    explicit Network(World& world);

    // A host sends.
    void transmit(HostId sender, const Place& to, std::span<const std::byte> bytes, std::uint8_t tos,
                  std::uint64_t wire);
    // Somebody else does, from any address.
    void inject(Datagram datagram, Nanos delay);

    void partition(HostId a, HostId b, Nanos duration);
    // Nothing passes until the end of `duration`, then all of it at once.
    void stall(HostId a, HostId b, Nanos duration);
    // No faults from now on.
    void calm() noexcept;
    Place fresh_place();  // one that nobody has
    // Some datagrams, as one who listens on the path has them.
    const std::vector<Datagram>& overheard() const noexcept { return overheard_; }
    // Some data messages that were lost on the way.
    const std::vector<Datagram>& fallen() const noexcept { return fallen_; }

  private:
    struct Link {
        Nanos cut_until = 0;
        Nanos stalled_until = 0;
        Nanos last_arrival = 0;
    };
    enum class Lost : std::uint8_t { chance = 1, cut, nobody };
    void lose(const Datagram& datagram, HostId sender, Lost why);
    void damage(Datagram& datagram);
    void deliver(Datagram datagram);
    void remember(std::vector<Datagram>& kept, std::size_t most, const Datagram& datagram);

    World& world_;
    std::array<std::array<Link, kHostsMax>, kHostsMax> links_;
    bool calm_ = false;
    std::uint32_t places_ = 0;
    std::vector<Datagram> overheard_, fallen_;
};

}  // namespace vern::sim
