// The interface itself: the daemon behind it, its addresses, its MTU.
#pragma once

#include <string>
#include <vector>

#include "dataplane/core/config.h"
#include "steps.h"

namespace vern::cli {

bool link_exists(const std::string& interface);
bool link_is_up(const std::string& interface);

// `vernd INTERFACE`; the daemon goes to the background once its socket is there. `program` empty: beside this
// program, else by PATH.
Result<void> start_daemon(Steps& steps, const std::string& interface, const std::string& program);
// Deletes the interface, which ends the daemon, and waits until that has happened.
Result<void> delete_link(Steps& steps, const std::string& interface);

Result<void> add_addresses(Steps& steps, const std::string& interface, const std::vector<Prefix>& addresses);
// What the interface has now, without the link-local addresses the kernel gave it (unless they are among
// `kept`).
std::vector<Prefix> present_addresses(const std::string& interface, const std::vector<Prefix>& kept);

// As wg-quick does without an MTU in the file: the largest MTU on the way to any endpoint, or of the default
// route, less 80 bytes (the most WireGuard adds, over IPv6); 1500 where nothing is known.
std::uint32_t fitting_mtu(const DeviceStatus& status);
Result<void> set_mtu_and_up(Steps& steps, const std::string& interface, std::uint32_t mtu);

}  // namespace vern::cli
