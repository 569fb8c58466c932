// Policies for the tests, and a classifier that is slow, linear and obvious: what the real one must agree
// with.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>
#include <vector>

#include "../core/packets.h"
#include "dataplane/policy/gate.h"

namespace vern::policy::test {

using namespace vern::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

class TestRandom final : public Random {
  public:
    explicit TestRandom(std::uint64_t seed = 1) : engine_(seed) {}
    void fill(std::span<std::byte> bytes) noexcept override {
        for (auto& byte : bytes) byte = static_cast<std::byte>(engine_() & 0xff);
    }

  private:
    std::mt19937_64 engine_;
};

inline PublicKey key_of(unsigned number) {
    PublicKey key;
    store_be32(key.bytes.data(), number * 2654435761U);
    store_be32(key.bytes.data() + 28, number);
    return key;
}

inline Prefix prefix(const IpAddress& address, unsigned length) {
    return {address, static_cast<std::uint8_t>(length)};
}

inline Service tcp_port(unsigned first, unsigned last = 0) {
    return {6, static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last == 0 ? first : last)};
}
inline Service udp_port(unsigned first, unsigned last = 0) {
    return {17, static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last == 0 ? first : last)};
}

inline Rule rule(Action action, Direction direction, std::vector<Service> services = {}) {
    static std::uint64_t next_id = 1;
    Rule out;
    out.id = next_id++;
    out.action = action;
    out.direction = direction;
    out.services = std::move(services);
    return out;
}
inline Rule allow_in(std::vector<Service> services = {}) {
    return rule(Action::allow, Direction::in, std::move(services));
}
inline Rule allow_out(std::vector<Service> services = {}) {
    return rule(Action::allow, Direction::out, std::move(services));
}

inline RuleSet rule_set(std::vector<Rule> rules, std::uint32_t generation = 1) {
    RuleSet set;
    set.generation = generation;
    set.rules = std::move(rules);
    return set;
}

inline std::vector<Rule> nothing() { return {}; }

inline std::unique_ptr<const Policy> compile(RuleSet set, unsigned workers = 1) {
    auto policy = Policy::compile(std::move(set), workers);
    EXPECT_TRUE(policy) << policy.error().message;
    return policy ? std::move(*policy) : nullptr;
}
inline std::string error_of(RuleSet set) {
    const auto policy = Policy::compile(std::move(set), 1);
    return policy ? "" : policy.error().message;
}

// What rules.h says, read from top to bottom.
namespace reference {

inline bool within(const Prefix& prefix, const std::array<std::byte, 16>& address, bool v6) {
    if (prefix.address.family != (v6 ? Family::v6 : Family::v4)) return false;
    for (unsigned bit = 0; bit < prefix.length; ++bit) {
        const auto mask = std::byte(0x80 >> (bit % 8));
        if ((address[bit / 8] & mask) != (prefix.address.bytes[bit / 8] & mask)) return false;
    }
    return true;
}

inline bool within_any(const std::vector<Prefix>& prefixes, const std::array<std::byte, 16>& address,
                       bool v6) {
    if (prefixes.empty()) return true;
    for (const Prefix& prefix : prefixes) {
        if (within(prefix, address, v6)) return true;
    }
    return false;
}

inline bool serves(const std::vector<Service>& services, std::uint8_t protocol, std::uint16_t port) {
    if (services.empty()) return true;
    for (const Service& service : services) {
        if (service.protocol != Service::kAnyProtocol && service.protocol != protocol) continue;
        if (port >= service.first_port && port <= service.last_port) return true;
    }
    return false;
}

inline bool matches(const RuleSet& set, const Rule& rule, Direction direction, const PublicKey& peer,
                    const FlowKey& key, std::uint16_t port) {
    if (rule.direction != direction) return false;
    if (rule.peers != kAnyPeer) {
        bool member = false;
        for (const PublicKey& one : set.peer_sets[rule.peers]) member |= one == peer;
        if (!member) return false;
    }
    return within_any(rule.remote, key.remote, key.v6) && within_any(rule.local, key.local, key.v6) &&
           serves(rule.services, key.protocol, port);
}

// All rules that match, in order of precedence, by index.
inline std::vector<std::uint32_t> all(const RuleSet& set, Direction direction, const PublicKey& peer,
                                      const FlowKey& key, std::uint16_t port) {
    std::vector<std::uint32_t> out;
    for (const bool allow : {false, true}) {
        for (std::uint32_t i = 0; i < set.rules.size(); ++i) {
            if ((set.rules[i].action == Action::allow) == allow &&
                matches(set, set.rules[i], direction, peer, key, port))
                out.push_back(i);
        }
    }
    return out;
}

// Whether a new flow passes now, rates apart: those are always thought to have a token.
inline bool allowed(const RuleSet& set, Direction direction, const PublicKey& peer, const FlowKey& key,
                    std::uint16_t port, Instant now) {
    for (const std::uint32_t i : all(set, direction, peer, key, port)) {
        const Rule& rule = set.rules[i];
        if (rule.expires && now >= *rule.expires) continue;
        if (rule.observe) continue;
        return rule.action == Action::allow;
    }
    return false;
}

}  // namespace reference

