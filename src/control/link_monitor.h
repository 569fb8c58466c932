// What the kernel says about the tunnel's interface and about routing (rtnetlink): up or down, MTU, gone,
// routes or addresses changed. Control thread only.
#pragma once

#include <cstdint>
#include <optional>

#include "crypto/error.h"
#include "dataplane/io/fd.h"
#include "dataplane/io/tun.h"

namespace vern {

struct LinkEvents {
    std::optional<bool> up;
    std::optional<std::uint32_t> mtu;
    bool gone = false;
    bool routing_changed = false;
};

class LinkMonitor {
  public:
    // Watches the interface with this index. The first events() tells how things stand.
    static Result<LinkMonitor> open(std::uint32_t index);

    int fd() const noexcept { return socket_.get(); }
    // Everything that came since the last call, folded into one; never blocks.
    LinkEvents events() noexcept;

  private:
    LinkMonitor(Fd socket, std::uint32_t index) noexcept : socket_(std::move(socket)), index_(index) {}
    Result<void> ask() noexcept;
    Fd socket_;
    std::uint32_t index_;
};

// Whether the interface is in this network namespace. Nothing: the kernel does not tell, since it is older
// than 5.2 or we lack CAP_NET_ADMIN where the interface is.
std::optional<bool> is_here(const TunDevice& tun);

// Becomes readable when something happens to a link in the network namespace that the interface was moved to
// (and in others that have a number in ours). It listens from here: nothing of ours keeps that namespace when
// nobody else does any more. Needs CAP_NET_BROADCAST there.
Result<Fd> listen_to_moved_interface(const TunDevice& tun);

// How the interface is in the network namespace that it was moved to. Needs CAP_SYS_ADMIN. The calling thread
// visits that namespace and comes back; if it could not come back the process ends, since its sockets would
// be made in the wrong place from then on. Nothing stays there.
Result<LinkEvents> look_at_moved_interface(const TunDevice& tun);

}  // namespace vern
