// Hosts in memory: the real device, its workers and its slow path, with outlets that collect, randomness from
// a seed, and time by hand.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "crypto/noise.h"
#include "crypto/start.h"
#include "dataplane/core/device.h"
#include "dataplane/core/worker.h"
#include "packets.h"

namespace vern::test {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

class SeededRandom final : public Random {
  public:
    explicit SeededRandom(std::uint64_t seed) : engine_(seed) {}
    void fill(std::span<std::byte> bytes) noexcept override {
        for (auto& byte : bytes) byte = fixed_ ? *fixed_ : static_cast<std::byte>(engine_() & 0xff);
    }
    void fix(std::optional<std::byte> value) { fixed_ = value; }

  private:
    std::mt19937_64 engine_;
    std::optional<std::byte> fixed_;
};

// One datagram as it is on the wire.
struct Datagram {
    Endpoint to;
    Bytes bytes;
    std::uint8_t tos = 0;
    std::uint32_t type() const {
        MessageHeader header;
        if (bytes.size() < sizeof header) return 0;
        std::memcpy(&header, bytes.data(), sizeof header);
        return header.type;
    }
    bool is_data() const { return type() == 4; }
    bool is_keepalive() const { return is_data() && bytes.size() == kDataOverheadBytes; }
    std::uint64_t counter() const {
        MessageDataHeader header{};
        if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
        return header.counter;
    }
    std::uint32_t receiver() const { return load(type() == 2 ? 8 : 4); }
    std::uint32_t sender() const { return load(4); }
    std::uint32_t load(std::size_t at) const {
        Le32 value{0};
        if (bytes.size() >= at + 4) std::memcpy(&value, bytes.data() + at, 4);
        return value;
    }
};

struct SentTrain {
    Endpoint to;
    Bytes bytes;
    std::size_t segment_bytes;
    std::uint8_t tos;
};

struct Written {
    VnetHeader header;
    Bytes packet;
    std::size_t pieces;
};

class CollectingOutlet final : public Outlet {
  public:
    std::span<std::byte> send_buffer() noexcept override {
        if (full || free_.empty()) return {};
        std::byte* const buffer = free_.back();
        free_.pop_back();
        return {buffer, kTrainBytesMax};
    }
    void send(const Endpoint& to, std::span<std::byte> train, std::size_t segment_bytes,
              std::uint8_t tos) noexcept override {
        EXPECT_EQ(std::count(free_.begin(), free_.end(), train.data()), 0);
        free_.push_back(train.data());
        EXPECT_GT(segment_bytes, 0U);
        EXPECT_LE(train.size(), kSendBytesMax);
        EXPECT_LE((train.size() + segment_bytes - 1) / segment_bytes, kSendSegmentsMax);
        trains.push_back({to, Bytes(train.begin(), train.end()), segment_bytes, tos});
    }
    void write(const VnetHeader& header, std::span<const iovec> pieces) noexcept override {
        EXPECT_LE(pieces.size(), kWritePiecesMax);
        Written out{header, {}, pieces.size()};
        for (const iovec& piece : pieces) {
            const auto* from = static_cast<const std::byte*>(piece.iov_base);
            out.packet.insert(out.packet.end(), from, from + piece.iov_len);
        }
        written.push_back(std::move(out));
    }
    std::vector<SentTrain> trains;
    std::vector<Written> written;
    bool full = false;

