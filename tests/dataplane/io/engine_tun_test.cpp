// What every engine must do with its TUN device. Each test has a network namespace of its own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine_fixture.h"
#include "network.h"

namespace vern::test {
namespace {

class EngineTun : public EngineConformance {};

// --- the TUN device
// ------------------------------------------------------------------------------------------------

// The far end of the TUN device for a test: gives every packet back with its addresses exchanged, so that the
// host talks to itself under the name of a neighbour. Checksums stay right, since sums do not see the
// exchange.
class Mirror {
  public:
    explicit Mirror(Engine& engine) : engine_(engine) {}

    void operator()(Turn& turn) {
        for (const auto& train : turn.tun) {
            const bool v4 = (train.packet[0] >> 4) == std::byte{4};
            if (!v4 && train.packet[6] == std::byte{58}) continue;  // ICMPv6 of the device's own
            const auto source = train.packet.subspan(v4 ? 12 : 8, v4 ? 4 : 16);
            std::swap_ranges(source.begin(), source.end(), source.end());
            if (train.header.gso_type != VnetHeader::kGsoNone) ++superpackets;
            longest = std::max(longest, train.packet.size());
            // In pieces, as the core gathers them.
            const std::size_t cut = train.packet.size() / 3;
            const std::array<iovec, 2> pieces{iovec{train.packet.data(), cut},
                                              iovec{train.packet.data() + cut, train.packet.size() - cut}};
            engine_.write(train.header, pieces);
        }
    }
    std::size_t superpackets = 0;
    std::size_t longest = 0;

