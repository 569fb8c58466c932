#include "dataplane/io/tun.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace vern {
namespace {

// Linux 6.2; Debian 12's <linux/if_tun.h> is older.
constexpr unsigned kTunFUso4 = 0x20;
constexpr unsigned kTunFUso6 = 0x40;

// struct ifreq keeps its name in the first IFNAMSIZ bytes, zero-terminated.
ifreq request_for(std::string_view name) {
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), std::min<std::size_t>(name.size(), IFNAMSIZ - 1));
    return request;
}

// What the kernel's dev_valid_name() accepts, and of its patterns the one that operators use: "wg%d".
Result<void> check_name(std::string_view name) {
    const auto refuse = [&](std::string_view why) {
        return fail(fmt::format("\"{}\" is no interface name: {}", name, why));
    };
    if (name.empty()) return refuse("it is empty");
    if (name.size() >= IFNAMSIZ) return refuse(fmt::format("it is longer than {} characters", IFNAMSIZ - 1));
    if (name == "." || name == "..") return refuse("it is a folder's name");
    for (const char c : name) {
        if (c == '/' || c == ':' || c == ' ' || (c >= '\t' && c <= '\r') || c == '\0')
            return refuse("'/', ':' and spaces are not allowed in it");
    }
    const auto percent = name.find('%');
    if (percent != name.npos && (name.substr(percent, 2) != "%d" || name.find('%', percent + 1) != name.npos))
        return refuse("'%' is allowed only in one \"%d\", for which the kernel puts a number");
    return {};
}

// The interface of a program that was killed goes a moment after it; who starts it again is not to fail for
// that.
bool becomes_free(const std::string& name) {
    constexpr std::chrono::milliseconds kPatience(1000), kStep(10);
    for (auto waited = kPatience; ::if_nametoindex(name.c_str()) != 0; waited -= kStep) {
        if (waited <= kPatience.zero()) return false;
        std::this_thread::sleep_for(kStep);
    }
    return true;
}

tl::unexpected<Error> name_taken(std::string_view name) {
    return fail(
        fmt::format("interface {0} exists already: choose another name or remove it (ip link del {0})", name),
        EEXIST);
}

Result<Fd> open_control_device() {
    Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (fd) return fd;
    const int code = errno;
    if (code == ENOENT || code == ENODEV || code == ENXIO)
        return fail(
            "there is no /dev/net/tun: load the tun module (modprobe tun), or give the container "
            "--device /dev/net/tun",
            code);
    if (code == EPERM || code == EACCES)
        return fail("may not open /dev/net/tun: run as root, or give the container --device /dev/net/tun",
                    code);
    return fail_errno("open /dev/net/tun", code);
}

// Any socket does for the interface ioctls; AF_UNIX is there in every kernel.
Result<void> interface_ioctl(unsigned long operation, std::string_view what, ifreq& request) {
    const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return fail_errno("socket", errno);
    if (::ioctl(socket.get(), operation, &request) != 0)
        return fail_errno(fmt::format("{} of {}", what, request.ifr_name), errno);
    return {};
}

