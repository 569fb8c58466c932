#include "tunnel_farm.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "crypto/cookie.h"

namespace vern::bench {
namespace {

constexpr std::size_t kPacketBytesMax = 2048;
constexpr std::size_t kUnderWay = 32;  // handshakes at a time: fewer than make the daemon ask for cookies
constexpr std::size_t kTurn = 64;
constexpr std::uint32_t kNetwork = 10u << 24 | 200u << 16;

void must(bool holds, const char* what) {
    if (holds) return;
    std::perror(what);
    std::exit(1);
}

template <typename Message>
std::span<std::byte> bytes_of(Message& message) {
    return std::as_writable_bytes(std::span(&message, 1));
}

}  // namespace

TunnelFarm::TunnelFarm(const std::string& tun, std::size_t peers, Random& random)
    : random_(random), aead_(aead::best()), peers_(peers), packet_(kPacketBytesMax) {
    tun_.reset(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    ifreq request{};
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    tun.copy(request.ifr_name, IFNAMSIZ - 1);
    must(tun_ && ::ioctl(tun_.get(), TUNSETIFF, &request) == 0, "tun");
    udp_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    must(static_cast<bool>(udp_), "socket");
    const int bytes = 8 << 20;
    ::setsockopt(udp_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    for (Peer& peer : peers_) {
        PrivateKey key;
        random_.fill(key.writable());
        clamp(key);
        peer.identity = noise::identity_of(key);
    }
}

in_addr TunnelFarm::address(std::size_t peer) { return {htonl(kNetwork + static_cast<std::uint32_t>(peer))}; }

std::string TunnelFarm::peers_conf() const {
    std::string text;
    for (std::size_t i = 0; i < peers_.size(); ++i) {
        char address[INET_ADDRSTRLEN];
        const in_addr at = TunnelFarm::address(i);
        ::inet_ntop(AF_INET, &at, address, sizeof address);
        text += "[Peer]\nPublicKey = " + to_base64(key(i).bytes) + "\nAllowedIPs = " + address + "/32\n";
    }
    return text;
}

void TunnelFarm::handshake(const PublicKey& daemon, const sockaddr_in& endpoint) {
    must(::connect(udp_.get(), reinterpret_cast<const sockaddr*>(&endpoint), sizeof endpoint) == 0,
         "connect");
    std::size_t begun = 0, done = 0;
    while (done < peers_.size()) {
        while (begun < peers_.size() && begun < done + kUnderWay) initiate(begun++, daemon);
        pollfd ready{.fd = udp_.get(), .events = POLLIN, .revents = 0};
        if (::poll(&ready, 1, 1000) == 1) {
            done += take_response();
            continue;
        }
        for (std::size_t i = 0; i < begun; ++i) {  // lost, or refused for its timestamp
            if (!peers_[i].established) initiate(i, daemon);
        }
    }
}

void TunnelFarm::initiate(std::size_t number, const PublicKey& daemon) {
    Peer& peer = peers_[number];
    SharedSecret shared;
    PrivateKey ephemeral;
    random_.fill(ephemeral.writable());
    clamp(ephemeral);
    MessageInitiation message;
    const auto time = noise::timestamp_at(
        std::chrono::time_point_cast<WallTime::duration>(std::chrono::system_clock::now()));
    must(noise::x25519(shared, peer.identity.private_key, daemon) &&
             noise::create_initiation(message, peer.handshake, peer.identity, daemon, shared, ephemeral, time,
                                      static_cast<std::uint32_t>(number)),
         "initiation");
    CookieJar().add_macs(bytes_of(message), MacKeys::of(daemon), Instant{});
    must(::send(udp_.get(), &message, sizeof message, 0) == sizeof message, "send");
}

// A keepalive follows: the daemon sends nothing in a session before the initiator has.
bool TunnelFarm::take_response() {
    MessageResponse message;
    if (::recv(udp_.get(), &message, sizeof message, 0) != sizeof message ||
        message.header.type != static_cast<std::uint32_t>(MessageType::response) ||
        message.receiver_index >= peers_.size())
        return false;
    Peer& peer = peers_[message.receiver_index];
    if (peer.established ||
        !noise::consume_response(message, peer.handshake, peer.identity, PresharedKey(), peer.keys))
        return false;
    peer.their_index = message.sender_index;
    peer.established = true;
    send(peer, 0);
    return true;
}

void TunnelFarm::send(Peer& peer, std::size_t bytes) {
    std::byte* const plain = packet_.data() + kDataHeaderBytes;
    const std::size_t padded = (bytes + kPaddingMultiple - 1) / kPaddingMultiple * kPaddingMultiple;
    std::memset(plain + bytes, 0, padded - bytes);
    MessageDataHeader header;
    header.header.type = static_cast<std::uint32_t>(MessageType::data);
    header.receiver_index = peer.their_index;
    header.counter = peer.sent;
    std::memcpy(packet_.data(), &header, sizeof header);
    const aead::SealJob job{.key = peer.keys.sending.span().data(),
                            .counter = peer.sent++,
                            .plain = plain,
                            .sealed = plain,
                            .length = static_cast<std::uint32_t>(padded)};
    aead_.seal(std::span(&job, 1));
    (void)::send(udp_.get(), packet_.data(), kDataOverheadBytes + padded, 0);
}

void TunnelFarm::carry() {
    carry_out();
    carry_in();
}

void TunnelFarm::carry_out() {
    for (std::size_t i = 0; i < kTurn; ++i) {
        const ssize_t got = ::read(tun_.get(), packet_.data() + kDataHeaderBytes,
                                   kPacketBytesMax - kDataOverheadBytes - kPaddingMultiple);
        if (got <= 0) return;
        in_addr source{};
        std::memcpy(&source, packet_.data() + kDataHeaderBytes + 12, sizeof source);
        const std::size_t peer = ntohl(source.s_addr) - kNetwork;
        if (got >= 20 && peer < peers_.size()) send(peers_[peer], static_cast<std::size_t>(got));
    }
}

void TunnelFarm::carry_in() {
    for (std::size_t i = 0; i < kTurn; ++i) {
        const ssize_t got = ::recv(udp_.get(), packet_.data(), packet_.size(), 0);
        if (got < 0) return;
        MessageDataHeader header;
        if (static_cast<std::size_t>(got) <= kDataOverheadBytes) continue;  // a keepalive
        std::memcpy(&header, packet_.data(), sizeof header);
        if (header.header.type != static_cast<std::uint32_t>(MessageType::data) ||
            header.receiver_index >= peers_.size())
            continue;
        std::byte* const sealed = packet_.data() + kDataHeaderBytes;
        aead::OpenJob job{
            .key = peers_[header.receiver_index].keys.receiving.span().data(),
            .counter = header.counter,
            .sealed = sealed,
            .length = static_cast<std::uint32_t>(static_cast<std::size_t>(got) - kDataOverheadBytes),
            .authentic = false};
        aead_.open(std::span(&job, 1));
        if (!job.authentic || job.length < 20) continue;
        const std::size_t bytes =
            std::to_integer<std::size_t>(sealed[2]) << 8 | std::to_integer<std::size_t>(sealed[3]);
        if (bytes <= job.length) (void)!::write(tun_.get(), sealed, bytes);
    }
}

}  // namespace vern::bench
