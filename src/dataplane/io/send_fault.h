// What to do when the kernel refuses a send. One table for the engines' queues and for the slow path.
#pragma once

#include <cerrno>

namespace vern {

enum class SendRemedy {
    retry,                    // interrupted: the same again
    wait,                     // the socket is full: when it is writable
    unsegmented,              // the same bytes as single datagrams
    unsegmented_from_now_on,  // and this socket cannot do better
    without_source,           // the same, the routing table chooses the source
    give_up,
};

// `segmented`: the send carried UDP_SEGMENT. `with_source`: it carried a source address.
constexpr SendRemedy remedy_for(int code, bool segmented, bool with_source) noexcept {
    if (code == EINTR) return SendRemedy::retry;
    if (code == EAGAIN) return SendRemedy::wait;
    // The device computes no checksums, or xfrm stands between: no segmentation on this route at all.
    if (segmented && code == EIO) return SendRemedy::unsegmented_from_now_on;
    // A segment is larger than the path MTU: single datagrams are fragmented by IP. EINVAL may be the
    // source's fault too; that shows when the single datagram is refused again.
    if (segmented && (code == EINVAL || code == EMSGSIZE)) return SendRemedy::unsegmented;
    const bool about_route = code == EINVAL || code == EADDRNOTAVAIL || code == ENETUNREACH ||
                             code == EHOSTUNREACH || code == ENODEV || code == ENXIO;
    if (with_source && about_route) return SendRemedy::without_source;
    // Full queues (ENOBUFS), firewalls (EPERM), late ICMP errors (ECONNREFUSED): the train is lost as on any
    // network.
    return SendRemedy::give_up;
}

}  // namespace vern
