#include "gate_world.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "dataplane/policy/gate.h"
#include "dataplane/policy/reject.h"
#include "gate_model.h"
#include "rng.h"

namespace vern::sim {
namespace {

constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17;
constexpr unsigned kPeers = 5;
constexpr int kPackets = 6000;
constexpr std::size_t kHeaderBytes = 20, kTransportBytes = 20;
constexpr Instant kBegin{std::chrono::hours(1)};

class SeededRandom final : public Random {
  public:
    explicit SeededRandom(std::uint64_t seed) : rng_(seed) {}
    void fill(std::span<std::byte> bytes) noexcept override {
        for (auto& byte : bytes) byte = static_cast<std::byte>(rng_.next());
    }

  private:
    Rng rng_;
};

PublicKey key_of(unsigned peer) {
    PublicKey key;
    store_be32(key.bytes.data(), peer * 2654435761U);
    return key;
}
std::uint32_t address_of(unsigned host) { return 10U << 24 | host << 8 | 1; }

void write_ip4(std::byte* at, unsigned from, unsigned to, std::uint8_t protocol, std::size_t bytes) {
    at[0] = std::byte{0x45};
    store_be16(at + ip4::kTotalLength, static_cast<std::uint16_t>(bytes));
    at[ip4::kTtl] = std::byte{64};
    at[ip4::kProtocol] = std::byte{protocol};
    store_be32(at + ip4::kSource, address_of(from));
    store_be32(at + ip4::kDestination, address_of(to));
}

void write_transport(std::byte* at, std::uint16_t source_port, std::uint16_t destination_port,
                     std::uint8_t flags) {
    store_be16(at, source_port);
    store_be16(at + 2, destination_port);
    at[tcp::kOffset] = std::byte{5 << 4};
    at[tcp::kFlags] = std::byte{flags};
}

std::vector<std::byte> bytes_of(const ModelPacket& packet) {
    const std::size_t payload = packet.is_fragment() ? packet.end - packet.begin
                                : packet.quotes      ? 8 + kHeaderBytes + 8
                                                     : kTransportBytes;
    std::vector<std::byte> bytes(kHeaderBytes + payload);
    write_ip4(bytes.data(), packet.from, packet.to, packet.protocol, bytes.size());
    store_be16(&bytes[ip4::kId], packet.id);
    store_be16(&bytes[ip4::kFragment],
               static_cast<std::uint16_t>(packet.begin / 8 | (packet.more ? 0x2000U : 0U)));
    std::byte* const at = &bytes[kHeaderBytes];
    if (packet.quotes) {
        at[0] = std::byte{3};
        at[1] = std::byte{1};
        write_ip4(at + 8, packet.quoted_from, packet.quoted_to, packet.quoted_protocol, 40);
        store_be16(at + 8 + kHeaderBytes, packet.source_port);
        store_be16(at + 8 + kHeaderBytes + 2, packet.destination_port);
    } else if (packet.begin == 0) {
        write_transport(at, packet.source_port, packet.destination_port, packet.tcp_flags);
    }
    return bytes;
}

class GateWorld {
  public:
    GateWorld(std::uint64_t seed, Plant plant)
        : rng_(mix(seed)),
          random_(seed),
          plant_(plant),
          cap_(rng_.index(2) == 0 ? 4 + rng_.index(30) : 1000) {}