// Attaches a fresh descriptor to the device and answers the name that the kernel gave. `exclusive`: the
// device must not exist; only the first queue can ask for that, the others are to find the device that the
// first made.
Result<TunQueue> attach_queue(std::string_view name, bool multi_queue, bool exclusive, std::string& given) {
    auto fd = open_control_device();
    if (!fd) return tl::unexpected(fd.error());
    ifreq request = request_for(name);
    unsigned flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    if (multi_queue) flags |= IFF_MULTI_QUEUE;
    if (exclusive) flags |= IFF_TUN_EXCL;
    request.ifr_flags = static_cast<short>(flags);
    if (::ioctl(fd->get(), TUNSETIFF, &request) != 0) {
        const int code = errno;
        if (code == EPERM)
            return fail(
                fmt::format("making interface {} needs CAP_NET_ADMIN: run as root or grant the capability",
                            name),
                code);
        if (code == EBUSY) return name_taken(name);
        return fail_errno(fmt::format("TUNSETIFF {}", name), code);
    }
    given.assign(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
    int header_bytes = sizeof(VnetHeader);
    if (::ioctl(fd->get(), TUNSETVNETHDRSZ, &header_bytes) != 0) return fail_errno("TUNSETVNETHDRSZ", errno);
    return TunQueue{std::move(*fd), true};
}

// The name and flags of the device that a descriptor is attached to.
Result<ifreq> attached_to(int fd) {
    ifreq request{};
    if (::ioctl(fd, TUNGETIFF, &request) == 0) return request;
    const int code = errno;
    if (code == ENOTTY || code == EBADFD || code == EINVAL || code == EBADF)
        return fail(fmt::format("descriptor {} is not a TUN device's", fd), code);
    return fail_errno("TUNGETIFF", code);
}

// Another process may delete the device and make one of the same name between two of our calls. The first
// queue knows: it is then attached to nothing.
Result<void> check_same_device(const TunDevice& device) {
    for (const auto& queue : device.queues) {
        const auto at = attached_to(queue.fd.get());
        if (!at || device.name != at->ifr_name || ::if_nametoindex(device.name.c_str()) != device.index)
            return fail(fmt::format("interface {} was replaced while its queues were attached: try again",
                                    device.name),
                        EBUSY);
    }
    return {};
}

// Some stable kernels (6.1.103, 6.6.44, 6.10.3) answer every superpacket written to a TUN device with EINVAL.
// The header is checked before the device is found down (EIO), so a fresh device can be asked without a
// packet going anywhere; on one that is up the packet's wrong IP checksum ends it at the first look.
bool superpacket_write_works(int fd) {
    constexpr std::size_t kHeaders = 40;
    constexpr std::uint16_t kSegment = 8;
    std::array<std::byte, kHeaders + 2 * kSegment> packet{};
    packet[0] = std::byte{0x45};  // IPv4, no options
    packet[3] = std::byte{packet.size()};
    packet[8] = std::byte{1};                  // TTL
    packet[9] = std::byte{6};                  // TCP
    packet[12] = packet[16] = std::byte{127};  // never routed, should a kernel ignore the checksum
    packet[15] = packet[19] = std::byte{1};
    packet[32] = std::byte{0x50};  // TCP header of 20 bytes
    packet[33] = std::byte{0x10};  // ACK
    VnetHeader header{VnetHeader::kNeedsChecksum, VnetHeader::kGsoTcp4, kHeaders, kSegment, 20, 16};
    const std::array<iovec, 2> pieces{iovec{&header, sizeof header}, iovec{packet.data(), packet.size()}};
    return ::writev(fd, pieces.data(), static_cast<int>(pieces.size())) >= 0 || errno != EINVAL;
}

void set_tso_reason(TunDevice& device, const TunOptions& options, bool accepted, bool write_works) {
    device.tso.on = options.tso && accepted && write_works;
    if (device.tso.on) return;
    device.tso.reason = !options.tso   ? "turned off by --offload"
                        : !write_works ? "this kernel refuses superpackets written to TUN devices (EINVAL)"
                                       : "this kernel refuses TUNSETOFFLOAD";
}

void set_uso_reason(TunDevice& device, const TunOptions& options, bool accepted, bool write_works) {
    device.uso.on = options.uso && accepted && write_works;
    if (device.uso.on) return;
    device.uso.reason = !options.uso   ? "turned off by --offload"
                        : !write_works ? "this kernel refuses superpackets written to TUN devices (EINVAL)"
                                       : "this kernel has no USO (needs Linux 6.2)";
}

bool set_offload(const TunDevice& device, unsigned flags) {
    for (const auto& queue : device.queues) {
        if (::ioctl(queue.fd.get(), TUNSETOFFLOAD, static_cast<unsigned long>(flags)) != 0) return false;
    }
    return true;
}

// Without TSO_ECN on purpose: the kernel then cuts the few superpackets that carry CWR itself, which belongs
// on the first segment only. Neither TSO nor USO: the kernel computes checksums before it hands a packet
// over.
void negotiate_offloads(TunDevice& device, const TunOptions& options) {
    constexpr unsigned kTso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    constexpr unsigned kUso = TUN_F_CSUM | kTunFUso4 | kTunFUso6;
    const bool wanted = options.tso || options.uso;
    const bool write_works = wanted && superpacket_write_works(device.queues.front().fd.get());
    const unsigned tso = options.tso && write_works ? kTso : 0;
    const unsigned uso = options.uso && write_works ? kUso : 0;

    const bool both = (tso | uso) != 0 && set_offload(device, tso | uso);
    const bool tso_only = !both && set_offload(device, tso) && tso != 0;
    if (!both && !tso_only) set_offload(device, 0);
    set_tso_reason(device, options, both || tso_only, write_works);
    set_uso_reason(device, options, both, write_works);
}

Result<void> set_transmit_queue(const std::string& name, std::uint32_t packets) {
    ifreq request = request_for(name);
    request.ifr_qlen = static_cast<int>(packets);
    return interface_ioctl(SIOCSIFTXQLEN, "setting the transmit queue", request);
}

}  // namespace

