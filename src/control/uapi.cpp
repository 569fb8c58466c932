#include "control/uapi.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "control/text.h"
#include "crypto/noise.h"

namespace vern {
namespace {

constexpr std::size_t kHexKeyCharacters = 2 * kKeyBytes;

// --- reading ---

struct Line {
    std::string_view key;
    std::string_view value;
    unsigned number = 0;
};

// Takes lines off `rest`. A line without its end of line counts as one: the end may have been cut off with
// the empty line after it.
class Lines {
  public:
    explicit Lines(std::string_view body) : rest_(body) {}

    bool done() const { return rest_.empty(); }

    Result<Line> next() {
        ++number_;
        const auto end = rest_.find('\n');
        const std::string_view text = rest_.substr(0, end);
        rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
        if (text.size() > kUapiLineBytesMax)
            return fail("line " + std::to_string(number_) + ": too long", EMSGSIZE);
        const auto equals = text.find('=');
        if (equals == std::string_view::npos || equals == 0) {
            return fail("line " + std::to_string(number_) + ": not of the form key=value", EPROTO);
        }
        return Line{text.substr(0, equals), text.substr(equals + 1), number_};
    }

  private:
    std::string_view rest_;
    unsigned number_ = 0;
};

tl::unexpected<Error> refuse(const Line& line, const std::string& what, int code = EINVAL) {
    return fail("line " + std::to_string(line.number) + ": " + printable(line.key, 32) + ": " + what, code);
}

Result<void> read_true(const Line& line, bool& flag) {
    if (line.value != "true") return refuse(line, "can only be 'true'");
    flag = true;
    return {};
}

template <std::unsigned_integral T, typename Out>
Result<void> read_number(const Line& line, Out& out) {
    const auto value = parse_decimal<T>(line.value);
    if (!value)
        return refuse(line, "not a number from 0 to " + std::to_string(std::numeric_limits<T>::max()));
    out = *value;
    return {};
}

template <typename Key>
Result<void> read_secret(const Line& line, std::optional<Key>& out) {
    Key key;
    if (!from_hex(line.value, key.writable())) return refuse(line, "not a key (64 hexadecimal digits)");
    out = std::move(key);
    return {};
}

Result<PublicKey> read_public_key(const Line& line) {
    PublicKey key;
    if (!from_hex(line.value, key.bytes)) return refuse(line, "not a key (64 hexadecimal digits)");
    return key;
}

Result<Endpoint> read_endpoint(const Line& line) {
    auto endpoint = parse_endpoint(line.value);
    if (!endpoint) return refuse(line, endpoint.error().message, endpoint.error().code);
    return endpoint;
}

Result<Prefix> read_prefix(const Line& line, std::string_view text) {
    const auto prefix = text.find('/') == std::string_view::npos ? std::nullopt : parse_prefix(text);
    if (!prefix) return refuse(line, "'" + printable(text) + "' is not a prefix (address/length)");
    return *prefix;
}

Result<void> read_allowed_ip(const Line& line, PeerChange& peer) {
    AllowedIpChange change;
    std::string_view text = line.value;
    if (text.starts_with('-')) {
        change.remove = true;
        text.remove_prefix(1);
    }
    auto prefix = read_prefix(line, text);
    if (!prefix) return tl::unexpected(prefix.error());
    change.prefix = *prefix;
    peer.allowed_ips.push_back(change);
    return {};
}

Result<void> read_device_line(const Line& line, DeviceChange& change) {
    if (line.key == "private_key") {
        auto read = read_secret(line, change.private_key);
        if (read && !change.private_key->is_zero()) clamp(*change.private_key);
        return read;
    }
    if (line.key == "listen_port") return read_number<std::uint16_t>(line, change.listen_port);
    if (line.key == "fwmark") return read_number<std::uint32_t>(line, change.fwmark);
    if (line.key == "replace_peers") return read_true(line, change.replace_peers);
    return refuse(line, "no such key before the first public_key");
}

Result<void> read_peer_line(const Line& line, PeerChange& peer) {
    if (line.key == "allowed_ip") return read_allowed_ip(line, peer);
    if (line.key == "preshared_key") return read_secret(line, peer.preshared_key);
    if (line.key == "replace_allowed_ips") return read_true(line, peer.replace_allowed_ips);
    if (line.key == "persistent_keepalive_interval")
        return read_number<std::uint16_t>(line, peer.persistent_keepalive_s);
    if (line.key == "remove") return read_true(line, peer.remove);
    if (line.key == "update_only") return read_true(line, peer.update_only);
    if (line.key == "endpoint") {
        auto endpoint = read_endpoint(line);
        if (!endpoint) return tl::unexpected(endpoint.error());
        peer.endpoint = *endpoint;
        return {};
    }
    if (line.key == "protocol_version") {
        if (line.value != "1") return refuse(line, "only version 1 is spoken here", EPROTONOSUPPORT);
        return {};
    }
    return refuse(line, "no such key of a peer");
}

// What a get answer says of a handshake comes in two lines.
struct HandshakeTime {
    std::uint64_t seconds = 0;
    std::uint64_t nanoseconds = 0;

