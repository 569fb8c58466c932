// TUN devices: making one, attaching the queues, finding out at run time which offloads work.
// Slow path: any thread, may allocate.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/error.h"
#include "dataplane/core/train.h"
#include "dataplane/io/fd.h"

namespace vern {

// What may be on or off, and why it is what it is. `vern show` prints the reason of each that is off.
struct Offload {
    bool on = false;
    std::string reason;  // "", or why it is off: "this kernel has no USO (needs Linux 6.2)", "turned off by
                         // --offload", ...
};

struct TunOptions {
    unsigned queues = 1;                  // more than one: IFF_MULTI_QUEUE
    bool tso = true;                      // TCP superpackets, both ways
    bool uso = true;                      // UDP superpackets, both ways (Linux 6.2)
    std::uint32_t mtu = 0;                // 0: leave what the kernel gives
    std::uint32_t transmit_queue = 1000;  // txqueuelen: the kernel's 500 drops bursts
};

// One queue of the device: a non-blocking descriptor whose reads and writes begin with the 10 bytes of a
// VnetHeader (unless it was adopted without).
struct TunQueue {
    Fd fd;
    bool vnet_header = true;
};

struct TunDevice {
    std::string name;  // as the kernel gave it: "wg%d" becomes "wg0"
    std::uint32_t index = 0;
    std::vector<TunQueue> queues;
    Offload tso;
    Offload uso;
};

// Makes the interface. Refuses one that is already there (also a TUN device of another process, which
// IFF_MULTI_QUEUE would silently join). Errors name what is missing: /dev/net/tun, CAP_NET_ADMIN, the name
// taken.
Result<TunDevice> create_tun(std::string_view name, const TunOptions& options);
// Takes a descriptor that somebody else made (WG_TUN_FD): one queue, offloads as far as the descriptor
// allows. It must have been made with IFF_NO_PI; TUNGETIFF claims that of every device, so it cannot be
// checked. The descriptor stays the caller's when this fails.
Result<TunDevice> adopt_tun(int fd, const TunOptions& options);

// The interface's present name, also in another network namespace; nullopt when it was deleted.
std::optional<std::string> attached_name(const TunDevice& device);

// The device's MTU now, and setting it.
Result<std::uint32_t> tun_mtu(const std::string& name);
Result<void> set_tun_mtu(const std::string& name, std::uint32_t mtu);

}  // namespace vern
