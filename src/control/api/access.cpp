#include "control/api/access.h"

#include <grp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace vern::api {
namespace {

std::optional<gid_t> group_named(const char* name) {
    std::vector<char> memory(16 << 10);
    constexpr std::size_t kMost = 1 << 20;  // a group of tens of thousands
    group entry{};
    group* found = nullptr;
    int status = 0;
    while ((status = ::getgrnam_r(name, &entry, memory.data(), memory.size(), &found)) == ERANGE &&
           memory.size() < kMost)
        memory.resize(memory.size() * 2);
    if (status != 0 || !found) return std::nullopt;
    return entry.gr_gid;
}

}  // namespace

std::optional<UnixPeer> peer_of(int fd) {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return std::nullopt;
    UnixPeer peer{.uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid, .groups = {}};
    peer.groups.resize(64);
    for (;;) {
        length = static_cast<socklen_t>(peer.groups.size() * sizeof(gid_t));
        const int status = ::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &length);
        const bool larger = status != 0 && errno == ERANGE;  // `length` says how large
        peer.groups.resize(status == 0 || larger ? length / sizeof(gid_t) : 0);
        if (!larger) return peer;
    }
}

Access system_access() {
    return {.writers = group_named("vern"), .readers = group_named("vern-read"), .own = ::geteuid()};
}

Role role_of(const UnixPeer& peer, const Access& access) noexcept {
    const auto member = [&](const std::optional<gid_t>& group) {
        return group && (peer.gid == *group ||
                         std::find(peer.groups.begin(), peer.groups.end(), *group) != peer.groups.end());
    };
    if (peer.uid == 0 || peer.uid == access.own || member(access.writers)) return Role::write;
    return member(access.readers) ? Role::read : Role::none;
}

Caller caller_of(UnixPeer peer, const Access& access) {
    const Role role = role_of(peer, access);
    Caller caller;
    caller.role = role;
    caller.name = "uid " + std::to_string(peer.uid);
    caller.unix_peer = std::move(peer);
    return caller;
}

}  // namespace vern::api