// Rules drawn at random over few enough addresses, ports and peers that they meet each other.
class RandomRules {
  public:
    explicit RandomRules(std::uint64_t seed) : random_(seed) {}

    std::uint64_t below(std::uint64_t n) { return random_() % n; }
    bool chance(unsigned percent) { return below(100) < percent; }

    IpAddress address(bool v6) {
        if (v6) {
            const auto low = static_cast<unsigned>(below(8));
            return vern::test::v6({0xfd00, static_cast<unsigned>(below(2)), 0, 0,
                                   static_cast<unsigned>(below(2)) << 15, 0, 0, low});
        }
        return vern::test::v4(10, static_cast<unsigned>(below(2)), static_cast<unsigned>(below(2)) << 7,
                              static_cast<unsigned>(below(8)));
    }
    Prefix prefix() {
        const bool v6 = chance(40);
        static constexpr unsigned k4[] = {0, 8, 15, 16, 17, 24, 30, 31, 32};
        static constexpr unsigned k6[] = {0, 16, 31, 32, 63, 64, 65, 125, 128};
        Prefix out{address(v6), static_cast<std::uint8_t>(v6 ? k6[below(9)] : k4[below(9)])};
        for (unsigned bit = out.length; bit < (v6 ? 128U : 32U); ++bit)
            out.address.bytes[bit / 8] &= ~std::byte(0x80 >> (bit % 8));
        return out;
    }
    std::vector<Prefix> prefixes() {
        std::vector<Prefix> out;
        if (chance(40)) return out;
        for (auto n = 1 + below(3); n > 0; --n) out.push_back(prefix());
        return out;
    }
    std::uint16_t port() {
        return static_cast<std::uint16_t>(chance(10) ? (chance(50) ? 0 : 65535) : 20 + below(12));
    }
    std::vector<Service> services() {
        std::vector<Service> out;
        if (chance(30)) return out;
        for (auto n = 1 + below(4); n > 0; --n) {
            static constexpr std::uint16_t kProtocols[] = {6, 6, 17, 1, 58, 47, Service::kAnyProtocol};
            Service service;
            service.protocol = kProtocols[below(7)];
            const bool whole =
                service.protocol == 47 || service.protocol == Service::kAnyProtocol || chance(20);
            if (!whole) {
                const auto a = port(), b = port();
                service.first_port = std::min(a, b);
                service.last_port = std::max(a, b);
                if (service.protocol == 1 || service.protocol == 58) {
                    service.first_port = static_cast<std::uint16_t>(below(256) << 8);
                    service.last_port = static_cast<std::uint16_t>(
                        std::min<std::uint64_t>(65535, service.first_port + below(9000)));
                }
            }
            out.push_back(service);
        }
        return out;
    }
    RuleSet rules(std::size_t count, std::uint32_t generation, std::size_t peers = 6) {
        RuleSet set;
        set.generation = generation;
        set.peer_sets.resize(8);
        for (std::size_t i = 1; i < set.peer_sets.size(); ++i) {  // the first one is empty
            for (unsigned peer = 0; peer < peers; ++peer) {
                if (chance(40)) set.peer_sets[i].push_back(key_of(peer));
            }
        }
        for (std::size_t i = 0; i < count; ++i) {
            Rule one;
            one.id = generation * 1000 + i;
            one.direction = chance(50) ? Direction::in : Direction::out;
            one.action = chance(70) ? Action::allow : chance(70) ? Action::deny : Action::reject;
            one.peers = chance(50) ? kAnyPeer : static_cast<std::uint32_t>(below(set.peer_sets.size()));
            one.remote = prefixes();
            one.local = prefixes();
            one.services = services();
            if (one.action == Action::allow && chance(15))
                one.rate = Rate{5, seconds(1), 3, Rate::Scope::source};
            if (chance(15)) one.expires = Instant(seconds(1000 + below(100)));
            if (one.action != Action::allow && chance(20)) one.observe = true;
            set.rules.push_back(std::move(one));
        }
        return set;
    }
    FlowKey key(std::uint8_t protocol) {
        FlowKey out;
        out.v6 = protocol == 58 || (protocol != 1 && chance(40));
        out.remote = address(out.v6).bytes;
        out.local = address(out.v6).bytes;
        out.protocol = protocol;
        return out;
    }
    std::uint8_t protocol() {
        static constexpr std::uint8_t kProtocols[] = {6, 6, 6, 17, 17, 1, 58, 47, 50};
        return kProtocols[below(std::size(kProtocols))];
    }

