// Fuzz targets for the data plane's core: what comes from the network and from the TUN device. One source,
// several entries.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>

#include "dataplane/core/coalescer.h"
#include "dataplane/core/device.h"
#include "dataplane/core/segmenter.h"
#include "dataplane/core/worker.h"

namespace {

using namespace vern;
using Bytes = std::vector<std::byte>;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "violated: %s\n", what);
    std::abort();
}

class Reader {
  public:
    Reader(const std::uint8_t* data, std::size_t size)
        : left_(reinterpret_cast<const std::byte*>(data), size) {}
    std::uint8_t u8() { return static_cast<std::uint8_t>(take(1).empty() ? 0 : last_); }
    std::uint16_t u16() {
        const unsigned high = u8();
        return static_cast<std::uint16_t>(high << 8 | u8());
    }
    Bytes take(std::size_t n) {
        n = std::min(n, left_.size());
        Bytes out(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(n));
        if (n > 0) last_ = std::to_integer<std::uint8_t>(out[0]);
        left_ = left_.subspan(n);
        return out;
    }
    bool empty() const { return left_.empty(); }
    std::size_t size() const { return left_.size(); }

  private:
    std::span<const std::byte> left_;
    std::uint8_t last_ = 0;
};

class CountingRandom final : public Random {
  public:
    void fill(std::span<std::byte> bytes) noexcept override {
        for (auto& byte : bytes)
            byte =
                static_cast<std::byte>((state_ = state_ * 6364136223846793005U + 1442695040888963407U) >> 56);
    }

  private:
    std::uint64_t state_ = 1;
};

class Collect final : public Outlet, public DatagramSink {
  public:
    std::span<std::byte> send_buffer() noexcept override { return {buffer_.get(), kTrainBytesMax}; }
    void send(const Endpoint&, std::span<std::byte> train, std::size_t segment,
              std::uint8_t) noexcept override {
        require(segment > 0 && train.size() <= kSendBytesMax &&
                    (train.size() + segment - 1) / segment <= kSendSegmentsMax,
                "limits of a send");
        trains.emplace_back(train.begin(), train.end());
        segments.push_back(segment);
    }
    void write(const VnetHeader& header, std::span<const iovec> pieces) noexcept override {
        require(!pieces.empty() && pieces.size() <= kWritePiecesMax, "limits of a write");
        Bytes out;
        for (const iovec& piece : pieces) {
            const auto* from = static_cast<const std::byte*>(piece.iov_base);
            out.insert(out.end(), from, from + piece.iov_len);
        }
        require(out.size() <= kTrainBytesMax, "size of a write");
        headers.push_back(header);
        written.push_back(std::move(out));
    }
    Sent send(const Endpoint&, std::span<const std::byte> datagram, std::uint8_t) noexcept override {
        slow.emplace_back(datagram.begin(), datagram.end());
        return Sent::whole;
    }
    void clear() {
        trains.clear();
        segments.clear();
        written.clear();
        headers.clear();
        slow.clear();
    }
    std::vector<Bytes> trains, written, slow;
    std::vector<std::size_t> segments;
    std::vector<VnetHeader> headers;

  private:
    std::unique_ptr<std::byte[]> buffer_{new std::byte[kTrainBytesMax]};
};

Endpoint endpoint(unsigned n) {
    const std::byte octets[4] = {std::byte{192}, std::byte{0}, std::byte{2}, std::byte(n)};
    Endpoint out;
    out.address = IpAddress::v4(octets);
    out.port = 1000;
    return out;
}

PrivateKey key(unsigned n) {
    PrivateKey out;
    for (std::size_t i = 0; i < 32; ++i) out.writable()[i] = static_cast<std::byte>(n * 5 + i);
    clamp(out);
    return out;
}

