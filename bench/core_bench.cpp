// The parts of the data plane's core on their own: what a lookup, a superpacket outward and a train inward
// cost.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "dataplane/core/allowed_ips.h"
#include "dataplane/core/device.h"
#include "dataplane/core/worker.h"

namespace {

using namespace vern;
using Bytes = std::vector<std::byte>;

// --- allowed IPs: must stay flat from a thousand to a million prefixes
// ------------------------------------------------------------------------

struct Table {
    AllowedIps ips;
    std::size_t prefixes = 0;
    std::vector<IpAddress> wanted;
};

Table make_table(std::size_t count, Family family) {
    std::mt19937_64 random(1);
    const std::size_t bytes = family == Family::v4 ? 4 : 16;
    std::vector<AllowedIps::Entry> entries;
    for (std::size_t i = 0; i < count; ++i) {
        Prefix prefix;
        prefix.address.family = family;
        prefix.length =
            static_cast<std::uint8_t>(family == Family::v4 ? 24 + random() % 9 : 48 + random() % 81);
        for (std::size_t k = 0; k < bytes; ++k) prefix.address.bytes[k] = static_cast<std::byte>(random());
        if (family == Family::v6) prefix.address.bytes[0] = std::byte{0xfd};
        for (std::size_t bit = prefix.length; bit < bytes * 8; ++bit)
            prefix.address.bytes[bit / 8] &= ~(std::byte{0x80} >> (bit % 8));
        entries.push_back({prefix, reinterpret_cast<Peer*>((random() % 10'000 + 1) * 64)});
    }
    std::ranges::sort(entries, {}, &AllowedIps::Entry::prefix);
    const auto same = [](const auto& a, const auto& b) { return a.prefix == b.prefix; };
    entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
    Table table{AllowedIps(entries), entries.size(), {}};
    for (int i = 0; i < 4096; ++i) table.wanted.push_back(entries[random() % entries.size()].prefix.address);
    return table;
}

void lookup(benchmark::State& state, Family family) {
    // The library calls this several times to find the number of iterations: a million prefixes are built
    // once.
    static std::map<std::pair<std::int64_t, Family>, Table> tables;
    Table& table = tables[{state.range(0), family}];
    if (table.prefixes == 0) table = make_table(static_cast<std::size_t>(state.range(0)), family);
    std::size_t i = 0;
    for (auto _ : state) {
        const IpAddress& address = table.wanted[i++ % table.wanted.size()];
        benchmark::DoNotOptimize(table.ips.find(address.bytes.data(), family == Family::v6));
    }
    state.SetItemsProcessed(state.iterations());
    state.counters["bytes_per_prefix"] =
        static_cast<double>(table.ips.memory_bytes()) / static_cast<double>(table.prefixes);
}
BENCHMARK_CAPTURE(lookup, v4, Family::v4)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(lookup, v6, Family::v6)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// --- two devices with a session
// ---------------------------------------------------------------------------------------------------------------

class SeededRandom final : public Random {
  public:
    explicit SeededRandom(std::uint64_t seed) : engine_(seed) {}
    void fill(std::span<std::byte> bytes) noexcept override {
        for (auto& byte : bytes) byte = static_cast<std::byte>(engine_() & 0xff);
    }

  private:
    std::mt19937_64 engine_;
};

class Keep final : public Outlet, public DatagramSink {
  public:
    // One after the other: nobody holds more of them than there are.
    std::span<std::byte> send_buffer() noexcept override {
        return {buffers_.get() + (next_++ % kHeldBuffersMax) * kSlotBytes, kTrainBytesMax};
    }
    void send(const Endpoint&, std::span<std::byte> bytes, std::size_t segment_bytes,
              std::uint8_t) noexcept override {
        train = bytes;
        segment = segment_bytes;
        if (keep) kept.emplace_back(bytes.begin(), bytes.end());
    }
    void write(const VnetHeader&, std::span<const iovec> pieces) noexcept override {
        ++writes;
        benchmark::DoNotOptimize(pieces.data());
    }
    Sent send(const Endpoint&, std::span<const std::byte> datagram, std::uint8_t) noexcept override {
        slow.assign(datagram.begin(), datagram.end());
        return Sent::whole;
    }
    std::span<std::byte> train;
    std::size_t segment = 0, writes = 0;
    bool keep = false;
    std::vector<Bytes> kept;
    Bytes slow;

  private:
    static constexpr std::size_t kSlotBytes = (std::size_t{64} << 10) + 4096 + 64;  // as the engines'
    std::unique_ptr<std::byte[]> buffers_{new std::byte[kHeldBuffersMax * kSlotBytes]};
    std::size_t next_ = 0;
};

IpAddress address(unsigned n) {
    const std::byte octets[4]{std::byte{10}, std::byte{0}, std::byte{0}, std::byte(n)};
    return IpAddress::v4(octets);
}

Bytes packet(std::uint8_t protocol, std::size_t payload) {
    const std::size_t header = protocol == 6 ? 20 : 8;
    Bytes out(20 + header + payload, std::byte{0x5a});
    std::memset(out.data(), 0, 20 + header);
    out[0] = std::byte{0x45};
    store_be16(&out[2], static_cast<std::uint16_t>(out.size()));
    store_be16(&out[6], ip4::kDontFragment);
    out[8] = std::byte{64};
    out[9] = std::byte(protocol);
    std::memcpy(&out[12], address(1).bytes.data(), 4);
    std::memcpy(&out[16], address(2).bytes.data(), 4);
    if (protocol == 6) {
        out[32] = std::byte{0x50};
        out[33] = std::byte{tcp::kAck};
    }
    return out;
}

struct Side {
    explicit Side(unsigned n) : random(n), number(n), device(random, aead::best(), 1) {}
    static PrivateKey key(unsigned n) {
        PrivateKey key;
        for (std::size_t i = 0; i < 32; ++i) key.writable()[i] = static_cast<std::byte>(n * 9 + i);
        clamp(key);
        return key;
    }
    void know(unsigned other) {
        DeviceChange change;
        change.private_key = key(number);
        PeerChange peer;
        peer.public_key = noise::public_key_of(key(other));
        peer.endpoint.emplace();
        peer.endpoint->address = address(100 + other);
        peer.endpoint->port = 1;
        peer.allowed_ips.push_back({{address(other), 32}});
        change.peers.push_back(std::move(peer));
        if (!device.apply(change, now)) std::abort();
        worker = std::make_unique<Worker>(device, 0, Worker::Options{});
    }
    void out(const VnetHeader& header, std::span<std::byte> bytes) {
        worker->begin(now);
        worker->from_tun({header, bytes}, outlet);
        worker->flush(outlet);
    }
    void in(std::span<std::byte> bytes, std::size_t segment) {
        worker->begin(now);
        worker->from_underlay({bytes, segment, from, 0}, outlet);
        worker->flush(outlet);
    }
    void service() {
        while (device.service(now, WallTime(std::chrono::seconds(1'700'000'000)), outlet)) {
        }
        device.take_wakeups();
        worker->begin(now);
        worker->flush_staged(outlet);
        worker->flush(outlet);
    }
    SeededRandom random;
    unsigned number;
    Keep outlet;
    Device device;
    std::unique_ptr<Worker> worker;
    Instant now{std::chrono::seconds(100)};
    Endpoint from;
};

struct Pair {
    Side a{1}, b{2};
    Pair() {
        a.know(2);
        b.know(1);
        a.from.address = address(102);
        b.from.address = address(101);
        Bytes first = packet(17, 10);
        a.out({}, first);
        a.service();
        b.in(a.outlet.slow, a.outlet.slow.size());
        b.service();
        a.in(b.outlet.slow, b.outlet.slow.size());
        a.service();
        b.in(a.outlet.train, a.outlet.segment);
        b.service();
        if (b.outlet.writes != 1) std::abort();
    }
};

VnetHeader superpacket(std::uint8_t protocol, std::size_t payload) {
    VnetHeader header;
    header.flags = VnetHeader::kNeedsChecksum;
    header.gso_type = protocol == 6 ? VnetHeader::kGsoTcp4 : VnetHeader::kGsoUdp;
    header.gso_size = static_cast<std::uint16_t>(payload);
    header.checksum_start = 20;
    header.checksum_offset = protocol == 6 ? 16 : 6;
    return header;
}

// A superpacket from the TUN device to sealed trains: cut, summed, padded, sealed. Argument: payload bytes a
// segment; 45 segments or 64 KiB.
void outward(benchmark::State& state, std::uint8_t protocol) {
    Pair pair;
    const auto segment = static_cast<std::size_t>(state.range(0));
    const std::size_t count = std::min<std::size_t>(64, 61'000 / segment);
    Bytes whole = packet(protocol, count * segment);
    const VnetHeader header = superpacket(protocol, segment);
    for (auto _ : state) pair.a.out(header, whole);
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(whole.size()));
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK_CAPTURE(outward, tcp, std::uint8_t{6})->Arg(1380);
BENCHMARK_CAPTURE(outward, udp, std::uint8_t{17})->Arg(1392)->Arg(36);

// A GRO train to one superpacket: opened, checked, joined. Trains are sealed while the clock stands.
void inward(benchmark::State& state, std::uint8_t protocol) {
    Pair pair;
    const auto segment = static_cast<std::size_t>(state.range(0));
    const std::size_t count = std::min<std::size_t>(64, 61'000 / segment);
    Bytes whole = packet(protocol, count * segment);
    const VnetHeader header = superpacket(protocol, segment);
    pair.a.outlet.keep = true;
    std::size_t next = 0;
    for (auto _ : state) {
        if (next == pair.a.outlet.kept.size()) {
            state.PauseTiming();
            pair.a.outlet.kept.clear();
            for (int i = 0; i < 64; ++i) pair.a.out(header, whole);
            next = 0;
            state.ResumeTiming();
        }
        pair.b.in(pair.a.outlet.kept[next++], pair.a.outlet.segment);
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(whole.size()));
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
    state.counters["writes_per_train"] =
        static_cast<double>(pair.b.outlet.writes - 1) / static_cast<double>(state.iterations());
}
BENCHMARK_CAPTURE(inward, tcp, std::uint8_t{6})->Arg(1380);
BENCHMARK_CAPTURE(inward, udp, std::uint8_t{17})->Arg(1392)->Arg(36);

// Another worker's thread that has nothing else to do.
class Helper {
  public:
    Helper(AeadBoard& board, bool there) : board_(board) {
        if (!there) return;
        board_.attend();
        thread_ = std::thread([this] {
            while (!stop_.load(std::memory_order_relaxed)) {
                if (!board_.help(0, aead::best())) cpu_relax();
            }
        });
    }
    ~Helper() {
        stop_ = true;
        if (!thread_.joinable()) return;
        thread_.join();
        board_.leave();
    }

  private:
    AeadBoard& board_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

constexpr std::size_t kTurnTrains = 8;  // a turn of a tunnel that is full
constexpr std::size_t kTurnSegment = 1380, kTurnSegments = 44;

// A turn of superpackets, alone or with a helper (the argument): what one tunnel gains by a second core.
void outward_turn(benchmark::State& state) {
    Pair pair;
    const Helper helper(pair.a.device.board(), state.range(0) != 0);
    std::vector<Bytes> packets(kTurnTrains, packet(6, kTurnSegments * kTurnSegment));
    const VnetHeader header = superpacket(6, kTurnSegment);
    for (auto _ : state) {
        pair.a.worker->begin(pair.a.now);
        for (Bytes& bytes : packets) pair.a.worker->from_tun({header, bytes}, pair.a.outlet);
        pair.a.worker->flush(pair.a.outlet);
    }
    state.SetBytesProcessed(state.iterations() *
                            static_cast<std::int64_t>(kTurnTrains * kTurnSegments * kTurnSegment));
    state.counters["handed_over"] = static_cast<double>(pair.a.device.board().desk(0).handed_over()) /
                                    static_cast<double>(state.iterations());
}
BENCHMARK(outward_turn)->Arg(0)->Arg(1)->UseRealTime();

void inward_turn(benchmark::State& state) {
    Pair pair;
    const Helper helper(pair.b.device.board(), state.range(0) != 0);
    Bytes whole = packet(6, kTurnSegments * kTurnSegment);
    const VnetHeader header = superpacket(6, kTurnSegment);
    pair.a.outlet.keep = true;
    std::vector<Bytes>& trains = pair.a.outlet.kept;
    std::size_t next = 0;
    for (auto _ : state) {
        if (next == trains.size()) {
            state.PauseTiming();
            trains.clear();
            for (std::size_t i = 0; i < 8 * kTurnTrains; ++i) pair.a.out(header, whole);
            next = 0;
            state.ResumeTiming();
        }
        pair.b.worker->begin(pair.b.now);
        for (std::size_t i = 0; i < kTurnTrains; ++i, ++next)
            pair.b.worker->from_underlay({trains[next], pair.a.outlet.segment, pair.b.from, 0},
                                         pair.b.outlet);
        pair.b.worker->flush(pair.b.outlet);
    }
    state.SetBytesProcessed(state.iterations() *
                            static_cast<std::int64_t>(kTurnTrains * kTurnSegments * kTurnSegment));
    state.counters["handed_over"] = static_cast<double>(pair.b.device.board().desk(0).handed_over()) /
                                    static_cast<double>(state.iterations());
}
BENCHMARK(inward_turn)->Arg(0)->Arg(1)->UseRealTime();

// 64-byte packets one by one, 64 a turn: what a busy resolver or a game sends.
void small_packets(benchmark::State& state) {
    Pair pair;
    std::vector<Bytes> packets(64, packet(17, 36));
    for (auto _ : state) {
        pair.a.worker->begin(pair.a.now);
        for (Bytes& bytes : packets) pair.a.worker->from_tun({{}, bytes}, pair.a.outlet);
        pair.a.worker->flush(pair.a.outlet);
    }
    state.SetItemsProcessed(state.iterations() * 64);
}
BENCHMARK(small_packets);

}  // namespace

BENCHMARK_MAIN();
