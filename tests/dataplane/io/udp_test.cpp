#include "dataplane/io/udp.h"

#include <gtest/gtest.h>
#include <netinet/udp.h>

#include <cerrno>

#include "dataplane/io/send_fault.h"
#include "network.h"

namespace vern {
namespace {

using test::endpoint;
using test::ip;
using test::PlainSocket;

class Udp : public testing::Test {
  protected:
    void SetUp() override {
        if (const auto why = test::enter_fresh_network(); !why.empty()) GTEST_SKIP() << why;
    }
};

UdpOptions on_port(std::uint16_t port, unsigned workers = 1) {
    UdpOptions options;
    options.port = port;
    options.workers = workers;
    return options;
}

int option_of(const Fd& fd, int level, int option) {
    int value = -1;
    socklen_t bytes = sizeof value;
    EXPECT_EQ(::getsockopt(fd.get(), level, option, &value, &bytes), 0);
    return value;
}

TEST_F(Udp, OpensBothFamiliesOnOnePort) {
    const auto underlay = open_underlay(on_port(51820));
    ASSERT_TRUE(underlay) << underlay.error().message;
    EXPECT_EQ(underlay->port, 51820);
    ASSERT_EQ(underlay->workers.size(), 1U);
    EXPECT_TRUE(underlay->v6.on);
    EXPECT_TRUE(underlay->gso.on) << underlay->gso.reason;
    EXPECT_TRUE(underlay->gro.on) << underlay->gro.reason;
    EXPECT_EQ(option_of(underlay->workers[0].v6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    EXPECT_EQ(option_of(underlay->workers[0].v4, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DONT);
    EXPECT_EQ(option_of(underlay->workers[0].v4, SOL_UDP, UDP_GRO), 1);
    EXPECT_GE(option_of(underlay->workers[0].v4, SOL_SOCKET, SO_RCVBUF), 7 << 20);
}

TEST_F(Udp, TurnsOffloadsOffWhenTold) {
    UdpOptions options;
    options.gso = options.gro = false;
    const auto underlay = open_underlay(options);
    ASSERT_TRUE(underlay) << underlay.error().message;
    EXPECT_NE(underlay->port, 0);
    EXPECT_FALSE(underlay->gso.on);
    EXPECT_EQ(underlay->gso.reason, "turned off by --offload");
    EXPECT_FALSE(underlay->gro.on);
    EXPECT_EQ(option_of(underlay->workers[0].v4, SOL_UDP, UDP_GRO), 0);
}

TEST_F(Udp, SaysThatThePortIsTaken) {
    const auto first = open_underlay(on_port(51820));
    ASSERT_TRUE(first);
    for (const unsigned workers : {1U, 2U}) {
        const auto second = open_underlay(on_port(51820, workers));
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().message, "UDP port 51820 is already in use (IPv4)");
        EXPECT_EQ(second.error().code, EADDRINUSE);
    }
    const PlainSocket v6_only("::1", 51821);
    const auto third = open_underlay(on_port(51821));
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().message, "UDP port 51821 is already in use (IPv6)");
}

TEST_F(Udp, WorkersShareAPortButNotWithStrangers) {
    const auto underlay = open_underlay(on_port(51820, 3));
    ASSERT_TRUE(underlay) << underlay.error().message;
    EXPECT_EQ(underlay->workers.size(), 3U);
    const auto stranger = open_underlay(on_port(51820, 2));  // has SO_REUSEPORT too, and the same user
    ASSERT_FALSE(stranger);
    EXPECT_EQ(stranger.error().code, EADDRINUSE);
}

TEST_F(Udp, TakesAnotherRandomPortWhenOneFamilyHasItTaken) {
    test::set_sysctl("net/ipv4/ip_local_port_range", "40000 40001");
    for (const std::uint16_t taken : {std::uint16_t{40000}, std::uint16_t{40001}}) {
        const PlainSocket other("::", taken);
        const auto underlay = open_underlay({});
        ASSERT_TRUE(underlay) << underlay.error().message;
        EXPECT_EQ(underlay->port, taken ^ 1);
    }
    const PlainSocket first("::", 40000);
    const PlainSocket second("::", 40001);
    const auto none = open_underlay({});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, EADDRINUSE);
}

TEST_F(Udp, DoesWithoutIpv6) {
    EXPECT_TRUE(test::passes_in_child_without(test::Denied::socket_v6, EAFNOSUPPORT, [] {
        const auto underlay = open_underlay(on_port(51820, 2));
        return underlay && !underlay->v6.on && underlay->v6.reason == "this kernel has no IPv6" &&
               underlay->gro.on && underlay->workers[1].v4 && !underlay->workers[1].v6;
    }));
}

TEST_F(Udp, MarksItsPackets) {
    UdpOptions options;
    options.fwmark = 0xca6c;
    const auto underlay = open_underlay(options);
    ASSERT_TRUE(underlay) << underlay.error().message;
    EXPECT_EQ(option_of(underlay->workers[0].v4, SOL_SOCKET, SO_MARK), 0xca6c);
    ASSERT_TRUE(set_fwmark(*underlay, 7));
    EXPECT_EQ(option_of(underlay->workers[0].v6, SOL_SOCKET, SO_MARK), 7);
}

TEST_F(Udp, SendsDatagramsAndTrainsOfTheSlowPath) {
    const auto underlay = open_underlay({});
    ASSERT_TRUE(underlay);
    PlainSocket peer("127.0.0.1");
    auto to = endpoint("127.0.0.1", peer.port());
    to.source = ip("127.0.0.5");
    bool refused = true;
    const auto bytes = test::pattern(2500);
    ASSERT_TRUE(send_datagram(underlay->workers[0], to, std::span(bytes).first(148), 148, 0x88, refused));
    EXPECT_FALSE(refused);
    const auto single = peer.receive();
    ASSERT_TRUE(single);
    EXPECT_EQ(single->bytes.size(), 148U);
    EXPECT_EQ(single->from, "127.0.0.5");
    EXPECT_EQ(single->port, underlay->port);
    EXPECT_EQ(single->tos, 0x88);

    ASSERT_TRUE(send_datagram(underlay->workers[0], to, bytes, 1000, 0, refused));
    std::vector<std::byte> whole;
    for (const std::size_t expected : {1000U, 1000U, 500U}) {
        const auto datagram = peer.receive();
        ASSERT_TRUE(datagram);
        EXPECT_EQ(datagram->bytes.size(), expected);
        whole.insert(whole.end(), datagram->bytes.begin(), datagram->bytes.end());
    }
    EXPECT_EQ(whole, bytes);
}

TEST_F(Udp, SendsAgainWithoutASourceThatIsRefused) {
    const auto underlay = open_underlay({});
    ASSERT_TRUE(underlay);
    PlainSocket v4("127.0.0.1");
    PlainSocket v6("::1");
    auto to_v4 = endpoint("127.0.0.1", v4.port());
    to_v4.source = ip("192.0.2.1");
    auto to_v6 = endpoint("::1", v6.port());
    to_v6.source = ip("2001:db8::1");
    bool refused = false;
    const auto bytes = test::pattern(100);
    ASSERT_TRUE(send_datagram(underlay->workers[0], to_v4, bytes, 100, 0, refused));
    EXPECT_TRUE(refused);
    EXPECT_TRUE(v4.receive());
    refused = false;
    ASSERT_TRUE(send_datagram(underlay->workers[0], to_v6, bytes, 100, 0, refused));
    EXPECT_TRUE(refused);
    EXPECT_TRUE(v6.receive());
}

TEST_F(Udp, SaysWhyADatagramDidNotLeave) {
    const auto underlay = open_underlay({});
    ASSERT_TRUE(underlay);
    bool refused = false;
    const auto bytes = test::pattern(100);
    const auto no_route =
        send_datagram(underlay->workers[0], endpoint("192.0.2.1", 9), bytes, 100, 0, refused);
    ASSERT_FALSE(no_route);
    EXPECT_EQ(no_route.error().code, ENETUNREACH);
    const auto nowhere = send_datagram(underlay->workers[0], Endpoint{}, bytes, 100, 0, refused);
    ASSERT_FALSE(nowhere);
    EXPECT_EQ(nowhere.error().code, EAFNOSUPPORT);
}

TEST(SocketAddresses, CarryPortAndScope) {
    auto to = endpoint("fe80::1", 51820);
    to.scope_id = 3;
    SocketAddress address;
    ASSERT_EQ(to_socket_address(to, address), sizeof(sockaddr_in6));
    EXPECT_EQ(address.v6.sin6_port, htons(51820));
    EXPECT_EQ(address.v6.sin6_scope_id, 3U);
    UnderlayTrain train;
    ASSERT_TRUE(parse_receive(address, {}, 0, train));
    EXPECT_EQ(train.from, to);
    EXPECT_EQ(to_socket_address(Endpoint{}, address), 0U);
}

// Control data as the kernel writes it.
class Control {
  public:
    template <typename T>
    Control& add(int level, int type, const T& value) {
        const std::size_t at = bytes_.size();
        bytes_.resize(at + CMSG_SPACE(sizeof value));
        const cmsghdr header{.cmsg_len = CMSG_LEN(sizeof value), .cmsg_level = level, .cmsg_type = type};
        std::memcpy(bytes_.data() + at, &header, sizeof header);
        std::memcpy(bytes_.data() + at + CMSG_LEN(0), &value, sizeof value);
        return *this;
    }
    std::vector<std::byte>& bytes() { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

class ParseReceive : public testing::Test {
  protected:
    ParseReceive() {
        to_socket_address(endpoint("192.0.2.7", 1234), from);
        train.bytes = payload;
    }
    bool parse(std::span<const std::byte> control, int flags = 0) {
        return parse_receive(from, control, flags, train);
    }

    std::vector<std::byte> payload = test::pattern(3000);
    SocketAddress from{};
    UnderlayTrain train;
};

TEST_F(ParseReceive, TakesSizeSourceAndEcn) {
    in_pktinfo info{};
    info.ipi_ifindex = 5;
    info.ipi_spec_dst.s_addr = htonl(0xc0000201);
    info.ipi_addr.s_addr = htonl(0xe0000001);  // it was sent to a multicast address
    Control control;
    control.add(SOL_UDP, UDP_GRO, 1400)
        .add(IPPROTO_IP, IP_PKTINFO, info)
        .add(IPPROTO_IP, IP_TOS, std::uint8_t{0xb9});
    ASSERT_TRUE(parse(control.bytes()));
    EXPECT_EQ(train.segment_bytes, 1400U);
    EXPECT_EQ(train.from.address, ip("192.0.2.7"));
    EXPECT_EQ(train.from.port, 1234);
    EXPECT_EQ(train.from.source, ip("192.0.2.1"));
    EXPECT_EQ(train.from.interface_index, 5U);
    EXPECT_EQ(train.ecn, 1);
}

TEST_F(ParseReceive, AMulticastAddressIsNoSource) {
    in6_pktinfo info{};
    info.ipi6_addr.s6_addr[0] = 0xff;
    info.ipi6_ifindex = 2;
    Control control;
    ASSERT_TRUE(parse(control.add(IPPROTO_IPV6, IPV6_PKTINFO, info).bytes()));
    EXPECT_EQ(train.from.source.family, Family::none);
    EXPECT_EQ(train.from.interface_index, 0U);
}

TEST_F(ParseReceive, ADatagramIsATrainOfOne) {
    ASSERT_TRUE(parse({}));
    EXPECT_EQ(train.segment_bytes, 3000U);
    Control larger;
    ASSERT_TRUE(parse(larger.add(SOL_UDP, UDP_GRO, 9000).bytes()));
    EXPECT_EQ(train.segment_bytes, 3000U);
}

TEST_F(ParseReceive, DropsWhatWasCut) {
    EXPECT_FALSE(parse({}, MSG_TRUNC));
    EXPECT_FALSE(parse({}, MSG_CTRUNC));
}

TEST_F(ParseReceive, DropsNonsense) {
    Control zero, negative, narrow, longer;
    EXPECT_FALSE(parse(zero.add(SOL_UDP, UDP_GRO, 0).bytes()));
    EXPECT_FALSE(parse(negative.add(SOL_UDP, UDP_GRO, -1).bytes()));
    EXPECT_FALSE(parse(narrow.add(SOL_UDP, UDP_GRO, std::uint16_t{1400}).bytes()));
    longer.add(SOL_UDP, UDP_GRO, 1400);
    EXPECT_FALSE(parse(std::span(longer.bytes()).first(CMSG_LEN(0) + 2)));
    to_socket_address(endpoint("::ffff:192.0.2.7", 1), from);  // a v6 socket that is not V6ONLY
    EXPECT_FALSE(parse({}));
    from.any.sa_family = AF_UNIX;
    EXPECT_FALSE(parse({}));
}

TEST(SendFaults, HaveOneRemedyEach) {
    EXPECT_EQ(remedy_for(EAGAIN, true, true), SendRemedy::wait);
    EXPECT_EQ(remedy_for(EINTR, true, true), SendRemedy::retry);
    EXPECT_EQ(remedy_for(EIO, true, false), SendRemedy::unsegmented_from_now_on);
    EXPECT_EQ(remedy_for(EIO, false, false), SendRemedy::give_up);
    EXPECT_EQ(remedy_for(EINVAL, true, true), SendRemedy::unsegmented);
    EXPECT_EQ(remedy_for(EMSGSIZE, true, false), SendRemedy::unsegmented);
    EXPECT_EQ(remedy_for(EMSGSIZE, false, true), SendRemedy::give_up);
    for (const int code : {EINVAL, EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH, ENODEV}) {
        EXPECT_EQ(remedy_for(code, false, true), SendRemedy::without_source);
        EXPECT_EQ(remedy_for(code, false, false), SendRemedy::give_up);
    }
    for (const int code : {ENOBUFS, ENOMEM, EPERM, ECONNREFUSED})
        EXPECT_EQ(remedy_for(code, true, true), SendRemedy::give_up);
}

}  // namespace
}  // namespace vern