  private:
    std::mt19937_64 random_;
};

// A gate with its tables; packets and time by hand.
struct GateTest : ::testing::Test {
    static constexpr std::uint64_t kPeer = 7, kOther = 8;
    explicit GateTest(std::size_t flows_max = 4096)
        : tables(std::move(*Tables::make(flows_max, 2, random))) {}

    void use(RuleSet set) {
        if (set.generation <= last_generation) set.generation = last_generation + 1;
        last_generation = set.generation;
        retired.push_back(std::move(policy));
        policy = compile(std::move(set), 2);
    }
    void use(std::vector<Rule> rules) { use(rule_set(std::move(rules))); }

    Verdict judge(Direction direction, const Bytes& bytes, std::uint64_t peer = kPeer, Gate* by = nullptr) {
        Bytes copy = bytes;
        copy.shrink_to_fit();  // a sanitizer sees one byte too many
        const auto packet = InnerPacket::parse(copy);
        EXPECT_TRUE(packet);
        Gate& one = by ? *by : gate;
        one.begin(policy.get(), tables.get(), now);
        const Verdict verdict = one.judge(direction, {peer, policy->class_of(peer_keys(peer))}, *packet);
        return verdict;
    }
    // The name of the counter that counted, or "pass".
    std::string why(Direction direction, const Bytes& bytes, std::uint64_t peer = kPeer) {
        std::array<std::uint64_t, kCounterCount> before;
        for (std::size_t i = 0; i < kCounterCount; ++i) before[i] = counters[static_cast<Counter>(i)];
        if (judge(direction, bytes, peer) == Verdict::pass) return "pass";
        for (std::size_t i = 0; i < kCounterCount; ++i) {
            const auto name = kCounterInfo[i].name;
            if (counters[static_cast<Counter>(i)] != before[i] && name != "policy_log_suppressed" &&
                name != "policy_flow_evicted" && name != "policy_would_deny")
                return std::string(name);
        }
        return "not counted";
    }
    bool in(const Bytes& bytes, std::uint64_t peer = kPeer) {
        return judge(Direction::in, bytes, peer) == Verdict::pass;
    }
    bool out(const Bytes& bytes, std::uint64_t peer = kPeer) {
        return judge(Direction::out, bytes, peer) == Verdict::pass;
    }
    static PublicKey peer_keys(std::uint64_t serial) {
        return vern::policy::test::key_of(static_cast<unsigned>(serial));
    }

    std::vector<LogRecord> logged() {
        std::vector<LogRecord> out_records;
        LogRecord record;
        while (tables->logs[0]->pop(record)) out_records.push_back(record);
        return out_records;
    }