// Two hosts with a live session; any address is the other's.
struct Pair {
    struct Side {
        explicit Side(unsigned n) : device(random, *aead::find("libsodium"), 1), number(n) {}
        void know(const Side& other) {
            DeviceChange change;
            change.private_key = key(number);
            PeerChange peer;
            peer.public_key = noise::public_key_of(key(other.number));
            peer.endpoint = endpoint(other.number);
            for (const Family family : {Family::v4, Family::v6}) {
                IpAddress any;
                any.family = family;
                peer.allowed_ips.push_back({{any, 0}});
            }
            change.peers.push_back(std::move(peer));
            require(device.apply(change, now).has_value(), "configuration");
            worker = std::make_unique<Worker>(device, 0, Worker::Options{});
        }
        void receive(Bytes bytes, std::size_t segment, const Endpoint& from, std::uint8_t ecn = 0) {
            worker->begin(now);
            worker->from_underlay({bytes, segment == 0 ? bytes.size() : segment, from, ecn}, out);
            worker->flush(out);
        }
        void service() {
            while (device.service(now, WallTime(std::chrono::seconds(1'700'000'000)), out)) {
            }
            device.take_wakeups();
            worker->begin(now);
            worker->flush_staged(out);
            worker->flush(out);
            device.dispose(device.take_retired());
        }
        CountingRandom random;
        Collect out;
        Device device;
        std::unique_ptr<Worker> worker;
        unsigned number;
        Instant now{std::chrono::seconds(100)};
    };
    Side a{1}, b{2};

    Pair() {
        a.know(b);
        b.know(a);
        Bytes packet(20);
        packet[0] = std::byte{0x45};
        packet[3] = std::byte{20};
        a.worker->begin(a.now);
        a.worker->from_tun({{}, packet}, a.out);
        a.worker->flush(a.out);
        a.service();
        b.receive(a.out.slow.at(0), 0, endpoint(1));
        b.service();
        initiation = a.out.slow.at(0);
        response = b.out.slow.at(0);
        a.receive(response, 0, endpoint(2));
        a.service();
        b.receive(a.out.trains.at(0), 0, endpoint(1));
        b.service();
        require(b.out.written.size() == 1, "the session lives");
        a.out.clear();
        b.out.clear();
    }
    Bytes initiation, response;
};

}  // namespace

// Datagram trains against a live session: authentic ones, forged ones, replays, cut at will. Only what a
// sent, unchanged and once, comes out.
extern "C" int fuzz_from_underlay(const std::uint8_t* data, std::size_t size) {
    Pair pair;
    Reader in(data, size);
    std::vector<Bytes> genuine;
    const Endpoint stranger = endpoint(66);
    std::uint32_t sent = 0, last_delivered = 0;
    std::set<std::uint32_t> delivered;
    while (!in.empty()) {
        const std::uint8_t what = in.u8();
        const std::uint8_t ecn = what >> 6;
        switch (what & 7) {
            case 0:
            case 1: {  // a sends a packet that carries its number
                Bytes packet(24 + in.u8());
                packet[0] = std::byte{0x45};
                store_be16(&packet[2], static_cast<std::uint16_t>(packet.size()));
                store_be32(&packet[20], ++sent);
                pair.a.worker->begin(pair.a.now);
                pair.a.worker->from_tun({{}, packet}, pair.a.out);
                pair.a.worker->flush(pair.a.out);
                for (Bytes& train : pair.a.out.trains) genuine.push_back(std::move(train));
                pair.a.out.clear();
                break;
            }
            case 2:
            case 3: {  // one of them arrives, perhaps again
                if (genuine.empty()) break;
                pair.b.receive(genuine[in.u8() % genuine.size()], 0, endpoint(1), 0);
                break;
            }
            case 4: {  // one of them, with bytes changed and cut at will
                if (genuine.empty()) break;
                Bytes forged = genuine[in.u8() % genuine.size()];
                const Bytes mask = in.take(1 + in.u8() % 8);
                const std::size_t at = in.u8() % forged.size();
                bool changed = false;
                for (std::size_t i = 0; i < mask.size() && at + i < forged.size(); ++i) {
                    forged[at + i] ^= mask[i];
                    changed |= mask[i] != std::byte{0};
                }
                if (changed) pair.b.receive(forged, in.u16(), stranger, ecn);
                break;
            }
            case 5: {  // a plain lie under the right index
                Bytes lie = in.take(in.u16() % 3000);
                if (lie.size() >= 8 && !genuine.empty()) {
                    std::memcpy(lie.data(), genuine[0].data(), 8);
                    pair.b.receive(lie, in.u16(), stranger, ecn);
                }
                break;
            }
            case 6: pair.b.receive(in.take(in.u16() % 3000), in.u16(), stranger, ecn); break;
            case 7:
                pair.b.now += std::chrono::milliseconds(in.u8());
                pair.b.service();
                break;
        }
        for (const Bytes& packet : pair.b.out.written) {
            require(packet.size() >= 24, "only a's packets");
            last_delivered = load_be32(&packet[20]);
            require(last_delivered >= 1 && last_delivered <= sent, "only what a sent");
            require(delivered.insert(last_delivered).second, "nothing twice");
        }
        pair.b.out.clear();
    }
    require(!(pair.b.device.status().peers[0].endpoint == stranger), "no endpoint moves for a stranger");
    return 0;
}

// Arbitrary packets and virtio headers from the TUN device: whatever is sent opens on the other side and is
// delivered or counted there.
extern "C" int fuzz_from_tun(const std::uint8_t* data, std::size_t size) {
    Pair pair;
    Reader in(data, size);
    pair.a.device.set_mtu(in.u16());
    while (!in.empty()) {
        VnetHeader header;
        header.flags = in.u8();
        header.gso_type = in.u8();
        header.gso_size = in.u16();
        header.checksum_start = in.u16();
        header.checksum_offset = in.u16();
        Bytes packet = in.take(in.u16());
        if (header.gso_size < 8 && packet.size() > 4000) continue;  // only slow
        pair.a.worker->begin(pair.a.now);
        pair.a.worker->from_tun({header, packet}, pair.a.out);
        pair.a.worker->flush(pair.a.out);
        for (std::size_t i = 0; i < pair.a.out.trains.size(); ++i)
            pair.b.receive(pair.a.out.trains[i], pair.a.out.segments[i], endpoint(1));
        pair.a.out.clear();
        pair.b.out.clear();
    }
    require(pair.b.worker->counters()[Counter::bad_tag] == 0, "all that is sent is authentic");
    require(pair.b.worker->counters()[Counter::replayed] == 0, "no counter twice");
    return 0;
}

// A superpacket that can be cut, cut and joined: the bytes that the stack reads are the same.
extern "C" int fuzz_segments(const std::uint8_t* data, std::size_t size) {
    Reader in(data, size);
    VnetHeader header;
    header.flags = VnetHeader::kNeedsChecksum;
    header.gso_type = in.u8();
    header.gso_size = in.u16();
    header.checksum_start = in.u8();
    header.checksum_offset = in.u8();
    Bytes packet = in.take(in.size());
    const auto parsed = InnerPacket::parse(packet);
    if (!parsed || (header.gso_size < 8 && packet.size() > 4000)) return 0;
    const auto plan = Segmenter::plan(*parsed, header);
    if (!plan) return 0;
    std::vector<Bytes> parts;
    std::size_t total = 0;
    Collect out;
    Coalescer coalescer(true, true);
    for (std::size_t i = 0; i < plan->count(); ++i) {
        parts.emplace_back(plan->size(i));
        plan->write(i, parts.back().data());
        total += parts.back().size();
    }
    require(plan->count() == 1 || total >= parsed->length, "nothing is lost in cutting");
    std::vector<Bytes> before, after;
    for (Bytes& part : parts) {
        const Bytes copy = part;
        const auto segment = InnerPacket::parse(part);
        if (!segment) continue;
        before.emplace_back(copy.begin(), copy.begin() + static_cast<std::ptrdiff_t>(segment->length));
        coalescer.add(*segment, out);
    }
    coalescer.flush(out);
    // One flow, so in order; cut again, each is what it was.
    for (std::size_t i = 0; i < out.written.size(); ++i) {
        const auto again = InnerPacket::parse(out.written[i]);
        require(again.has_value() && again->length == out.written[i].size(), "what is written is a packet");
        const auto cut = Segmenter::plan(*again, out.headers[i]);
        require(cut.has_value(), "what is written can be cut");
        for (std::size_t k = 0; k < cut->count(); ++k) {
            after.emplace_back(cut->size(k));
            cut->write(k, after.back().data());
        }
    }
    require(before == after, "the same packets in the same order");
    return 0;
}

extern "C" int fuzz_inner_packet(const std::uint8_t* data, std::size_t size) {
    Bytes bytes(reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
    bytes.shrink_to_fit();
    auto packet = InnerPacket::parse(bytes);
    if (!packet) return 0;
    require(packet->length <= size && packet->header_bytes <= packet->length && packet->header_bytes >= 20,
            "within what is there");
    const bool valid = packet->v6 || packet->ip4_checksum_valid();
    const std::uint8_t tos = packet->tos();
    packet->set_ecn(3);
    require(packet->tos() == (tos | 3), "only the ECN bits change");
    require(!valid || packet->v6 || packet->ip4_checksum_valid(), "the header checksum follows");
    (void)packet->pseudo_header_sum(packet->protocol(), packet->length - packet->header_bytes);
    return 0;
}

extern "C" int FUZZ_ENTRY(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return FUZZ_ENTRY(data, size);
}
