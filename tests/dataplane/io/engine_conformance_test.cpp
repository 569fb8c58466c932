// What every engine must do: waiting, the underlay, a full socket. Each test has a network namespace of its
// own.
#include <gtest/gtest.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/io/buffer_pool.h"
#include "engine_fixture.h"
#include "network.h"

namespace vern::test {
namespace {

// --- waiting
// -------------------------------------------------------------------------------------------------------

TEST_P(EngineConformance, SaysItsName) {
    Host host(GetParam());
    EXPECT_EQ(host.engine->name(), GetParam().engine);
}

TEST_P(EngineConformance, WaitsNoLongerThanAsked) {
    Host host(GetParam());
    for (const auto timeout : {Duration(-1s), Duration(0), Duration(20ms)}) {
        const auto before = std::chrono::steady_clock::now();
        int waits = 0;
        do {
            const Turn turn = host.engine->wait(timeout);
            EXPECT_TRUE(turn.underlay.empty());
            EXPECT_TRUE(turn.tun.empty());
            EXPECT_FALSE(turn.woken || turn.source_refused || turn.tun_gone);
            ++waits;
        } while (std::chrono::steady_clock::now() - before < timeout);
        EXPECT_LE(waits, 3);  // interrupted by the end of the last test's io_uring
    }
}

TEST_P(EngineConformance, IsWokenByAnotherThreadOnceACall) {
    Host host(GetParam());
    const auto wait_for_wake = [&] {
        while (!host.engine->wait(std::nullopt).woken) {
        }
        return !host.engine->wait(Duration(0)).woken;
    };
    for (int i = 0; i < 3; ++i) {
        std::thread other([&] { host.engine->wake(); });
        EXPECT_TRUE(wait_for_wake());
        other.join();
    }
    host.engine->wake();  // before the wait
    EXPECT_TRUE(wait_for_wake());
}

// The thread that makes an engine is not the one that drives it.
TEST_P(EngineConformance, IsDrivenByAnotherThread) {
    Host host(GetParam());
    PlainSocket peer("127.0.0.1");
    peer.send("127.0.0.1", host.underlay.port, pattern(100));
    std::size_t got = 0;
    std::thread worker([&] { got = receive(host, 100).size(); });
    worker.join();
    EXPECT_EQ(got, 1U);
}

// The kernel is not left with requests that hold the device or the port some time longer, packets arriving
// or not.
TEST_P(EngineConformance, AfterItsEndDeviceAndPortGoWithTheirFiles) {
    for (int round = 0; round < 20; ++round) {
        Host host(GetParam());
        host.number();
        PlainSocket peer("127.0.0.1");
        std::thread worker([&] {
            for (int turn = 0; turn < round; ++turn) {
                peer.send("127.0.0.1", host.underlay.port, pattern(100));
                host.engine->wait(0ms);
                host.engine->flush();
            }
            peer.send("127.0.0.1", host.underlay.port, pattern(100));
            host.engine->end();
        });
        worker.join();
        host.engine.reset();
        const std::uint16_t port = host.underlay.port;
        host.tun = {};
        host.underlay = {};
        ASSERT_EQ(::if_nametoindex("vern0"), 0U) << round;
        UdpOptions again;
        again.port = port;
        ASSERT_TRUE(open_underlay(again).has_value()) << round;
    }
}

// Nothing that happened leaves an engine that never sleeps again.
TEST_P(EngineConformance, SleepsWhenNothingHappens) {
    Host host(GetParam());
    host.number();
    PlainSocket peer("127.0.0.1");
    host.send(endpoint("127.0.0.1", peer.port()), pattern(100), 100);
    host.engine->flush();
    peer.send("127.0.0.1", host.underlay.port, pattern(100));
    EXPECT_EQ(receive(host, 100).size(), 1U);
    while (!host.engine->wait(20ms).tun.empty()) {  // router solicitations of the device
    }
    // A wait may end early: for packets of the device's own (router solicitations), for nothing a few times.
    // An engine that never sleeps would come to many thousands.
    const auto before = std::chrono::steady_clock::now();
    int waits = 0;
    while (std::chrono::steady_clock::now() - before < 100ms) {
        host.engine->wait(100ms);
        ++waits;
    }
    EXPECT_LE(waits, 100);
}

// --- the underlay
// --------------------------------------------------------------------------------------------------

TEST_P(EngineConformance, KeepsSourceAndEcnOfADatagram) {
    Host host(GetParam());
    struct Case {
        std::string peer, local;
        int ecn;
    };
    add_v6("lo", "fd00::9", 128);
    for (const Case& at : {Case{"127.0.0.1", "127.0.0.9", 1}, Case{"::1", "fd00::9", 3}}) {
        PlainSocket peer(at.peer);
        peer.set_tos(at.ecn);
        peer.send(at.local, host.underlay.port, pattern(148));
        const auto trains = receive(host, 148);
        ASSERT_EQ(trains.size(), 1U);
        EXPECT_EQ(trains[0].bytes, pattern(148));
        EXPECT_EQ(trains[0].train.segment_bytes, 148U);
        EXPECT_EQ(trains[0].train.from.address, ip(at.peer));
        EXPECT_EQ(trains[0].train.from.port, peer.port());
        EXPECT_EQ(trains[0].train.from.source, ip(at.local));
        EXPECT_EQ(trains[0].train.from.interface_index, ::if_nametoindex("lo"));
        EXPECT_EQ(trains[0].train.ecn, at.ecn);

        ASSERT_TRUE(host.send(trains[0].train.from, pattern(92), 92, 0x8a));
        host.engine->flush();
        const auto answer = peer.receive();
        ASSERT_TRUE(answer);
        EXPECT_EQ(answer->bytes, pattern(92));
        EXPECT_EQ(answer->from, at.local);
        EXPECT_EQ(answer->port, host.underlay.port);
        EXPECT_EQ(answer->tos, 0x8a);
    }
}

TEST_P(EngineConformance, ATrainArrivesWholeAndInOrderAtAPlainSocket) {
    Host host(GetParam());
    for (const char* address : {"127.0.0.1", "::1"}) {
        PlainSocket peer(address);
        const auto bytes = pattern(43 * 1452 + 77);
        ASSERT_TRUE(host.send(endpoint(address, peer.port()), bytes, 1452));
        host.engine->flush();
        Bytes got;
        for (int i = 0; i < 44; ++i) {
            const auto datagram = peer.receive();
            ASSERT_TRUE(datagram);
            EXPECT_EQ(datagram->bytes.size(), i < 43 ? 1452U : 77U);
            got.insert(got.end(), datagram->bytes.begin(), datagram->bytes.end());
        }
        EXPECT_EQ(got, bytes);
    }
    EXPECT_FALSE(host.engine->faults().udp_gso_v4 || host.engine->faults().udp_gso_v6);
}

TEST_P(EngineConformance, ATrainArrivesAsATrainAtAnotherEngine) {
    Host sender(GetParam(), "vern0");
    Host receiver(GetParam(), "vern1");
    for (const char* address : {"127.0.0.1", "::1"}) {
        const auto bytes = pattern(20 * 1000 + 500);
        ASSERT_TRUE(sender.send(endpoint(address, receiver.underlay.port), bytes, 1000));
        sender.engine->flush();
        const auto trains = receive(receiver, bytes.size());
        EXPECT_EQ(joined(trains), bytes);
        EXPECT_EQ(trains.size(), GetParam().udp_offloads ? 1U : 21U);
        for (const auto& train : trains)
            EXPECT_EQ(train.train.segment_bytes, std::min<std::size_t>(1000, train.bytes.size()));
    }
}

TEST_P(EngineConformance, TakesTheLongestDatagramWhole) {
    Host host(GetParam());
    PlainSocket peer("127.0.0.1");
    peer.send("127.0.0.1", host.underlay.port, pattern(65507));
    const auto trains = receive(host, 65507);
    ASSERT_EQ(trains.size(), 1U);
    EXPECT_EQ(trains[0].bytes, pattern(65507));
    EXPECT_EQ(host.counters[Counter::underlay_truncated], 0U);
}

TEST_P(EngineConformance, ATurnKeepsToItsBudgetAndLosesNothing) {
    Host host(GetParam());
    PlainSocket peer("127.0.0.1");
    for (const std::size_t size : {std::size_t{100}, std::size_t{60000}}) {
        Bytes sent;
        const std::size_t count = size == 100 ? 300 : 40;
        for (unsigned i = 0; i < count; ++i) {
            const auto bytes = pattern(size, i);
            peer.send("127.0.0.1", host.underlay.port, bytes);
            sent.insert(sent.end(), bytes.begin(), bytes.end());
        }
        Bytes got;
        EXPECT_TRUE(host.run(
            [&](Turn& turn) {
                std::size_t in_turn = 0;
                for (const auto& train : turn.underlay) {
                    EXPECT_LT(in_turn, kTurnBytesMax);
                    in_turn += train.bytes.size();
                    got.insert(got.end(), train.bytes.begin(), train.bytes.end());
                }
                EXPECT_LE(turn.underlay.size(), kTurnTrainsMax);
            },
            [&] { return got.size() >= sent.size(); }));
        EXPECT_EQ(got, sent);
    }
}

// An engine may have one way to receive for much and another for little.
TEST_P(EngineConformance, LosesAndReordersNothingWhenTheLoadComesAndGoes) {
    constexpr unsigned kCycles = 4, kSmall = 30, kLarge = 30, kSingles = 300;
    constexpr unsigned kCycle = kSmall + kLarge + kSingles;
    constexpr unsigned kUnderway = 60;  // less than the socket's buffer holds
    const auto datagram = [](unsigned number) {
        const unsigned in_cycle = number % kCycle;
        return pattern(in_cycle >= kSmall && in_cycle < kSmall + kLarge ? 20000 : 100, number);
    };
    Host host(GetParam());
    std::atomic<unsigned> received{0};
    std::thread traffic([&] {
        PlainSocket peer("127.0.0.1");
        for (unsigned sent = 0; sent < kCycles * kCycle && !testing::Test::HasFailure(); ++sent) {
            while (sent - received > kUnderway && !testing::Test::HasFailure()) std::this_thread::yield();
            peer.send("127.0.0.1", host.underlay.port, datagram(sent));
        }
    });
    unsigned wrong = 0;
    const auto compare = [&](Turn& turn) {
        for (const auto& train : turn.underlay) {
            for (std::size_t at = 0; at < train.bytes.size(); at += train.segment_bytes) {
                const auto bytes =
                    train.bytes.subspan(at, std::min(train.segment_bytes, train.bytes.size() - at));
                wrong += !std::ranges::equal(bytes, datagram(received++));
            }
        }
    };
    EXPECT_TRUE(host.run(compare, [&] { return received >= kCycles * kCycle; }));
    EXPECT_EQ(wrong, 0U);
    traffic.join();
}

TEST_P(EngineConformance, NeitherFamilyStarvesTheOther) {
    Host host(GetParam());
    PlainSocket v4("127.0.0.1");
    PlainSocket v6("::1");
    for (int i = 0; i < 300; ++i) v4.send("127.0.0.1", host.underlay.port, pattern(1000));
    v6.send("::1", host.underlay.port, pattern(10));
    std::size_t before = 0;
    bool seen = false;
    EXPECT_TRUE(host.run(
        [&](Turn& turn) {
            for (const auto& train : turn.underlay) {
                seen |= train.from.address.family == Family::v6;
                before += seen ? 0 : 1;
            }
        },
        [&] { return seen; }));
    EXPECT_LE(before, 2 * kTurnTrainsMax);
}

TEST_P(EngineConformance, DropsAndCountsWhatCameWithoutItsControlData) {
    Host host(GetParam());
    const int fd = host.underlay.workers[0].v4.get();
    // More than the engine has room for.
    const int on = 1;
    for (const int option : {IP_RECVTTL, IP_RECVORIGDSTADDR, IP_RECVFRAGSIZE})
        ASSERT_EQ(::setsockopt(fd, IPPROTO_IP, option, &on, sizeof on), 0);
    ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on), 0);
    ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on), 0);
    PlainSocket peer("127.0.0.1");
    peer.send("127.0.0.1", host.underlay.port, pattern(100));
    EXPECT_TRUE(host.run([](Turn& turn) { EXPECT_TRUE(turn.underlay.empty()); },
                         [&] { return host.counters[Counter::underlay_truncated] == 1; }));
    const int off = 0;
    ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &off, sizeof off), 0);
    for (const int option : {IP_RECVTTL, IP_RECVORIGDSTADDR})
        ASSERT_EQ(::setsockopt(fd, IPPROTO_IP, option, &off, sizeof off), 0);
    peer.send("127.0.0.1", host.underlay.port, pattern(100));
    EXPECT_EQ(receive(host, 100).size(), 1U);
}

