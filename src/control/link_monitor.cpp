#include "control/link_monitor.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

namespace vern {
namespace {

void take_link(const nlmsghdr& message, std::uint32_t index, LinkEvents& events) noexcept {
    if (message.nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg))) return;
    const auto* info = static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
    if (static_cast<std::uint32_t>(info->ifi_index) != index) return;
    if (message.nlmsg_type == RTM_DELLINK) {
        events.gone = true;
        return;
    }
    events.up = (info->ifi_flags & IFF_UP) != 0;
    int left = static_cast<int>(message.nlmsg_len - NLMSG_LENGTH(sizeof(ifinfomsg)));
    for (const rtattr* attribute = IFLA_RTA(info); RTA_OK(attribute, left);
         attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type != IFLA_MTU || RTA_PAYLOAD(attribute) < sizeof(std::uint32_t)) continue;
        std::uint32_t mtu = 0;
        std::memcpy(&mtu, RTA_DATA(attribute), sizeof mtu);
        events.mtu = mtu;
    }
}

}  // namespace

Result<LinkMonitor> LinkMonitor::open(std::uint32_t index) {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    if (!socket) return fail_errno("open a netlink socket", errno);
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups =
        RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail_errno("watch the interface over netlink", errno);
    LinkMonitor monitor(std::move(socket), index);
    if (auto asked = monitor.ask(); !asked) return tl::unexpected(asked.error());
    return monitor;
}

Result<void> LinkMonitor::ask() noexcept {
    struct {
        nlmsghdr header;
        ifinfomsg info;
    } request{};
    request.header.nlmsg_len = NLMSG_LENGTH(sizeof(ifinfomsg));
    request.header.nlmsg_type = RTM_GETLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.info.ifi_family = AF_UNSPEC;
    request.info.ifi_index = static_cast<int>(index_);
    if (::send(socket_.get(), &request, sizeof request, 0) < 0)
        return fail_errno("ask for the interface over netlink", errno);
    return {};
}

LinkEvents LinkMonitor::events() noexcept {
    LinkEvents events;
    alignas(nlmsghdr) std::array<std::byte, 32768> buffer;
    bool lost = false;
    for (;;) {
        const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (got < 0 && errno == ENOBUFS) {
            // Too much happened at once and some of it is lost: take routing as changed and ask how the link
            // stands now. Not before the socket is empty: until then it takes no answer either.
            lost = events.routing_changed = true;
            continue;
        }
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN && std::exchange(lost, false) && ask()) continue;
        if (got <= 0) return events;
        auto left = static_cast<unsigned>(got);
        for (auto* message = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(message, left);
             message = NLMSG_NEXT(message, left)) {
            switch (message->nlmsg_type) {
                case RTM_NEWLINK:
                case RTM_DELLINK: take_link(*message, index_, events); break;
                case RTM_NEWROUTE:
                case RTM_DELROUTE:
                case RTM_NEWADDR:
                case RTM_DELADDR: events.routing_changed = true; break;
                case NLMSG_ERROR: {
                    const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(message));
                    if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(nlmsgerr)) && error->error == -ENODEV)
                        events.gone = true;
                    break;
                }
                default: break;
            }
        }
    }
}

std::optional<bool> is_here(const TunDevice& tun) {
    const Fd where(::ioctl(tun.queues.front().fd.get(), TUNGETDEVNETNS));
    if (!where) return std::nullopt;
    struct stat there {
    }, here{};
    return ::fstat(where.get(), &there) == 0 && ::stat("/proc/thread-self/ns/net", &here) == 0 &&
           there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

Result<Fd> listen_to_moved_interface(const TunDevice& tun) {
    const Fd there(::ioctl(tun.queues.front().fd.get(), TUNGETDEVNETNS));
    if (!there) return fail_errno("find the interface's network namespace", errno);
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    if (!socket) return fail_errno("open a netlink socket", errno);
    const int on = 1;
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK;
    if (::setsockopt(socket.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof on) != 0 ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail_errno("listen to other network namespaces", errno);
    // Only namespaces that have a number here are heard. EEXIST, it has one already, comes as an answer.
    struct Attribute {
        rtattr header;
        std::int32_t value;
    };
    struct {
        nlmsghdr header;
        rtgenmsg family;
        alignas(4) Attribute fd;
        Attribute number;
    } request{};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_NEWNSID;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.fd = {{sizeof(Attribute), NETNSA_FD}, there.get()};
    request.number = {{sizeof(Attribute), NETNSA_NSID}, NETNSA_NSID_NOT_ASSIGNED};
    if (::send(socket.get(), &request, sizeof request, 0) < 0)
        return fail_errno("number a network namespace", errno);
    std::array<std::byte, 8192> answer;
    while (::recv(socket.get(), answer.data(), answer.size(), 0) > 0 || errno == EINTR) {
    }
    return socket;
}

Result<LinkEvents> look_at_moved_interface(const TunDevice& tun) {
    const int queue = tun.queues.front().fd.get();
    const Fd there(::ioctl(queue, TUNGETDEVNETNS));
    if (!there) return fail_errno("find the interface's network namespace", errno);
    const Fd here(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!here) return fail_errno("open our own network namespace", errno);
    const auto name = attached_name(tun);
    if (!name) return fail("the interface is gone", ENODEV);
    if (::setns(there.get(), CLONE_NEWNET) != 0) return fail_errno("enter its network namespace", errno);
    auto seen = LinkMonitor::open(::if_nametoindex(name->c_str())).map([](LinkMonitor monitor) {
        return monitor.events();
    });
    if (::setns(here.get(), CLONE_NEWNET) != 0) std::abort();
    return seen;
}

}  // namespace vern
