// Who may ask the control API: root, the daemon's own user and the group `vern` may change things, the group
// `vern-read` may look. The kernel says who somebody was when he connected (SO_PEERCRED, SO_PEERGROUPS); no
// name is looked up for it. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/address.h"

struct x509_st;  // OpenSSL's X509

namespace vern::api {

enum class Role : std::uint8_t { none, peer, read, write };  // each may what those before it may

// The other end of a Unix socket.
struct UnixPeer {
    uid_t uid = 0;
    gid_t gid = 0;
    pid_t pid = 0;
    std::vector<gid_t> groups;  // supplementary
};
std::optional<UnixPeer> peer_of(int fd);

struct Caller {
    Role role = Role::none;
    std::string name;                     // for logs and limits: "uid 1000", or what a certificate says
    std::optional<UnixPeer> unix_peer{};  // nothing: over TCP
    std::optional<IpAddress> address{};   // of who came through the tunnel
    // And has proven in TLS to have the first one's key. Nothing else about them was looked at yet.
    std::vector<std::shared_ptr<x509_st>> certificates{};
};

struct Access {
    std::optional<gid_t> writers, readers;  // nothing: there is no such group
    uid_t own = 0;                          // the daemon's

    // A file has one group. As long as that is enough, the file's mode keeps others out before they are
    // anybody's business; two groups need a file that all may open, and then role_of() alone decides.
    mode_t socket_mode() const { return readers ? 0666 : writers ? 0660 : 0600; }
    std::optional<gid_t> socket_group() const { return readers ? std::nullopt : writers; }
};

// By the groups `vern` and `vern-read` as they are now; asks the system's group database, which may block.
Access system_access();
Role role_of(const UnixPeer& peer, const Access& access) noexcept;
Caller caller_of(UnixPeer peer, const Access& access);

}  // namespace vern::api