TEST_P(EngineConformance, SendsAgainWithoutASourceThatIsRefusedAndSaysSo) {
    Host host(GetParam());
    PlainSocket peer("127.0.0.1");
    auto to = endpoint("127.0.0.1", peer.port());
    to.source = ip("192.0.2.1");
    ASSERT_TRUE(host.send(to, pattern(2500), 1000));
    host.engine->flush();
    for (const std::size_t expected : {1000U, 1000U, 500U}) {
        const auto datagram = peer.receive();
        ASSERT_TRUE(datagram);
        EXPECT_EQ(datagram->bytes.size(), expected);
    }
    EXPECT_TRUE(host.engine->wait(Duration(0)).source_refused);
    EXPECT_FALSE(host.engine->wait(Duration(0)).source_refused);
    EXPECT_EQ(host.counters[Counter::send_failed], 0U);
}

TEST_P(EngineConformance, SegmentsOverTheMtuAreFragmentedByIp) {
    set_mtu("lo", 1300);
    Host host(GetParam());
    for (const char* address : {"127.0.0.1", "::1"}) {
        PlainSocket peer(address);
        const auto bytes = pattern(4000);
        ASSERT_TRUE(host.send(endpoint(address, peer.port()), bytes, 1500));
        host.engine->flush();
        Bytes got;
        for (int i = 0; i < 3; ++i) {
            const auto datagram = peer.receive();
            ASSERT_TRUE(datagram);
            got.insert(got.end(), datagram->bytes.begin(), datagram->bytes.end());
        }
        EXPECT_EQ(got, bytes);
    }
    EXPECT_EQ(host.counters[Counter::send_failed], 0U);
    EXPECT_FALSE(host.engine->faults().udp_gso_v4);  // no fault of the socket
}