    GateOutcome run() {
        restart();
        change();
        for (int i = 0; i < kPackets && !outcome_.violation; ++i) {
            now_ += std::chrono::milliseconds(rng_.below(10) == 0 ? rng_.below(20'000) : rng_.below(300));
            if (rng_.below(300) == 0) change();
            if (rng_.below(1000) == 0) restart();
            send(rng_.below(4) == 0 ? draw_error() : rng_.below(4) == 0 ? draw_fragment() : draw());
        }
        outcome_.tokens = model_.tokens_taken;
        outcome_.picked_up = model_.picked_up;
        return outcome_;
    }

  private:
    Seconds seconds() const { return std::chrono::duration<double>(now_ - kBegin).count(); }

    void restart() {
        tables_ = std::move(*policy::Tables::make(1 << 12, 1, random_));
        const auto until = now_ + std::chrono::seconds(plant_ == Plant::pick_up_stays ? 1'000'000 : 60);
        tables_->pick_up_until = until.time_since_epoch().count();
        gate_ = std::make_unique<policy::Gate>(0, counters_);
        evicted_ = counters_[Counter::policy_flow_evicted];
        model_.restart(seconds());
        ++outcome_.restarts;
    }

    ModelRule draw_rule() {
        ModelRule rule;
        rule.id = ++rules_drawn_;
        rule.in = rng_.below(2) == 0;
        const auto action = rng_.below(10);
        rule.action = action < 8 ? RuleAction::allow : action == 8 ? RuleAction::deny : RuleAction::reject;
        if (rng_.below(3) == 0) rule.peer = 1 + rng_.index(kPeers);
        if (rng_.below(2) == 0) rule.protocol = rng_.below(2) == 0 ? kTcp : kUdp;
        if (rule.action != RuleAction::allow || rng_.below(2) == 0) {
            rule.first_port = static_cast<std::uint16_t>(rng_.below(12));
            rule.last_port = static_cast<std::uint16_t>(rule.first_port + rng_.below(6));
        }
        if (rule.action == RuleAction::allow && rng_.below(3) == 0) {
            rule.burst = 1 + rng_.index(3);
            rule.per_token = 1 + static_cast<double>(rng_.below(60));
        }
        return rule;
    }

    void change() {
        ModelPolicy policy;
        policy.generation = ++generation_;
        policy.flows_per_peer = cap_;
        for (auto count = 2 + rng_.below(8); count > 0; --count) policy.rules.push_back(draw_rule());
        model_.change(policy);
        if (plant_ != Plant::change_not_told || !policy_) tell(policy);
    }

    void tell(const ModelPolicy& from) {
        policy::RuleSet set;
        set.generation = from.generation;
        set.flows_per_peer = plant_ == Plant::cap_not_told ? policy::kFlowsMax : from.flows_per_peer;
        for (const ModelRule& one : from.rules) {
            if (one.action != RuleAction::allow && plant_ == Plant::deny_not_told) continue;
            policy::Rule& rule = set.rules.emplace_back();
            rule.id = one.id;
            rule.direction = one.in ? policy::Direction::in : policy::Direction::out;
            rule.action = one.action == RuleAction::allow  ? policy::Action::allow
                          : one.action == RuleAction::deny ? policy::Action::deny
                                                           : policy::Action::reject;
            if (one.peer != 0) {
                rule.peers = static_cast<std::uint32_t>(set.peer_sets.size());
                set.peer_sets.push_back({key_of(one.peer)});
            }
            if (one.protocol != 0)
                rule.services = {{one.protocol, one.first_port, one.last_port}};
            else if (one.first_port != 0 || one.last_port != 65535)
                rule.services = {{kTcp, one.first_port, one.last_port},
                                 {kUdp, one.first_port, one.last_port}};
            if (one.burst != 0 && plant_ != Plant::rate_not_told)
                rule.rate = policy::Rate{
                    1, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(one.per_token)),
                    one.burst, policy::Rate::Scope::source};
        }
        retired_.push_back(std::move(policy_));
        policy_ = std::move(*policy::Policy::compile(std::move(set), 1));
    }

    ModelPacket draw() {
        ModelPacket packet;
        packet.from = rng_.index(kPeers + 1);
        do packet.to = rng_.index(kPeers + 1);
        while (packet.to == packet.from);
        packet.protocol = rng_.below(3) == 0 ? kTcp : kUdp;
        packet.source_port = static_cast<std::uint16_t>(rng_.below(16));
        packet.destination_port = static_cast<std::uint16_t>(rng_.below(16));
        constexpr std::array<std::uint8_t, 4> kFlags{tcp::kSyn, tcp::kSyn | tcp::kAck, tcp::kAck, tcp::kAck};
        if (packet.protocol == kTcp) packet.tcp_flags = kFlags[rng_.below(kFlags.size())];
        // Mostly what was there before, the same way or as a reply to it.
        if (!recent_.empty() && rng_.below(3) != 0) {
            const ModelPacket& old = recent_[rng_.below(recent_.size())];
            const bool reply = rng_.below(2) == 0;
            const std::uint8_t flags = packet.tcp_flags;
            packet = old;
            if (reply) {
                std::swap(packet.from, packet.to);
                std::swap(packet.source_port, packet.destination_port);
            }
            packet.tcp_flags = packet.protocol == kTcp ? (flags == 0 ? tcp::kAck : flags) : std::uint8_t{0};
        } else if (recent_.size() < 64) {
            recent_.push_back(packet);
        } else {
            recent_[rng_.below(recent_.size())] = packet;
        }
        return packet;
    }

    // To who sent what it quotes; sometimes from somebody who never saw that.
    ModelPacket draw_error() {
        const ModelPacket about = draw();
        ModelPacket error = about;
        error.quotes = true;
        error.quoted_protocol = about.protocol;
        error.quoted_from = about.from;
        error.quoted_to = about.to;
        error.protocol = kIcmp;
        error.tcp_flags = 0;
        error.to = about.from;
        error.from = about.to;
        if (rng_.below(3) == 0) {
            const unsigned stranger = rng_.index(kPeers + 1);
            if (stranger != error.to) error.from = stranger;
        }
        return error;
    }

    ModelPacket draw_fragment() {
        ModelPacket packet = draw();
        packet.protocol = kUdp;
        packet.tcp_flags = 0;
        packet.id = static_cast<std::uint16_t>(rng_.below(4));
        packet.begin = 32 * rng_.index(4);
        packet.end = packet.begin + 32 + (rng_.below(8) == 0 ? 8 : 0);
        packet.more = packet.begin < 96;
        return packet;
    }

    void fail(std::string invariant, const ModelPacket& packet) {
        if (outcome_.violation) return;
        outcome_.violation = {
            std::move(invariant),
            fmt::format("at {:.3f} s, policy {}: {}:{} > {}:{} protocol {} flags {} fragment "
                        "{}..{} of {}{}",
                        seconds(), generation_, packet.from, packet.source_port, packet.to,
                        packet.destination_port, packet.protocol, packet.tcp_flags, packet.begin, packet.end,
                        packet.id, packet.quotes ? ", quoted" : "")};
    }

    // In from a peer, out to a peer, or both: the hub forwards.
    void send(const ModelPacket& packet) {
        bool asked_in = packet.from == 0, asked_out = packet.to == 0;
        if (packet.from != 0) {
            if (!judge(true, packet.from, packet)) return;
            asked_in = true;
        }
        if (packet.to != 0 && !(packet.from != 0 && plant_ == Plant::out_not_asked)) {
            if (!judge(false, packet.to, packet)) return;
            asked_out = true;
        }
        if (!asked_in || !asked_out) fail("hub", packet);
        if (packet.from != 0 && packet.to != 0) ++outcome_.forwarded;
    }

    bool judge(bool in, unsigned peer, const ModelPacket& packet) {
        if (outcome_.violation) return false;
        ModelPacket sent = packet;
        if (plant_ == Plant::fragments_as_whole) sent.begin = 0;
        auto bytes = bytes_of(sent);
        const auto parsed = InnerPacket::parse(bytes);
        unsigned carrier = peer;
        if (plant_ == Plant::wrong_carrier && packet.quotes)
            carrier = in ? packet.quoted_to : packet.quoted_from;
        gate_->begin(policy_.get(), tables_.get(), now_);
        const auto direction = in ? policy::Direction::in : policy::Direction::out;
        if (rng_.below(2) == 0) gate_->expect(direction, {&*parsed, 1});
        const auto verdict = gate_->judge(direction, {carrier, policy_->class_of(key_of(carrier))}, *parsed);
        const bool passed = verdict == policy::Verdict::pass;
        if (counters_[Counter::policy_flow_evicted] != evicted_) model_.evicted();
        const std::string why =
            passed ? model_.passed(in, peer, packet, seconds()) : model_.refused(in, peer, packet, seconds());
        if (!why.empty()) fail(why, packet);
        if (tables_->flows->size_of(policy::begun_by(peer)) > cap_ ||
            tables_->flows->size_of(policy::begun_towards(peer)) > cap_)
            fail("cap", packet);
        if (verdict == policy::Verdict::reject) check_answer(in, peer, packet, *parsed);
        count(passed, packet);
        return passed;
    }

    void check_answer(bool in, unsigned peer, const ModelPacket& packet, const InnerPacket& parsed) {
        ++outcome_.rejected;
        std::array<std::byte, policy::kRejectBytesMax> buffer;
        const std::size_t bytes = policy::write_reject(parsed, gate_->transport(), buffer);
        // Errors may cut a flow, and are never answered.
        if (packet.quotes) return bytes == 0 ? void() : fail("answer", packet);
        if (!model_.rejects(in, peer, packet)) return fail("reject", packet);
        if (bytes == 0) return;
        unsigned to = packet.from;
        if (plant_ == Plant::answer_to_target) to = packet.to;
        if (load_be32(&buffer[ip4::kDestination]) != address_of(to) || bytes > 576) fail("answer", packet);
    }

    void count(bool passed, const ModelPacket& packet) {
        ++(passed ? outcome_.passed : outcome_.denied);
        if (!passed) return;
        if (packet.quotes) ++outcome_.errors_passed;
        if (packet.begin > 0) ++outcome_.fragments_passed;
    }

    Rng rng_;
    SeededRandom random_;
    Plant plant_;
    unsigned cap_;
    Instant now_ = kBegin;
    unsigned generation_ = 0;
    std::uint64_t rules_drawn_ = 0, evicted_ = 0;  // evicted_: before the last start
    GateModel model_;
    Counters counters_;
    std::unique_ptr<policy::Tables> tables_;
    std::unique_ptr<policy::Gate> gate_;
    std::unique_ptr<const policy::Policy> policy_;
    std::vector<std::unique_ptr<const policy::Policy>> retired_;
    std::vector<ModelPacket> recent_;
    GateOutcome outcome_;
};

}  // namespace

GateOutcome run_gate_world(std::uint64_t seed, Plant plant) { return GateWorld(seed, plant).run(); }

}  // namespace vern::sim
