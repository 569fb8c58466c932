// Rules, packets and changes of policy, all from the input: what the gate lets begin is what the rules allow,
// read from top to bottom; what it lets go on began so; and no packet of it leads outside of itself. The
// packets are arbitrary bytes behind an IP header whose length holds.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "dataplane/policy/gate.h"
#include "dataplane/policy/reject.h"

namespace {

using namespace vern;
using namespace vern::policy;
using Bytes = std::vector<std::byte>;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "violated: %s\n", what);
    std::abort();
}

class Reader {
  public:
    Reader(const std::uint8_t* data, std::size_t size) : left_(data, size) {}
    std::uint8_t u8() {
        if (left_.empty()) return 0;
        const std::uint8_t value = left_[0];
        left_ = left_.subspan(1);
        return value;
    }
    std::uint16_t u16() {
        const unsigned high = u8();
        return static_cast<std::uint16_t>(high << 8 | u8());
    }
    bool empty() const { return left_.empty(); }

  private:
    std::span<const std::uint8_t> left_;
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

PublicKey key_of(unsigned number) {
    PublicKey key;
    key.bytes[0] = static_cast<std::byte>(number + 1);
    return key;
}

// Few enough bits that rules and packets meet.
IpAddress address(std::uint8_t bits, bool v6) {
    IpAddress out;
    out.family = v6 ? Family::v6 : Family::v4;
    out.bytes[0] = v6 ? std::byte{0xfd} : std::byte{10};
    out.bytes[v6 ? 15 : 3] = static_cast<std::byte>(bits & 0x83);
    return out;
}

Rule read_rule(Reader& in) {
    Rule rule;
    const std::uint8_t what = in.u8();
    rule.direction = (what & 1) != 0 ? Direction::in : Direction::out;
    rule.action = static_cast<Action>((what >> 1 & 3) % 3);
    if ((what & 8) != 0) rule.peers = what >> 4 & 3;
    const std::uint8_t more = in.u8();
    const auto prefix = [&](bool v6) {
        Prefix out{address(in.u8(), v6), 0};
        static constexpr std::uint8_t k4[] = {0, 8, 25, 32}, k6[] = {0, 16, 121, 128};
        const std::uint8_t which = in.u8() & 3;
        out.length = v6 ? k6[which] : k4[which];
        for (unsigned bit = out.length; bit < (v6 ? 128U : 32U); ++bit)
            out.address.bytes[bit / 8] &= ~std::byte(0x80 >> (bit % 8));
        return out;
    };
    if ((more & 1) != 0) rule.remote.push_back(prefix((more & 2) != 0));
    if ((more & 4) != 0) rule.local.push_back(prefix((more & 2) != 0));
    if ((more & 8) != 0) {
        static constexpr std::uint16_t kProtocols[] = {6, 17, 1, 58, 47, Service::kAnyProtocol, 17, 6};
        Service service;
        service.protocol = kProtocols[in.u8() & 7];
        if (service.protocol != 47 && service.protocol != Service::kAnyProtocol) {
            const std::uint16_t a = in.u16(), b = in.u16();
            service.first_port = std::min(a, b);
            service.last_port = std::max(a, b);
        }
        rule.services.push_back(service);
    }
    if ((more & 16) != 0) rule.expires = Instant(std::chrono::seconds(1000 + in.u8()));
    if ((more & 32) != 0 && rule.action != Action::allow) rule.observe = true;
    rule.log = (more & 64) != 0;
    return rule;
}

bool within(const std::vector<Prefix>& prefixes, const std::array<std::byte, 16>& wanted, bool v6) {
    if (prefixes.empty()) return true;
    for (const Prefix& prefix : prefixes) {
        if ((prefix.address.family == Family::v6) != v6) continue;
        bool same = true;
        for (unsigned bit = 0; bit < prefix.length; ++bit)
            same &= ((prefix.address.bytes[bit / 8] ^ wanted[bit / 8]) & std::byte(0x80 >> (bit % 8))) ==
                    std::byte{0};
        if (same) return true;
    }
    return false;
}

bool allowed(const RuleSet& set, Direction direction, unsigned peer, const FlowKey& key, std::uint16_t port,
             Instant now) {
    for (const bool allow : {false, true}) {
        for (const Rule& rule : set.rules) {
            if ((rule.action == Action::allow) != allow || rule.direction != direction || rule.observe)
                continue;
            if (rule.expires && now >= *rule.expires) continue;
            if (rule.peers != kAnyPeer && std::ranges::count(set.peer_sets[rule.peers], key_of(peer)) == 0)
                continue;
            if (!within(rule.remote, key.remote, key.v6) || !within(rule.local, key.local, key.v6)) continue;
            bool served = rule.services.empty();
            for (const Service& one : rule.services)
                served |= (one.protocol == Service::kAnyProtocol || one.protocol == key.protocol) &&
                          port >= one.first_port && port <= one.last_port;
            if (served) return allow;
        }
    }
    return false;
}

// An IP header whose addresses and length hold; the rest is the input's.
Bytes read_packet(Reader& in, bool& v6) {
    const std::uint8_t what = in.u8();
    v6 = (what & 1) != 0;
    Bytes packet((v6 ? 40U : 20U) + in.u8() % 96U);
    for (std::size_t i = v6 ? 40 : 20; i < packet.size(); ++i) packet[i] = static_cast<std::byte>(in.u8());
    const auto from = address(in.u8(), v6), to = address(in.u8(), v6);
    if (v6) {
        packet[0] = std::byte{0x60};
        store_be16(&packet[4], static_cast<std::uint16_t>(packet.size() - 40));
        packet[6] = static_cast<std::byte>(in.u8());
        std::memcpy(&packet[8], from.bytes.data(), 16);
        std::memcpy(&packet[24], to.bytes.data(), 16);
    } else {
        const std::size_t options = (what >> 1 & 3) * 4U;
        packet[0] = static_cast<std::byte>(0x45 + (packet.size() >= 20 + options ? options / 4 : 0));
        store_be16(&packet[2], static_cast<std::uint16_t>(packet.size()));
        packet[9] = static_cast<std::byte>(in.u8());
        if ((what & 8) != 0) store_be16(&packet[6], in.u16());
        std::memcpy(&packet[12], from.bytes.data(), 4);
        std::memcpy(&packet[16], to.bytes.data(), 4);
    }
    packet.shrink_to_fit();
    return packet;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Reader in(data, size);
    CountingRandom random;
    const auto tables = std::move(*Tables::make(64, 1, random));
    Counters counters;
    Gate gate(0, counters);
    Instant now(std::chrono::seconds(1000));
    std::unique_ptr<const Policy> policy;
    std::uint32_t generation = 0;
    std::uint64_t refused = 0;
    while (!in.empty()) {
        if (!policy || in.u8() % 16 == 0) {
            RuleSet set;
            set.generation = ++generation;
            set.peer_sets = {{}, {key_of(0)}, {key_of(0), key_of(1)}, {key_of(1)}};
            for (unsigned rules = in.u8() % 12; rules > 0; --rules) set.rules.push_back(read_rule(in));
            auto compiled = Policy::compile(std::move(set), 1);
            require(compiled.has_value(), "such rules compile");
            policy = std::move(*compiled);
        }
        now += std::chrono::milliseconds(in.u8() * 50);
        const unsigned peer = in.u8() & 1;
        const Direction direction = (in.u8() & 1) != 0 ? Direction::in : Direction::out;
        bool v6 = false;
        Bytes bytes = read_packet(in, v6);
        const auto packet = InnerPacket::parse(bytes);
        require(packet.has_value(), "the header holds");

        Transport transport;
        const auto refusal = parse_transport(*packet, transport);
        FlowKey key;
        key.v6 = v6;
        key.protocol = transport.protocol;
        const bool inwards = direction == Direction::in;
        std::memcpy(key.remote.data(), inwards ? packet->source() : packet->destination(),
                    packet->address_bytes());
        std::memcpy(key.local.data(), inwards ? packet->destination() : packet->source(),
                    packet->address_bytes());
        const std::size_t flows_before = tables->flows->size();
        gate.begin(policy.get(), tables.get(), now);
        const Verdict verdict = gate.judge(direction, {100 + peer, policy->class_of(key_of(peer))}, *packet);
        refused += verdict == Verdict::pass ? 0 : 1;
        require(gate.refused(Direction::in) + gate.refused(Direction::out) == refused,
                "what does not pass is counted");
        require(!refusal || verdict != Verdict::pass, "what cannot be read does not pass");
        if (!refusal && transport.fragment != Fragment::later && verdict == Verdict::pass &&
            tables->flows->size() > flows_before)
            require(allowed(policy->rules(), direction, peer, key, transport.service_port(), now),
                    "what begins is allowed");
        if (!refusal && !transport.is_fragment() && !transport.icmp && transport.protocol != kTcp &&
            verdict != Verdict::pass && tables->flows->size() == flows_before && flows_before < 60)
            require(!allowed(policy->rules(), direction, peer, key, transport.service_port(), now),
                    "what is allowed begins");
        if (verdict == Verdict::reject) {
            std::array<std::byte, kRejectBytesMax> out;
            const std::size_t length = write_reject(*packet, gate.transport(), out);
            require(length == 0 || InnerPacket::parse(std::span(out).first(length)).has_value(),
                    "an answer is a packet");
        }
    }
    return 0;
}