TEST_P(EngineConformance, AnUnreachablePeerIsNoFault) {
    Host host(GetParam());
    ASSERT_TRUE(host.send(endpoint("192.0.2.1", 9), pattern(100), 100));  // no route
    ASSERT_TRUE(
        host.send(endpoint("127.0.0.1", 9), pattern(100), 100));  // nobody there: ICMP port unreachable
    host.engine->flush();
    EXPECT_EQ(host.counters[Counter::send_failed], 1U);
    PlainSocket peer("127.0.0.1");
    peer.send("127.0.0.1", host.underlay.port, pattern(100));
    EXPECT_EQ(receive(host, 100).size(), 1U);
    ASSERT_TRUE(host.send(endpoint("127.0.0.1", peer.port()), pattern(100), 100));
    host.engine->flush();
    EXPECT_TRUE(peer.receive());
}

TEST_P(EngineConformance, DoesWithOneFamily) {
    Host host(GetParam());
    UdpSockets v4_only{std::move(host.underlay.workers[0].v4), Fd()};
    ASSERT_TRUE(host.engine->set_sockets(v4_only));
    host.underlay.workers[0].v6.reset();
    PlainSocket peer("127.0.0.1");
    peer.send("127.0.0.1", host.underlay.port, pattern(100));
    EXPECT_EQ(receive(host, 100).size(), 1U);
    ASSERT_TRUE(host.send(endpoint("::1", 9), pattern(100), 100));
    ASSERT_TRUE(host.send(endpoint("127.0.0.1", peer.port()), pattern(100), 100));
    host.engine->flush();
    EXPECT_EQ(host.counters[Counter::send_failed], 1U);
    EXPECT_TRUE(peer.receive());
    host.engine.reset();  // before v4_only
}