    std::optional<WallTime> time() const {
        constexpr std::uint64_t kSecondsMax = 9'000'000'000;  // what 64 bits of nanoseconds hold
        if (seconds == 0 && nanoseconds == 0) return std::nullopt;
        const auto whole = std::chrono::seconds(static_cast<std::int64_t>(std::min(seconds, kSecondsMax)));
        const auto part = std::chrono::nanoseconds(static_cast<std::int64_t>(nanoseconds % 1'000'000'000));
        return WallTime(whole + part);
    }
};

Result<void> read_device_status(const Line& line, DeviceStatus& status) {
    if (line.key == "listen_port") return read_number<std::uint16_t>(line, status.listen_port);
    if (line.key == "fwmark") return read_number<std::uint32_t>(line, status.fwmark);
    if (line.key != "private_key") return {};
    auto read = read_secret(line, status.private_key);
    if (!read) return read;
    if (status.private_key->is_zero()) {
        status.private_key.reset();
    } else {
        status.public_key = noise::public_key_of(*status.private_key);
    }
    return {};
}

Result<void> read_peer_status(const Line& line, PeerStatus& peer, HandshakeTime& handshake) {
    if (line.key == "allowed_ip") {
        auto prefix = read_prefix(line, line.value);
        if (!prefix) return tl::unexpected(prefix.error());
        peer.allowed_ips.push_back(*prefix);
        return {};
    }
    if (line.key == "preshared_key") {
        std::optional<PresharedKey> key;
        auto read = read_secret(line, key);
        if (read) peer.preshared_key = std::move(*key);
        return read;
    }
    if (line.key == "endpoint") {
        auto endpoint = read_endpoint(line);
        if (!endpoint) return tl::unexpected(endpoint.error());
        peer.endpoint = *endpoint;
        return {};
    }
    if (line.key == "last_handshake_time_sec") return read_number<std::uint64_t>(line, handshake.seconds);
    if (line.key == "last_handshake_time_nsec")
        return read_number<std::uint64_t>(line, handshake.nanoseconds);
    if (line.key == "rx_bytes") return read_number<std::uint64_t>(line, peer.receive_bytes);
    if (line.key == "tx_bytes") return read_number<std::uint64_t>(line, peer.transmit_bytes);
    if (line.key == "persistent_keepalive_interval")
        return read_number<std::uint16_t>(line, peer.persistent_keepalive_s);
    return {};
}

// --- writing ---

void put(SecretText& out, std::string_view key, std::span<const std::byte, kKeyBytes> bytes) {
    out.append(key).push_back('=');
    const std::size_t at = out.size();
    out.resize(at + kHexKeyCharacters + 1);
    // It ends its text with a zero byte, which the end of line then takes the place of.
    sodium_bin2hex(out.data() + at, kHexKeyCharacters + 1,
                   reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    out.back() = '\n';
}

template <std::unsigned_integral T>
void put(SecretText& out, std::string_view key, T value) {
    out.append(key).push_back('=');
    append_decimal(out, value);
    out.push_back('\n');
}

template <typename T>
requires(std::same_as<T, Endpoint> || std::same_as<T, Prefix>) void put(SecretText& out, std::string_view key,
                                                                        const T& value) {
    out.append(key).push_back('=');
    append_text(out, value);
    out.push_back('\n');
}

void put_status(SecretText& out, const PeerStatus& peer) {
    put(out, "public_key", peer.public_key.bytes);
    // Left out when there is none: older `wg` takes a key of zeros for one that is set.
    if (!peer.preshared_key.is_zero()) put(out, "preshared_key", peer.preshared_key.span());
    out += "protocol_version=1\n";
    if (peer.endpoint.known()) put(out, "endpoint", peer.endpoint);
    const auto since_epoch = peer.latest_handshake.value_or(WallTime{}).time_since_epoch();
    const auto nanoseconds =
        static_cast<std::uint64_t>(std::max(since_epoch, std::chrono::nanoseconds::zero()).count());
    put(out, "last_handshake_time_sec", nanoseconds / 1'000'000'000);
    put(out, "last_handshake_time_nsec", nanoseconds % 1'000'000'000);
    put(out, "tx_bytes", peer.transmit_bytes);
    put(out, "rx_bytes", peer.receive_bytes);
    put(out, "persistent_keepalive_interval", peer.persistent_keepalive_s);
    for (const Prefix& prefix : peer.allowed_ips) put(out, "allowed_ip", prefix);
}

void put_change(SecretText& out, const PeerChange& peer) {
    put(out, "public_key", peer.public_key.bytes);
    if (peer.remove) out += "remove=true\n";
    if (peer.update_only) out += "update_only=true\n";
    if (peer.preshared_key) put(out, "preshared_key", peer.preshared_key->span());
    if (peer.endpoint && peer.endpoint->known()) put(out, "endpoint", *peer.endpoint);
    if (peer.persistent_keepalive_s) put(out, "persistent_keepalive_interval", *peer.persistent_keepalive_s);
    if (peer.replace_allowed_ips) out += "replace_allowed_ips=true\n";
    for (const AllowedIpChange& change : peer.allowed_ips) {
        out += change.remove ? "allowed_ip=-" : "allowed_ip=";
        append_text(out, change.prefix);
        out.push_back('\n');
    }
}

// Room for about everything at once: growing copies, and each copy must be wiped.
template <typename Peers>
std::size_t expected_size(const Peers& peers) {
    std::size_t bytes = 256;
    for (const auto& peer : peers) bytes += 420 + 64 * peer.allowed_ips.size();
    return bytes;
}

}  // namespace

Result<DeviceChange> parse_uapi_set(std::string_view body) {
    DeviceChange change;
    std::size_t prefixes = 0;
    for (Lines lines(body); !lines.done();) {
        const auto line = lines.next();
        if (!line) return tl::unexpected(line.error());
        if (line->key == "public_key") {
            const auto key = read_public_key(*line);
            if (!key) return tl::unexpected(key.error());
            if (change.peers.size() == kPeersMax) return refuse(*line, "too many peers", E2BIG);
            change.peers.emplace_back().public_key = *key;
            continue;
        }
        if (line->key == "allowed_ip" && ++prefixes > kAllowedIpsMax)
            return refuse(*line, "too many prefixes", E2BIG);
        auto read = change.peers.empty() ? read_device_line(*line, change)
                                         : read_peer_line(*line, change.peers.back());
        if (!read) return tl::unexpected(std::move(read.error()));
    }
    return change;
}

SecretText format_uapi_get(const DeviceStatus& status) {
    SecretText out;
    out.reserve(expected_size(status.peers));
    if (status.private_key && !status.private_key->is_zero())
        put(out, "private_key", status.private_key->span());
    if (status.listen_port != 0) put(out, "listen_port", status.listen_port);
    if (status.fwmark != 0) put(out, "fwmark", status.fwmark);
    for (const PeerStatus& peer : status.peers) put_status(out, peer);
    return out;
}

SecretText format_uapi_set(const DeviceChange& change) {
    SecretText out;
    out.reserve(expected_size(change.peers));
    if (change.private_key) put(out, "private_key", change.private_key->span());
    if (change.listen_port) put(out, "listen_port", *change.listen_port);
    if (change.fwmark) put(out, "fwmark", *change.fwmark);
    if (change.replace_peers) out += "replace_peers=true\n";
    for (const PeerChange& peer : change.peers) put_change(out, peer);
    return out;
}

Result<DeviceStatus> parse_uapi_get(std::string_view body) {
    DeviceStatus status;
    HandshakeTime handshake;
    const auto finish_peer = [&] {
        if (!status.peers.empty()) status.peers.back().latest_handshake = handshake.time();
        handshake = {};
    };
    for (Lines lines(body); !lines.done();) {
        const auto line = lines.next();
        if (!line) return tl::unexpected(line.error());
        if (line->key == "public_key") {
            const auto key = read_public_key(*line);
            if (!key) return tl::unexpected(key.error());
            finish_peer();
            status.peers.emplace_back().public_key = *key;
            continue;
        }
        auto read = status.peers.empty() ? read_device_status(*line, status)
                                         : read_peer_status(*line, status.peers.back(), handshake);
        if (!read) return tl::unexpected(std::move(read.error()));
    }
    finish_peer();
    return status;
}

}  // namespace vern
