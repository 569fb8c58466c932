// The invariants of the end: a healed network carries traffic again in time, and after the last packet all
// falls silent.
//
// The bound. Let S and R be neighbours, both with something to send (a probe at least every kProbe), of whom
// at least one knows where the other is. When the network heals, a side that knows is in one of three states:
//
//   carries  it has a session that the other side has as well          its next probe arrives
//   none     it has no session to send with                            its next probe asks for a handshake.
//   One is refused within REKEY_TIMEOUT
//                                                                      of the last initiation; the one that
//                                                                      was lost is tried again after
//                                                                      REKEY_TIMEOUT + jitter: 5.333 s at
//                                                                      most, whichever it is
//   stale    it has a session that the other side lost (restart,       nothing comes back, so after
//   KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter
//            expiry by its own clock, peer removed and added)          from its first unanswered message it
//            begins a handshake: 15.333 s
//
// The first side of the two to be heard gives the other its endpoint. If the other is stale, it needs its own
// wait after that, since being heard does not tell it that it is not: 15.333 s more. To all of that come the
// way and the engines' delays: three messages, each with a turn, a service and a path: kWay.
#pragma once

#include <array>
#include <cstdint>

#include "network.h"
#include "packet.h"
#include "virtual_time.h"

namespace vern::sim {

class World;
class Host;

class Recovery {
  public:
    explicit Recovery(World& world) : world_(world) {}

    // The network has just healed: works out when each direction must carry traffic, and watches. Returns the
    // last of these moments.
    Nanos watch();
    void heard(HostId from, HostId at);
    bool complete() const noexcept { return waiting_ == 0; }

    // Nobody has anything to send from now on. Keepalives and a last handshake may still go until the moment
    // returned; then nothing.
    Nanos begin_silence();
    void sent(HostId from, HostId to, std::uint8_t type, std::size_t bytes);

    static constexpr Nanos kProbe = kSecond / 2;

  private:
    enum class State { carries, none, stale };
    State state(Host& from, Host& to) const;
    Nanos wait(State state) const noexcept;
    bool knows(Host& self, Host& other) const;

    World& world_;
    std::array<std::array<bool, kHostsMax>, kHostsMax> awaited_{};
    std::size_t waiting_ = 0;
    Nanos silence_from_ = 0;  // 0: not yet
    Nanos quiet_from_ = 0;    // nothing may be sent any more
    std::array<std::array<unsigned, kHostsMax>, kHostsMax> keepalives_{};
};

}  // namespace vern::sim
