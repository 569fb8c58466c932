// The fixture of the suites that every engine must pass, with each offload on and off.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/io/engine.h"
#include "network.h"

namespace vern::test {

using namespace std::chrono_literals;
using Bytes = std::vector<std::byte>;
using MakeEngine = decltype(&make_epoll_engine);

struct Variant {
    const char* engine;
    MakeEngine make;
    bool udp_offloads;
    bool tun_offloads;
    bool always_ring = false;

    friend void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.engine; }
};

inline std::string name_of(const testing::TestParamInfo<Variant>& variant) {
    return std::string(variant.param.engine) + (variant.param.always_ring ? "_always" : "") +
           (variant.param.udp_offloads ? "_gso" : "_nogso") +
           (variant.param.tun_offloads ? "_tso" : "_notso");
}

// An engine with a TUN device (10.9.0.1/24, fd09::1/64 on it) and sockets of its own.
struct Host {
    TunDevice tun;
    Underlay underlay;
    Counters counters;
    std::unique_ptr<Engine> engine;

    explicit Host(const Variant& variant, const std::string& name = "vern0",
                  std::size_t buffer_bytes = 7 << 20) {
        TunOptions tun_options;
        tun_options.tso = tun_options.uso = variant.tun_offloads;
        tun_options.mtu = 1400;
        tun = std::move(create_tun(name, tun_options).value());
        underlay = open(variant, 0, buffer_bytes);
        start(variant);
    }
    Host(const Variant& variant, TunDevice device)
        : tun(std::move(device)), underlay(open(variant, 0, 7 << 20)) {
        start(variant);
    }
    static Underlay open(const Variant& variant, std::uint16_t port, std::size_t buffer_bytes = 7 << 20) {
        UdpOptions options;
        options.port = port;
        options.gso = options.gro = variant.udp_offloads;
        options.buffer_bytes = buffer_bytes;
        return std::move(open_underlay(options).value());
    }
    void start(const Variant& variant) {
        EngineOptions options;
        options.udp_gso = variant.udp_offloads;
        if (variant.always_ring) options.ring_from_packets = 0;
        engine = std::move(variant.make(tun.queues[0], underlay.workers[0], counters, options).value());
    }
    void number() const {
        add_v4(tun.name, "10.9.0.1", 24);
        set_up(tun.name, true);
        add_v6(tun.name, "fd09::1", 64);
    }

    // Turns until `done`, each handed to `handle`; false when that takes unreasonably long.
    bool run(const std::function<void(Turn&)>& handle, const std::function<bool()>& done) {
        const auto end = std::chrono::steady_clock::now() + kPatience;
        while (!done()) {
            if (std::chrono::steady_clock::now() > end) return false;
            Turn turn = engine->wait(50ms);
            handle(turn);
            engine->flush();
        }
        return true;
    }
    // False: there was no buffer.
    bool send(const Endpoint& to, const Bytes& bytes, std::size_t segment_bytes, std::uint8_t tos = 0) {
        const auto buffer = engine->send_buffer();
        if (buffer.empty()) return false;
        EXPECT_GE(buffer.size(), kTrainBytesMax);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
        std::copy(bytes.begin(), bytes.end(), buffer.begin());
        engine->send(to, buffer.first(bytes.size()), segment_bytes, tos);
        return true;
    }
};

// A train as the engine gave it, with a copy of its bytes.
struct Received {
    Bytes bytes;
    UnderlayTrain train;
};

class EngineConformance : public testing::TestWithParam<Variant> {
  protected:
    void SetUp() override {
        if (const auto why = enter_fresh_network(); !why.empty()) GTEST_SKIP() << why;
    }

    // The next `bytes` bytes from the underlay, train by train.
    static std::vector<Received> receive(Host& host, std::size_t bytes) {
        std::vector<Received> trains;
        std::size_t got = 0;
        host.run(
            [&](Turn& turn) {
                for (const auto& train : turn.underlay) {
                    trains.push_back({Bytes(train.bytes.begin(), train.bytes.end()), train});
                    got += train.bytes.size();
                }
            },
            [&] { return got >= bytes; });
        return trains;
    }
    static Bytes joined(const std::vector<Received>& trains) {
        Bytes bytes;
        for (const auto& train : trains) bytes.insert(bytes.end(), train.bytes.begin(), train.bytes.end());
        return bytes;
    }
};

// All combinations, or only all offloads on and all off.
inline std::vector<Variant> variants(bool all) {
    std::vector<Variant> list;
    for (const bool udp : {true, false}) {
        for (const bool tun : {true, false}) {
            if (!all && udp != tun) continue;
            list.push_back({"epoll", &make_epoll_engine, udp, tun});
            list.push_back({"io_uring", &make_uring_engine, udp, tun});
            list.push_back({"io_uring", &make_uring_engine, udp, tun, true});
        }
    }
    return list;
}

}  // namespace vern::test