  private:
    std::unique_ptr<std::byte[]> memory_{new std::byte[kHeldBuffersMax * kTrainBytesMax]};
    std::vector<std::byte*> free_ = [this] {
        std::vector<std::byte*> all;
        for (std::size_t i = 0; i < kHeldBuffersMax; ++i) all.push_back(memory_.get() + i * kTrainBytesMax);
        return all;
    }();
};

class CollectingSink final : public DatagramSink {
  public:
    Sent send(const Endpoint& to, std::span<const std::byte> datagram, std::uint8_t tos) noexcept override {
        sent.push_back({to, Bytes(datagram.begin(), datagram.end()), tos});
        const bool source_refused = refuse_source && to.source.family != Family::none;
        if (refuse) return source_refused ? Sent::refused_either_way : Sent::refused;
        return source_refused ? Sent::without_source : Sent::whole;
    }
    std::vector<Datagram> sent;
    bool refuse_source = false;
    bool refuse = false;
};

inline PrivateKey private_key(std::uint8_t n) {
    PrivateKey key;
    for (std::size_t i = 0; i < 32; ++i) key.writable()[i] = static_cast<std::byte>(n * 7 + i);
    clamp(key);
    return key;
}

class Host {
  public:
    explicit Host(std::uint8_t number, unsigned workers = 1)
        : random(number),
          key(private_key(number)),
          public_key(noise::public_key_of(key)),
          device(random, aead::best(), workers) {
        address = v4(10, 0, 0, number);
        endpoint.address = v4(192, 0, 2, number);
        endpoint.port = static_cast<std::uint16_t>(51000 + number);
        for (unsigned i = 0; i < workers; ++i)
            worker_.push_back(std::make_unique<Worker>(device, i, Worker::Options{false, false}));
        DeviceChange change;
        change.private_key = key.clone();
        apply(change);
    }

    void apply(const DeviceChange& change) { ASSERT_TRUE(device.apply(change, now)); }
    Worker& worker(unsigned i = 0) { return *worker_[i]; }

    PeerChange as_peer(bool with_endpoint = true) const {
        PeerChange peer;
        peer.public_key = public_key;
        if (with_endpoint) peer.endpoint = endpoint;
        peer.allowed_ips.push_back({{address, 32}});
        return peer;
    }
    void change(PeerChange peer) {
        DeviceChange change;
        change.peers.push_back(std::move(peer));
        apply(change);
    }
    void add(const Host& other, bool with_endpoint = true) { change(other.as_peer(with_endpoint)); }
    Peer& peer(const PublicKey& wanted) {
        for (Peer* peer : device.snapshot().peers) {
            if (peer->public_key == wanted) return *peer;
        }
        throw std::logic_error("no such peer");
    }
    Peer& peer(const Host& other) { return peer(other.public_key); }

    // A turn of worker `i` in which `run` gives it trains.
    void turn(const std::function<void(Worker&)>& run, unsigned i = 0) {
        worker(i).begin(now);
        run(worker(i));
        worker(i).flush(outlet);
    }
    void tun(Bytes packet, const VnetHeader& header = {}, unsigned i = 0) {
        turn([&](Worker& w) { w.from_tun({header, packet}, outlet); }, i);
    }
    void send_to(const Host& other, std::size_t payload = 100, unsigned seed = 0, std::uint8_t tos = 0) {
        tun(udp_packet(address, other.address, payload, seed, tos));
    }
    // A train (or datagram) from the network; memory lives for the turn.
    void receive(Bytes bytes, const Endpoint& from, std::size_t segment = 0, std::uint8_t ecn = 0,
                 unsigned i = 0) {
        turn(
            [&](Worker& w) {
                w.from_underlay({bytes, segment == 0 ? bytes.size() : segment, from, ecn}, outlet);
            },
            i);
    }
    // The slow path until it rests, then the workers that it woke.
    void service() {
        while (device.service(now, wall, sink)) {
        }
        for (std::uint32_t mask = device.take_wakeups(), i = 0; i < worker_.size(); ++i) {
            if (mask >> i & 1) turn([&](Worker& w) { w.flush_staged(outlet); }, i);
        }
        device.dispose(device.take_retired());
    }
    // All that left since the last call, datagram by datagram: handshakes first, then data.
    std::vector<Datagram> take_sent() {
        std::vector<Datagram> out = std::exchange(sink.sent, {});
        for (const SentTrain& train : std::exchange(outlet.trains, {})) {
            for (std::size_t at = 0; at < train.bytes.size(); at += train.segment_bytes) {
                const auto end = std::min(at + train.segment_bytes, train.bytes.size());
                out.push_back({train.to,
                               Bytes(train.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                     train.bytes.begin() + static_cast<std::ptrdiff_t>(end)),
                               train.tos});
            }
        }
        return out;
    }
    std::vector<Written> take_written() { return std::exchange(outlet.written, {}); }
    std::uint64_t count(Counter counter, unsigned i = 0) {
        return worker(i).counters()[counter] + device.slow_counters()[counter];
    }

