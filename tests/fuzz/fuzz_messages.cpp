// Handshake messages from anybody, to a device with one peer: right macs can be made by everyone who knows
// its public key, so the fuzzer makes them. No such message may move an endpoint, make a session or be
// answered but by a cookie.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "dataplane/core/device.h"
#include "dataplane/core/worker.h"

namespace {

using namespace vern;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "violated: %s\n", what);
    std::abort();
}

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

class Nowhere final : public Outlet, public DatagramSink {
  public:
    std::span<std::byte> send_buffer() noexcept override { return {}; }
    void send(const Endpoint&, std::span<std::byte>, std::size_t, std::uint8_t) noexcept override {}
    void write(const VnetHeader&, std::span<const iovec>) noexcept override {
        require(false, "nothing is delivered");
    }
    Sent send(const Endpoint&, std::span<const std::byte> datagram, std::uint8_t) noexcept override {
        require(datagram.size() == sizeof(MessageCookieReply), "only a cookie answers");
        return Sent::whole;
    }
};

PrivateKey key(unsigned n) {
    PrivateKey out;
    for (std::size_t i = 0; i < 32; ++i) out.writable()[i] = static_cast<std::byte>(n * 5 + i);
    clamp(out);
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    CountingRandom random;
    Nowhere nowhere;
    Device device(random, aead::best(), 1);
    DeviceChange change;
    change.private_key = key(1);
    PeerChange peer;
    peer.public_key = noise::public_key_of(key(2));
    change.peers.push_back(std::move(peer));
    Instant now{std::chrono::seconds(10)};
    require(device.apply(change, now).has_value(), "configuration");
    const auto worker = std::make_unique<Worker>(device, 0, Worker::Options{});
    const MacKeys ours = MacKeys::of(noise::public_key_of(key(1)));
    Endpoint from;
    const std::byte octets[4]{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    from.address = IpAddress::v4(octets);

    const std::uint8_t how = data[0];
    const unsigned times = how & 0x80 ? 140 : 1;  // often enough to be load
    std::vector<std::byte> message(reinterpret_cast<const std::byte*>(data) + 1,
                                   reinterpret_cast<const std::byte*>(data) + size);
    if (how & 1 && message.size() >= 148) message.resize(148);
    if (how & 2 && message.size() >= 92) message.resize(92);
    if (how & 4 && message.size() >= 64) message.resize(64);
    if (how & 8 && message.size() >= 36) CookieJar().add_macs(message, ours, now);
    worker->begin(now);
    for (unsigned i = 0; i < times; ++i) worker->from_underlay({message, message.size(), from, 0}, nowhere);
    worker->flush(nowhere);
    while (device.service(now, WallTime(std::chrono::seconds(1'700'000'000)), nowhere)) {
    }
    const Peer& known = *device.snapshot().peers[0];
    require(!known.endpoint.known(), "no endpoint moves");
    require(!known.current && !known.next && !known.previous, "no session");
    require(device.sessions().used() == 0, "no index stays taken");
    device.dispose(device.take_retired());
    return 0;
}
