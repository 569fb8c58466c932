#include "attacker.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "host.h"
#include "world.h"

namespace vern::sim {
namespace {

template <typename Message>
std::vector<std::byte> bytes_of(const Message& message) {
    const auto bytes = std::as_bytes(std::span(&message, 1));
    return {bytes.begin(), bytes.end()};
}

template <typename Message>
Message random_message(Rng& rng, MessageType type) {
    Message message;
    rng.fill(std::as_writable_bytes(std::span(&message, 1)));
    message.header.type = static_cast<std::uint32_t>(type);
    return message;
}

}  // namespace

void Attacker::begin() {
    place_ = world_.network.fresh_place();
    PrivateKey key;
    world_.rng.fill(key.writable());
    clamp(key);
    keys_ = noise::identity_of(key);
    active_ = true;
    if (world_.profile.attack_interval > 0)
        world_.agenda.in(world_.rng.range(0, world_.profile.attack_interval), [this] { tick(); });
}

void Attacker::tick() {
    static constexpr std::array kKinds{Fault::replay,
                                       Fault::replay,
                                       Fault::stale_replay,
                                       Fault::bit_flip,
                                       Fault::cut,
                                       Fault::extended,
                                       Fault::garbage,
                                       Fault::empty_datagram,
                                       Fault::forged_counter,
                                       Fault::forged_initiation,
                                       Fault::unknown_initiator,
                                       Fault::forged_timestamp,
                                       Fault::forged_response,
                                       Fault::forged_cookie,
                                       Fault::authentic_cookie,
                                       Fault::oversized_datagram,
                                       Fault::flood,
                                       Fault::cookie_flood};
    if (!active_) return;
    Rng& rng = world_.rng;
    Host& target = world_.host(rng.below(world_.host_count()));
    for (auto left = rng.range(1, 3); left > 0; --left) {
        const Fault how = kKinds[rng.below(kKinds.size())];
        const bool flood = how == Fault::flood || how == Fault::cookie_flood;
        if (flood ? world_.profile.floods && rng.chance(0.5) : world_.profile.may(how)) attack(target, how);
    }
    world_.agenda.in(rng.range(kMillisecond, 2 * world_.profile.attack_interval), [this] { tick(); });
}

void Attacker::attack(Host& target, Fault how) {
    Rng& rng = world_.rng;
    switch (how) {
        case Fault::replay:
            if (const Datagram* one = overheard(0)) replay(*one);
            return;
        case Fault::stale_replay:
            if (const auto& fallen = world_.network.fallen(); !fallen.empty()) {
                const auto older = [](const Datagram& a, const Datagram& b) { return a.wire < b.wire; };
                replay(rng.chance(0.5) ? *std::min_element(fallen.begin(), fallen.end(), older)
                                       : fallen[rng.below(fallen.size())]);
            }
            return;
        case Fault::bit_flip:
        case Fault::cut:
        case Fault::extended:
        case Fault::forged_counter: return change(target, how);
        case Fault::garbage: {
            std::vector<std::byte> bytes(rng.below(rng.chance(0.3) ? 8 : 300) + 1);
            rng.fill(bytes);
            if (rng.chance(0.8)) {
                static constexpr std::array<std::size_t, 4> kLengths{148, 92, 64, 32};
                const auto type = rng.below(4);
                if (rng.chance(0.5)) bytes.resize(kLengths[type]);
                if (bytes.size() >= 4) {
                    std::memset(bytes.data(), 0, 4);
                    bytes[0] = static_cast<std::byte>(type + 1);
                }
            }
            return send(target, std::move(bytes), how, from_anywhere());
        }
        case Fault::empty_datagram: return send(target, {}, how, from_anywhere());
        case Fault::oversized_datagram:
            return send(target, std::vector<std::byte>(65507), how, from_anywhere());
        case Fault::forged_initiation: return forge_initiation(target, from_anywhere(), how);
        case Fault::unknown_initiator: return introduce(target, from_anywhere());
        case Fault::forged_timestamp: return forge_timestamp();
        case Fault::forged_response: return forge_response();
        case Fault::forged_cookie:
        case Fault::authentic_cookie: return forge_cookie(how);
        default: return flood(target, how == Fault::cookie_flood);
    }
}

const Datagram* Attacker::overheard(std::uint8_t type) const {
    const auto& ring = world_.network.overheard();
    if (ring.empty()) return nullptr;
    const std::size_t begin = world_.rng.below(ring.size());
    for (std::size_t i = 0; i < ring.size(); ++i) {
        const Datagram& one = ring[(begin + i) % ring.size()];
        if (type == 0 || std::to_integer<std::uint8_t>(one.bytes[0]) == type) return &one;
    }
    return nullptr;
}

Place Attacker::from_anywhere() {
    const auto choice = world_.rng.below(3);
    Place place = choice == 0   ? place_
                  : choice == 1 ? world_.network.fresh_place()
                                : world_.host(world_.rng.below(world_.host_count())).place();
    if (world_.rng.chance(0.02)) place.port = 0;
    return place;
}

void Attacker::send(Host& target, std::vector<std::byte> bytes, Fault how, const Place& from,
                    std::uint64_t wire, std::uint8_t ecn) {
    world_.coverage.add(how);
    world_.trace.add(world_.now(), Event::hostile, target.id(), static_cast<std::uint64_t>(how),
                     bytes.size());
    world_.network.inject({std::move(bytes), from, target.place(), ecn, wire},
                          world_.rng.range(0, 10 * kMillisecond));
}

void Attacker::replay(const Datagram& datagram) {
    Host* target = world_.host_at(datagram.to);
    const WireRecord* record = world_.ledger.wire(datagram.wire);
    if (!target || !record) return;
    const bool stale = world_.now() - record->at >= nanos(kRejectAfterTime);
    // What has not arrived yet may be taken when it comes from elsewhere; that is the network's doing as much
    // as the attacker's.
    const bool race = record->accepted == 0 && !stale;
    if (race) world_.ledger.order_may_change();
    const Place from = world_.rng.chance(0.3) ? datagram.from : from_anywhere();
    for (auto times = world_.rng.range(1, 3); times > 0; --times)
        send(*target, datagram.bytes,
             stale  ? Fault::stale_replay
             : race ? Fault::race_replay
                    : Fault::replay,
             from, datagram.wire, datagram.ecn);
}

void Attacker::change(Host& target, Fault how) {
    const Datagram* one = overheard(how == Fault::forged_counter ? 4 : 0);
    if (!one) return;
    Rng& rng = world_.rng;
    std::vector<std::byte> bytes = one->bytes;
    Host* meant = world_.host_at(one->to);
    Host& to = meant ? *meant : target;
    std::uint64_t wire = kForged;
    switch (how) {
        case Fault::bit_flip:
            if (flip_a_bit(bytes, rng)) wire = one->wire;
            break;
        case Fault::cut: bytes.resize(rng.below(bytes.size())); break;
        case Fault::extended: bytes.resize(bytes.size() + rng.below(64) + 1); break;
        default: {
            MessageDataHeader header;
            std::memcpy(&header, bytes.data(), sizeof header);
            header.counter =
                rng.chance(0.5) ? UINT64_MAX - rng.below(10000) : header.counter + 1 + rng.below(20000);
            std::memcpy(bytes.data(), &header, sizeof header);
        }
    }
    send(to, std::move(bytes), how, rng.chance(0.5) ? one->from : from_anywhere(), wire);
}

void Attacker::forge_initiation(Host& target, const Place& from, Fault how) {
    auto message = random_message<MessageInitiation>(world_.rng, MessageType::initiation);
    CookieJar().add_macs(std::as_writable_bytes(std::span(&message, 1)), MacKeys::of(target.public_key()),
                         instant(world_.now()));
    send(target, bytes_of(message), how, from);
}

// A right handshake by a key that nobody configured.
void Attacker::introduce(Host& target, const Place& from) {
    SharedSecret shared;
    if (!noise::x25519(shared, keys_.private_key, target.public_key())) return;
    PrivateKey ephemeral;
    world_.rng.fill(ephemeral.writable());
    clamp(ephemeral);
    MessageInitiation message;
    noise::Initiator state;
    if (!noise::create_initiation(message, state, keys_, target.public_key(), shared, ephemeral,
                                  noise::timestamp_at(target.wall()), 7))
        return;
    CookieJar().add_macs(std::as_writable_bytes(std::span(&message, 1)), MacKeys::of(target.public_key()),
                         instant(world_.now()));
    send(target, bytes_of(message), Fault::unknown_initiator, from);
}

void Attacker::forge_timestamp() {
    const Datagram* one = overheard(1);
    Host* target = one ? world_.host_at(one->to) : nullptr;
    if (!target || one->bytes.size() != sizeof(MessageInitiation)) return;
    MessageInitiation message;
    std::memcpy(&message, one->bytes.data(), sizeof message);
    message.encrypted_timestamp[world_.rng.below(message.encrypted_timestamp.size())] ^= std::byte{4};
    CookieJar().add_macs(std::as_writable_bytes(std::span(&message, 1)), MacKeys::of(target->public_key()),
                         instant(world_.now()));
    send(*target, bytes_of(message), Fault::forged_timestamp, from_anywhere());
}

void Attacker::forge_response() {
    const Datagram* one = overheard(1);
    const WireRecord* record = one ? world_.ledger.wire(one->wire) : nullptr;
    if (!record || record->sender >= world_.host_count()) return;
    Host& target = world_.host(record->sender);
    auto message = random_message<MessageResponse>(world_.rng, MessageType::response);
    message.receiver_index = record->index;
    CookieJar().add_macs(std::as_writable_bytes(std::span(&message, 1)), MacKeys::of(target.public_key()),
                         instant(world_.now()));
    send(target, bytes_of(message), Fault::forged_response, from_anywhere());
}

// Cookies are made with public keys only: whoever sees an initiation can answer it. That may delay a
// handshake under load, and nothing else.
void Attacker::forge_cookie(Fault how) {
    const Datagram* one = overheard(1);
    const WireRecord* record = one ? world_.ledger.wire(one->wire) : nullptr;
    if (!record || record->sender >= world_.host_count() || record->meant_for >= world_.host_count()) return;
    Host& target = world_.host(record->sender);
    Rng& rng = world_.rng;
    auto message = random_message<MessageCookieReply>(rng, MessageType::cookie_reply);
    message.receiver_index = record->index;
    if (how == Fault::authentic_cookie) {
        CookieChecker checker(world_.host(record->meant_for).public_key());
        std::array<std::byte, 32> secret;
        std::array<std::byte, kCookieNonceBytes> nonce;
        rng.fill(secret);
        rng.fill(nonce);
        checker.renew(secret, instant(world_.now()));
        CookieSource source;
        source.length = 6;
        message = checker.reply(one->bytes, record->index, source, nonce);
    }
    send(target, bytes_of(message), how, from_anywhere());
}

// Enough to put the slow path under load, sometimes more than its queue takes. With a cookie: from an address
// that answers, so that the limit a source comes into play.
void Attacker::flood(Host& target, bool with_cookie) {
    Rng& rng = world_.rng;
    const auto size = rng.chance(0.1) ? rng.range(1100, 1600) : rng.range(150, 350);
    const Place from = place_;
    for (std::int64_t i = 0; i < size; ++i) {
        auto message = random_message<MessageInitiation>(rng, MessageType::initiation);
        if (i % 8 == 0) {
            CookieJar().add_macs(std::as_writable_bytes(std::span(&message, 1)),
                                 MacKeys::of(target.public_key()), instant(world_.now()));
        }
        world_.network.inject({bytes_of(message), from, target.place(), 0, kForged},
                              rng.range(0, kMillisecond));
    }
    world_.coverage.add(with_cookie ? Fault::cookie_flood : Fault::flood);
    world_.trace.add(world_.now(), Event::hostile, target.id(), static_cast<std::uint64_t>(Fault::flood),
                     static_cast<std::uint64_t>(size));
    if (!with_cookie) return;
    auto message = random_message<MessageInitiation>(rng, MessageType::initiation);
    jar_ = {};
    jar_.add_macs(std::as_writable_bytes(std::span(&message, 1)), MacKeys::of(target.public_key()),
                  instant(world_.now()));
    wants_cookie_of_ = target.id();
    wants_until_ = world_.now() + kSecond;
    world_.network.inject({bytes_of(message), from, target.place(), 0, kForged}, kMillisecond);
}

void Attacker::caught(const Datagram& datagram) {
    if (!active_ || !wants_cookie_of_ || world_.now() > wants_until_ || !(datagram.to == place_) ||
        datagram.bytes.size() != sizeof(MessageCookieReply))
        return;
    Host& target = world_.host(*wants_cookie_of_);
    const MacKeys macs = MacKeys::of(target.public_key());
    MessageCookieReply reply;
    std::memcpy(&reply, datagram.bytes.data(), sizeof reply);
    if (!jar_.consume(reply, macs, instant(world_.now()))) return;
    wants_cookie_of_.reset();
    for (int i = 0; i < 10; ++i) {
        auto message = random_message<MessageInitiation>(world_.rng, MessageType::initiation);
        jar_.add_macs(std::as_writable_bytes(std::span(&message, 1)), macs, instant(world_.now()));
        world_.network.inject({bytes_of(message), place_, target.place(), 0, kForged},
                              world_.rng.range(0, 20 * kMillisecond));
    }
}

}  // namespace vern::sim