  private:
    Engine& engine_;
};

Fd tcp_socket(const std::string& address, std::uint16_t& port, bool listens) {
    SocketAddress at{};
    socklen_t bytes = to_socket_address(endpoint(address, port), at);
    Fd fd(::socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (listens) {
        EXPECT_EQ(::bind(fd.get(), &at.any, bytes), 0);
        EXPECT_EQ(::listen(fd.get(), 1), 0);
        EXPECT_EQ(::getsockname(fd.get(), &at.any, &bytes), 0);
        port = ntohs(at.v6.sin6_port);
    } else {
        EXPECT_EQ(::connect(fd.get(), &at.any, bytes), 0);
    }
    return fd;
}

// A TCP stream of `sent` through the device, mirrored; what arrived.
Bytes stream_through(Host& host, Mirror& mirror, const std::string& near, const std::string& far,
                     const Bytes& sent) {
    std::uint16_t port = 0;
    const Fd listener = tcp_socket(near, port, true);
    std::thread client([&] {
        const Fd connection = tcp_socket(far, port, false);
        for (std::size_t done = 0; done < sent.size();) {
            const auto taken = ::send(connection.get(), sent.data() + done, sent.size() - done, MSG_NOSIGNAL);
            if (taken <= 0) return;
            done += static_cast<std::size_t>(taken);
        }
    });
    std::atomic<bool> finished{false};
    Bytes got;
    std::thread server([&] {
        const Fd connection(::accept(listener.get(), nullptr, nullptr));
        Bytes piece(1 << 20);
        for (ssize_t count = 0; (count = ::recv(connection.get(), piece.data(), piece.size(), 0)) > 0;)
            got.insert(got.end(), piece.begin(), piece.begin() + count);
        finished = true;
        host.engine->wake();
    });
    EXPECT_TRUE(host.run(std::ref(mirror), [&] { return finished.load(); }));
    ::shutdown(listener.get(), SHUT_RDWR);
    client.join();
    server.join();
    return got;
}

TEST_P(EngineTun, CarriesTcpInSuperpacketsBothWays) {
    Host host(GetParam());
    ASSERT_EQ(host.tun.tso.on, GetParam().tun_offloads) << host.tun.tso.reason;
    host.number();
    Mirror mirror(*host.engine);
    const auto sent = pattern(8 << 20);
    EXPECT_EQ(stream_through(host, mirror, "10.9.0.1", "10.9.0.2", sent), sent);
    EXPECT_EQ(mirror.superpackets > 0, GetParam().tun_offloads);
    EXPECT_EQ(mirror.longest > 1400, GetParam().tun_offloads);
    mirror.superpackets = 0;
    EXPECT_EQ(stream_through(host, mirror, "fd09::1", "fd09::2", sent), sent);
    EXPECT_EQ(mirror.superpackets > 0, GetParam().tun_offloads);
    EXPECT_EQ(host.counters[Counter::tun_write_failed], 0U);
    EXPECT_FALSE(host.engine->faults().tun_gso);
}

TEST_P(EngineTun, CarriesUdpTrainsBothWays) {
    Host host(GetParam());
    host.number();
    Mirror mirror(*host.engine);
    PlainSocket sender("10.9.0.1");
    PlainSocket receiver("10.9.0.1");
    const auto sent = pattern(20 * 1000);
    sender.send_train("10.9.0.2", receiver.port(), sent, 1000);
    std::size_t packets = 0;
    EXPECT_TRUE(host.run(
        [&](Turn& turn) {
            packets += turn.tun.size();
            mirror(turn);
        },
        [&] { return packets >= (host.tun.uso.on ? 1U : 20U); }));
    Bytes got;
    for (int i = 0; i < 20; ++i) {
        const auto datagram = receiver.receive();
        ASSERT_TRUE(datagram);
        EXPECT_EQ(datagram->from, "10.9.0.2");
        got.insert(got.end(), datagram->bytes.begin(), datagram->bytes.end());
    }
    EXPECT_EQ(got, sent);
    EXPECT_EQ(mirror.superpackets, host.tun.uso.on ? 1U : 0U);
}

TEST_P(EngineTun, AFloodFromTheTunKeepsToTheBudgetAndItsOrder) {
    Host host(GetParam());
    host.number();
    PlainSocket inner("10.9.0.1");
    for (unsigned i = 0; i < 300; ++i) inner.send("10.9.0.2", 9, pattern(100, i));
    unsigned next = 0;
    EXPECT_TRUE(host.run(
        [&](Turn& turn) {
            EXPECT_LE(turn.tun.size(), kTurnTrainsMax);
            for (const auto& train : turn.tun) {
                if (train.packet.size() != 128) continue;
                const auto expected = pattern(100, next++);
                EXPECT_TRUE(std::equal(expected.begin(), expected.end(), train.packet.begin() + 28));
            }
        },
        [&] { return next == 300; }));
}

TEST_P(EngineTun, DoesWithoutTheVirtioHeader) {
    Fd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request{};
    std::string("plain0").copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    ASSERT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
    Host host(GetParam(), std::move(adopt_tun(fd.release(), {}).value()));
    host.number();
    Mirror mirror(*host.engine);
    const auto sent = pattern(1 << 20);
    EXPECT_EQ(stream_through(host, mirror, "10.9.0.1", "10.9.0.2", sent), sent);
    EXPECT_EQ(mirror.superpackets, 0U);
}

TEST_P(EngineTun, SurvivesTheInterfaceGoingDown) {
    Host host(GetParam());
    host.number();
    Mirror mirror(*host.engine);
    const auto sent = pattern(100000);
    EXPECT_EQ(stream_through(host, mirror, "10.9.0.1", "10.9.0.2", sent), sent);
    set_up("vern0", false);
    auto packet = pattern(60);
    packet[0] = std::byte{0x45};
    const std::array<iovec, 1> pieces{iovec{packet.data(), packet.size()}};
    host.engine->write({}, pieces);
    host.engine->flush();
    EXPECT_EQ(host.counters[Counter::tun_write_failed], 1U);
    EXPECT_FALSE(host.engine->wait(10ms).tun_gone);
    set_up("vern0", true);
    EXPECT_EQ(stream_through(host, mirror, "10.9.0.1", "10.9.0.2", sent), sent);
}

TEST_P(EngineTun, SaysThatTheInterfaceWasDeletedAndGoesOnReceiving) {
    Host host(GetParam());
    host.number();
    while (!host.engine->wait(20ms).tun.empty()) {
    }
    std::thread other([] { delete_interface("vern0"); });
    bool gone = false;
    while (!gone) gone = host.engine->wait(std::nullopt).tun_gone;
    other.join();
    auto packet = pattern(60);
    const std::array<iovec, 1> pieces{iovec{packet.data(), packet.size()}};
    host.engine->write({}, pieces);
    int waits = 0;  // it says so every time, and does not spin
    for (const auto end = std::chrono::steady_clock::now() + 20ms; std::chrono::steady_clock::now() < end;
         ++waits)
        EXPECT_TRUE(host.engine->wait(20ms).tun_gone);
    EXPECT_LE(waits, 3);
    PlainSocket peer("127.0.0.1");
    peer.send("127.0.0.1", host.underlay.port, pattern(100));
    EXPECT_EQ(receive(host, 100).size(), 1U);
}

// One odd superpacket is its writer's fault; when none is taken any more it is the kernel's.
TEST_P(EngineTun, SaysThatSuperpacketsAreRefused) {
    Host host(GetParam());
    host.number();
    auto packet = pattern(60);
    packet[0] = std::byte{0x45};
    VnetHeader header;
    header.gso_type = 0x7f;
    header.gso_size = 8;
    const std::array<iovec, 1> pieces{iovec{packet.data(), packet.size()}};
    host.engine->write(header, pieces);
    EXPECT_FALSE(host.engine->faults().tun_gso);
    for (int i = 0; i < 20; ++i) host.engine->write(header, pieces);
    host.engine->flush();
    EXPECT_TRUE(host.engine->faults().tun_gso);
    EXPECT_EQ(host.counters[Counter::tun_write_failed], 21U);
}

INSTANTIATE_TEST_SUITE_P(Linux, EngineTun, testing::ValuesIn(variants(true)), name_of);

}  // namespace
}  // namespace vern::test