Result<TunDevice> create_tun(std::string_view name, const TunOptions& options) {
    if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
    // Asked here for the clear answer; IFF_TUN_EXCL below is what closes the race.
    if (!becomes_free(std::string(name))) return name_taken(name);

    TunDevice device;
    const unsigned queues = std::max(1U, options.queues);
    for (unsigned i = 0; i < queues; ++i) {
        std::string given;
        auto queue = attach_queue(i == 0 ? name : std::string_view(device.name), queues > 1, i == 0, given);
        if (!queue) return tl::unexpected(queue.error());
        device.queues.push_back(std::move(*queue));
        if (i > 0) continue;
        device.name = given;
        device.index = ::if_nametoindex(given.c_str());
    }
    if (auto same = check_same_device(device); !same) return tl::unexpected(same.error());
    negotiate_offloads(device, options);
    if (auto set = set_transmit_queue(device.name, options.transmit_queue); !set)
        return tl::unexpected(set.error());
    if (options.mtu != 0) {
        if (auto set = set_tun_mtu(device.name, options.mtu); !set) return tl::unexpected(set.error());
    }
    return device;
}

Result<TunDevice> adopt_tun(int fd, const TunOptions& options) {
    const auto attached = attached_to(fd);
    if (!attached) return tl::unexpected(attached.error());
    const auto flags = static_cast<unsigned short>(attached->ifr_flags);
    if ((flags & IFF_TUN) == 0)
        return fail(fmt::format("descriptor {} is a TAP device's: give a TUN device's", fd));
    const int status = ::fcntl(fd, F_GETFL);
    if (status < 0 || ::fcntl(fd, F_SETFL, status | O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return fail_errno(fmt::format("descriptor {}", fd), errno);
    const bool vnet_header = (flags & IFF_VNET_HDR) != 0;
    int header_bytes = sizeof(VnetHeader);
    if (vnet_header && ::ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) != 0)
        return fail_errno("TUNSETVNETHDRSZ", errno);

    TunDevice device;
    device.name = attached->ifr_name;
    device.index = ::if_nametoindex(attached->ifr_name);  // 0: it lives in another network namespace
    if (device.index != 0) {
        // Another process made the device and may own its limits: a refusal is no reason to stop.
        (void)set_transmit_queue(device.name, options.transmit_queue);
        if (options.mtu != 0) {
            if (auto set = set_tun_mtu(device.name, options.mtu); !set) return tl::unexpected(set.error());
        }
    }
    device.queues.push_back(TunQueue{Fd(fd), vnet_header});
    if (vnet_header) {
        negotiate_offloads(device, options);
    } else {
        set_offload(device,
                    0);  // else the kernel hands over superpackets and half checksums, and nothing says so
        device.tso.reason = device.uso.reason = "the descriptor was made without IFF_VNET_HDR";
    }
    return device;
}

std::optional<std::string> attached_name(const TunDevice& device) {
    const auto attached = attached_to(device.queues.front().fd.get());
    if (!attached) return std::nullopt;
    return attached->ifr_name;
}

Result<std::uint32_t> tun_mtu(const std::string& name) {
    ifreq request = request_for(name);
    if (auto asked = interface_ioctl(SIOCGIFMTU, "reading the MTU", request); !asked)
        return tl::unexpected(asked.error());
    return static_cast<std::uint32_t>(request.ifr_mtu);
}

Result<void> set_tun_mtu(const std::string& name, std::uint32_t mtu) {
    ifreq request = request_for(name);
    request.ifr_mtu = static_cast<int>(mtu);
    return interface_ioctl(SIOCSIFMTU, "setting the MTU", request);
}

}  // namespace vern
