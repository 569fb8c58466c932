// Somebody on the network who hears much, can send from any address, and knows everybody's public keys, but
// no private ones.
#pragma once

#include <optional>

#include "coverage.h"
#include "crypto/cookie.h"
#include "crypto/noise.h"
#include "network.h"

namespace vern::sim {

class World;
class Host;

class Attacker {
  public:
    explicit Attacker(World& world) : world_(world) {}
    void begin();
    void stop() noexcept { active_ = false; }
    void caught(const Datagram& datagram);  // something was sent to an address that is no host's

  private:
    void tick();
    void attack(Host& target, Fault how);
    const Datagram* overheard(std::uint8_t type) const;  // type 0: any
    Place from_anywhere();
    void send(Host& target, std::vector<std::byte> bytes, Fault how, const Place& from,
              std::uint64_t wire = kForged, std::uint8_t ecn = 0);
    void replay(const Datagram& datagram);
    void change(Host& target, Fault how);
    void forge_initiation(Host& target, const Place& from, Fault how);
    void forge_timestamp();
    void forge_response();
    void forge_cookie(Fault how);
    void introduce(Host& target, const Place& from);
    void flood(Host& target, bool with_cookie);

    World& world_;
    bool active_ = false;
    Place place_;
    noise::StaticIdentity keys_;
    CookieJar jar_;  // for the message that is to earn a cookie
    std::optional<std::size_t> wants_cookie_of_;
    Nanos wants_until_ = 0;
};

}  // namespace vern::sim