TEST_P(EngineConformance, TakesOtherSocketsUnderTraffic) {
    Host host(GetParam());
    std::atomic<std::uint16_t> port{host.underlay.port};
    std::atomic<bool> stop{false};
    std::thread traffic([&] {
        PlainSocket peer("127.0.0.1");
        while (!stop) {
            try {
                peer.send("127.0.0.1", port, pattern(500));
            } catch (const std::exception&) {  // ICMP told that the old port is gone
            }
            std::this_thread::yield();
        }
    });
    const auto hear = [&](std::size_t bytes) { return joined(receive(host, bytes)).size() >= bytes; };
    EXPECT_TRUE(hear(50000));
    for (int i = 0; i < 5; ++i) {
        auto other = Host::open(GetParam(), 0);
        port = other.port;
        EXPECT_TRUE(host.engine->set_sockets(other.workers[0]));
        const auto old_port = host.underlay.port;
        host.underlay = std::move(other);
        // Out of use: nothing holds the old port any more.
        EXPECT_TRUE(open_underlay({.port = old_port}));
        EXPECT_TRUE(hear(50000));
    }
    stop = true;
    traffic.join();
}

TEST_P(EngineConformance, LeavesNothingBehind) {
    std::uint16_t port = 0;
    {
        Host host(GetParam());
        host.engine->wait(Duration(0));
        port = host.underlay.port;
    }
    EXPECT_TRUE(open_underlay({.port = port}));
    EXPECT_EQ(::if_nametoindex("vern0"), 0U);
}