    const IpAddress remote = v4(10, 0, 0, 1), local = v4(10, 100, 0, 1);
    const IpAddress remote6 = vern::test::v6({0xfd00, 0, 0, 0, 0, 0, 0, 1}),
                    local6 = vern::test::v6({0xfd01, 0, 0, 0, 0, 0, 0, 1});

    PacketSpec spec(Direction direction, std::uint8_t protocol, unsigned remote_port, unsigned local_port,
                    bool with_v6 = false) const {
        PacketSpec out_spec;
        const bool inwards = direction == Direction::in;
        out_spec.v6 = with_v6;
        out_spec.protocol = protocol;
        out_spec.from = with_v6 ? (inwards ? remote6 : local6) : (inwards ? remote : local);
        out_spec.to = with_v6 ? (inwards ? local6 : remote6) : (inwards ? local : remote);
        out_spec.source_port = static_cast<std::uint16_t>(inwards ? remote_port : local_port);
        out_spec.destination_port = static_cast<std::uint16_t>(inwards ? local_port : remote_port);
        out_spec.payload = 10;
        return out_spec;
    }
    Bytes tcp(Direction direction, std::uint8_t flags, unsigned remote_port = 40000, unsigned local_port = 22,
              bool with_v6 = false) const {
        PacketSpec out_spec = spec(direction, 6, remote_port, local_port, with_v6);
        out_spec.flags = flags;
        return build(out_spec);
    }
    Bytes udp(Direction direction, unsigned remote_port = 40000, unsigned local_port = 53,
              bool with_v6 = false) const {
        return build(spec(direction, 17, remote_port, local_port, with_v6));
    }
    Bytes echo(Direction direction, bool request, std::uint16_t id = 5, bool with_v6 = false) const {
        PacketSpec out_spec = spec(direction, with_v6 ? 58 : 1, 0, 0, with_v6);
        out_spec.payload = 16;
        Bytes packet = build(out_spec);
        std::byte* at = &packet[transport_at(out_spec)];
        at[0] = std::byte(with_v6 ? (request ? 128 : 129) : (request ? 8 : 0));
        at[1] = std::byte{0};
        store_be16(at + 4, id);
        return packet;
    }
    // An ICMP error in `direction` that quotes `quoted`, addressed to whose packet that was.
    Bytes error(Direction direction, const Bytes& quoted, std::uint8_t type, std::uint8_t code = 0,
                std::size_t quote = 28) const {
        const bool with_v6 = std::to_integer<unsigned>(quoted[0]) >> 4 == 6;
        PacketSpec out_spec = spec(direction, with_v6 ? 58 : 1, 0, 0, with_v6);
        const std::size_t quoted_bytes = std::min(quoted.size(), with_v6 ? quote + 20 : quote);
        out_spec.payload = 8 + quoted_bytes;
        Bytes packet = build(out_spec);
        std::byte* at = &packet[transport_at(out_spec)];
        std::memset(at, 0, 8);
        at[0] = std::byte(type);
        at[1] = std::byte(code);
        std::memcpy(at + 8, quoted.data(), quoted_bytes);
        return packet;
    }

    TestRandom random;
    std::unique_ptr<Tables> tables;
    Counters counters;
    std::uint64_t out_sender = 0;  // whose peer's what goes out is, passed on by this host; 0: its own
    Gate gate{0, counters, {this, [](const void* test, const InnerPacket&) noexcept {
                                return static_cast<const GateTest*>(test)->out_sender;
                            }}};
    std::unique_ptr<const Policy> policy;
    std::vector<std::unique_ptr<const Policy>> retired;
    std::uint32_t last_generation = 0;
    Instant now{seconds(1000)};
};

inline constexpr auto kIn = Direction::in;
inline constexpr auto kOut = Direction::out;
inline constexpr std::uint8_t kSyn = vern::tcp::kSyn, kAck = vern::tcp::kAck, kFin = vern::tcp::kFin,
                              kRst = vern::tcp::kRst, kPsh = vern::tcp::kPsh, kSynAck = kSyn | kAck,
                              kFinAck = kFin | kAck;

}  // namespace vern::policy::test