    SeededRandom random;
    PrivateKey key;
    PublicKey public_key;
    Device device;
    IpAddress address;
    Endpoint endpoint;
    Instant now{seconds(1000)};
    WallTime wall{seconds(1'700'000'000)};
    CollectingOutlet outlet;
    CollectingSink sink;

  private:
    std::vector<std::unique_ptr<Worker>> worker_;
};

// Several hosts on a network without loss; each step is explicit.
class Network {
  public:
    explicit Network(std::vector<Host*> hosts) : hosts_(std::move(hosts)) {}

    // Hands everything that is on its way to its receivers, and what these answer, until nothing moves. What
    // `drop` names is lost.
    void settle(const std::function<bool(const Datagram&)>& drop = {}) {
        for (int round = 0; round < 20; ++round) {
            bool moved = false;
            for (Host* host : hosts_) host->service();
            for (Host* from : hosts_) {
                for (const Datagram& datagram : from->take_sent()) {
                    log.push_back(datagram);
                    if (drop && drop(datagram)) continue;
                    for (Host* to : hosts_) {
                        if (to->endpoint.address != datagram.to.address ||
                            to->endpoint.port != datagram.to.port)
                            continue;
                        to->receive(datagram.bytes, from->endpoint, 0, datagram.tos & 3);
                        moved = true;
                    }
                }
            }
            if (!moved) return;
        }
        FAIL() << "the network does not come to rest";
    }
    void advance(Duration by) {
        for (Host* host : hosts_) {
            host->now += by;
            host->wall += by;
        }
    }
    // Lets time pass, stopping at every deadline on the way.
    void run(Duration total, const std::function<bool(const Datagram&)>& drop = {}) {
        const Instant end = hosts_.front()->now + total;
        for (int step = 0; step < 100000; ++step) {
            Instant next = end;
            for (Host* host : hosts_) {
                if (const auto at = host->device.next_deadline())
                    next = std::min(next, std::max(*at, host->now));
            }
            advance(next - hosts_.front()->now);
            settle(drop);
            if (next == end) return;
        }
        FAIL() << "time does not pass";
    }
    std::vector<Datagram> log;

  private:
    std::vector<Host*> hosts_;
};

// Two hosts that know each other; nothing sent yet.
class TwoDevices : public ::testing::Test {
  protected:
    TwoDevices() {
        a.add(b);
        b.add(a);
    }
    // A session, begun by a, confirmed: both may send.
    void connect() {
        a.send_to(b);
        net.settle();
        ASSERT_EQ(b.take_written().size(), 1U);
        ASSERT_NE(session(a, b), nullptr);
        ASSERT_NE(session(b, a), nullptr);
        ASSERT_TRUE(session(a, b)->initiator);
        net.log.clear();
    }
    static Session* session(Host& host, const Host& other) { return host.peer(other).current; }
    // The one datagram that a host has just sent.
    static Datagram only(Host& host) {
        auto sent = host.take_sent();
        EXPECT_EQ(sent.size(), 1U);
        return sent.empty() ? Datagram{} : sent.front();
    }
    static std::size_t count_type(const std::vector<Datagram>& log, std::uint32_t type) {
        return static_cast<std::size_t>(
            std::count_if(log.begin(), log.end(), [&](const Datagram& d) { return d.type() == type; }));
    }
    static Datagram first_of(const std::vector<Datagram>& sent, std::uint32_t type) {
        for (const Datagram& datagram : sent) {
            if (datagram.type() == type) return datagram;
        }
        ADD_FAILURE() << "no message of type " << type;
        return {};
    }
    Host a{1};
    Host b{2};
    Network net{{&a, &b}};
};

}  // namespace vern::test