// --- a full socket
// -------------------------------------------------------------------------------------------------

class EngineBackpressure : public EngineConformance {
  protected:
    static constexpr std::size_t kBytes = 900;

    void SetUp() override {
        EngineConformance::SetUp();
        if (IsSkipped()) return;
        tap = std::make_unique<Tap>("tap0", "10.1.0.1", 24);
        host = std::make_unique<Host>(GetParam(), "vern0", 1);  // the smallest socket buffer there is
        host->number();
        while (!host->engine->wait(20ms).tun.empty()) {
        }  // it has read what the device says of its own, and watches it when the socket gets full
    }
    // Sends numbered trains until there is no buffer left.
    void fill() {
        while (host->send(endpoint("10.1.0.2", 9), pattern(kBytes, sent), kBytes)) {
            ++sent;
            ASSERT_LT(sent, 200U);
        }
    }
    void expect_all_in_order() {
        for (; heard < sent; ++heard) {
            const auto payload = tap->next_udp_payload();
            ASSERT_TRUE(payload);
            ASSERT_EQ(*payload, pattern(kBytes, heard)) << "train " << heard << " of " << sent;
        }
    }
    void run_until_sent() {
        EXPECT_TRUE(host->run([](Turn&) {},
                              [&] {
                                  const auto first = host->engine->send_buffer();
                                  return !first.empty();
                              }));
    }

    std::unique_ptr<Tap> tap;
    std::unique_ptr<Host> host;
    unsigned sent = 0;
    unsigned heard = 0;
};

TEST_P(EngineBackpressure, KeepsOrderAndRecovers) {
    fill();
    EXPECT_GE(sent, BufferPool::kBuffers);
    EXPECT_TRUE(host->engine->send_buffer().empty());
    EXPECT_EQ(host->counters[Counter::send_failed], 0U);
    tap->resolve("10.1.0.2");
    run_until_sent();
    for (int i = 0; i < 50; ++i) {  // behind those that still wait
        const auto more = [&] { return host->send(endpoint("10.1.0.2", 9), pattern(kBytes, sent), kBytes); };
        EXPECT_TRUE(host->run([](Turn&) {}, more));
        ++sent;
    }
    host->engine->flush();
    std::atomic<bool> stop{false};
    std::thread worker([&] {
        while (!stop) {
            host->engine->wait(std::nullopt);
            host->engine->flush();
        }
    });
    expect_all_in_order();
    stop = true;
    host->engine->wake();
    worker.join();
}

TEST_P(EngineBackpressure, ReadsNoTunMeanwhileButStillReceives) {
    fill();
    PlainSocket inner("10.9.0.1");
    inner.send("10.9.0.2", 9, pattern(333));
    PlainSocket peer("127.0.0.1");
    for (int i = 0; i < 3; ++i) {
        peer.send("127.0.0.1", host->underlay.port, pattern(100));
        std::size_t got = 0;
        EXPECT_TRUE(host->run(
            [&](Turn& turn) {
                EXPECT_TRUE(turn.tun.empty());
                for (const auto& train : turn.underlay) got += train.bytes.size();
            },
            [&] { return got == 100; }));
    }
    const auto before = std::chrono::steady_clock::now();
    int waits = 0;
    while (std::chrono::steady_clock::now() - before < 50ms) {  // and does not spin
        EXPECT_TRUE(host->engine->wait(50ms).tun.empty());
        ++waits;
    }
    EXPECT_LE(waits, 100);

    tap->resolve("10.1.0.2");
    bool read = false;
    EXPECT_TRUE(host->run(
        [&](Turn& turn) {
            for (const auto& train : turn.tun) read |= train.packet.size() == 333 + 28;
        },
        [&] { return read; }));
    run_until_sent();
    expect_all_in_order();
}

INSTANTIATE_TEST_SUITE_P(Linux, EngineConformance, testing::ValuesIn(variants(true)), name_of);
INSTANTIATE_TEST_SUITE_P(Linux, EngineBackpressure, testing::ValuesIn(variants(false)), name_of);

}  // namespace
}  // namespace vern::test
