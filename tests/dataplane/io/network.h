// A network namespace for a test, and what a test does to it. Nothing has a name outside of the process, so
// nothing is left behind when a test fails: the kernel removes the namespace with its last descriptor.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/address.h"
#include "dataplane/io/fd.h"

namespace vern::test {

// The calling thread, and threads it starts from here on, are alone in a new namespace with the loopback
// interface up. Empty, or why that is not possible here: for GTEST_SKIP.
std::string enter_fresh_network();

void set_up(const std::string& interface, bool up);
void set_mtu(const std::string& interface, int mtu);
void add_v4(const std::string& interface, const std::string& address, int prefix_length);
void add_v6(const std::string& interface, const std::string& address, int prefix_length);
void delete_interface(const std::string& interface);
int transmit_queue(const std::string& interface);
// In this namespace: "net/ipv4/ip_local_port_range", "40000 40001".
void set_sysctl(const std::string& name, const std::string& value);

IpAddress ip(const std::string& text);
Endpoint endpoint(const std::string& address, std::uint16_t port);

// A plain blocking UDP socket with a receive timeout: what the engines talk to.
class PlainSocket {
  public:
    explicit PlainSocket(const std::string& address, std::uint16_t port = 0);

    struct Datagram {
        std::vector<std::byte> bytes;
        std::string from;  // address only
        std::uint16_t port = 0;
        int tos = -1;  // the TOS or traffic class it came with
    };

    std::uint16_t port() const;
    int fd() const { return fd_.get(); }
    void set_tos(int tos);
    void send(const std::string& address, std::uint16_t port, std::span<const std::byte> bytes);
    // As one train of UDP_SEGMENT.
    void send_train(const std::string& address, std::uint16_t port, std::span<const std::byte> bytes,
                    int segment);
    // Waits some seconds at most.
    std::optional<Datagram> receive();

  private:
    Fd fd_;
    int family_;
};

// An Ethernet interface whose far end is the test: a destination behind it that nobody has resolved keeps
// what is sent to it charged to the sending socket, so that the socket gets full, until resolve().
class Tap {
  public:
    Tap(const std::string& name, const std::string& address, int prefix_length);
    void resolve(const std::string& neighbour);
    // The payload of the next UDP datagram that leaves by the interface, or nothing for some seconds.
    std::optional<std::vector<std::byte>> next_udp_payload();

  private:
    std::string name_;
    Fd fd_;
};

// `count` bytes that differ from place to place.
std::vector<std::byte> pattern(std::size_t count, unsigned seed = 0);

// Runs `body` in a child in which socket(AF_INET6) or io_uring_setup fail with `code`, as on a kernel
// without. The child's exit status is the body's answer.
enum class Denied { socket_v6, io_uring_setup };
bool passes_in_child_without(Denied denied, int code, const std::function<bool()>& body);

inline constexpr std::chrono::seconds kPatience{10};  // long past any wait that a healthy run sees

}  // namespace vern::test
