#include "dataplane/policy/gate.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vern::policy {
namespace {

constexpr Direction other(Direction direction) noexcept {
    return direction == Direction::in ? Direction::out : Direction::in;
}

// In one store, zeros included: what follows reads words.
void load_address(std::array<std::byte, 16>& out, const std::byte* at, bool v6) noexcept {
    using Words [[gnu::vector_size(16)]] = std::uint64_t;
    Words words{};
    if (v6) {
        std::memcpy(&words, at, 16);
    } else {
        std::uint32_t address;
        std::memcpy(&address, at, 4);
        if constexpr (std::endian::native == std::endian::little)
            words = Words{address, 0};
        else
            words = Words{std::uint64_t{address} << 32, 0};
    }
    std::memcpy(out.data(), &words, 16);
}

// From the point of view of this host: inwards the source is remote.
void read_key(Direction direction, const InnerPacket& packet, const Transport& transport,
              FlowKey& key) noexcept {
    const bool in = direction == Direction::in;
    load_address(key.remote, in ? packet.source() : packet.destination(), packet.v6);
    load_address(key.local, in ? packet.destination() : packet.source(), packet.v6);
    key.v6 = packet.v6;
    key.protocol = transport.protocol;
    key.remote_port = key.local_port = 0;
    key.asks = 0;
    if (transport.has_ports()) {
        key.remote_port = in ? transport.source_port : transport.destination_port;
        key.local_port = in ? transport.destination_port : transport.source_port;
    } else if (transport.echo_request() || transport.echo_reply()) {
        key.remote_port = key.local_port = transport.echo_id;
        key.asks = in == transport.echo_request() ? 1 : 2;
    }
}

// Addresses and what most protocols have behind them, the ports: enough for a guess.
bool same_ends(const InnerPacket& a, const InnerPacket& b) noexcept {
    constexpr std::size_t k4 = 2 * 4 + 4, k6 = 2 * 16 + 4;
    if (a.v6 != b.v6 || a.length < a.header_bytes + 4U || b.length < b.header_bytes + 4U) return false;
    return a.v6 ? std::memcmp(a.source(), b.source(), k6) == 0 : std::memcmp(a.source(), b.source(), k4) == 0;
}

// The port that the first packet of a flow was matched by.
std::uint16_t first_port(const Flow& flow) noexcept {
    if (flow.key.asks != 0) return flow.key.v6 ? 128 << 8 : 8 << 8;
    return flow.began == Direction::in ? flow.key.local_port : flow.key.remote_port;
}

}  // namespace

Result<std::unique_ptr<Tables>> Tables::make(std::size_t flows_max, unsigned workers, Random& random) {
    std::unique_ptr<Tables> tables(new Tables(random));
    auto flows = FlowTable::make(flows_max, random);
    if (!flows) return tl::unexpected(flows.error());
    tables->flows = std::move(*flows);
    if (!tables->rates || !tables->fragments)
        return fail("no memory to reserve for rates and fragments", ENOMEM);
    for (unsigned i = 0; i < workers; ++i)
        tables->logs.push_back(std::make_unique<SpscRing<LogRecord>>(kLogRecordsMax));
    return tables;
}

// The rules' answer, and the only place where it is found: packets, flows that are asked for again and
// explanations all come here.
Gate::Decision Gate::decide(Tables& tables, const Question& q, Mode mode, Gate* gate) noexcept {
    Decision decision;
    for (std::uint32_t rank = Policy::kNoRule;;) {
        rank = gate && rank == Policy::kNoRule
                   ? gate->matches_.match(q.policy, q.direction, q.peer.peer_class, q.key, q.port)
                   : q.policy.match(q.direction, q.peer.peer_class, q.key, q.port, rank);
        if (rank == Policy::kNoRule) return decision;
        const Policy::Effect& effect = q.policy.effect_of(rank);
        const std::uint32_t index = effect.index;
        if (gate) q.policy.expect_count(gate->worker_, index);
        const auto found = [&](Instant valid_until) {
            return Decision{.allowed = effect.action == Action::allow,
                            .reject = effect.action == Action::reject,
                            .rule = index,
                            .reason = Counter::policy_denied,
                            .rule_id = effect.id,
                            .valid_until = valid_until,
                            .log = effect.log};
        };
        if (!effect.conditional) return found(Instant::max());
        const Rule& rule = q.policy.rule_of(rank);
        if (rule.expires && q.now >= *rule.expires) continue;
        if (rule.observe) {
            if (gate) gate->would_deny(found(Instant::max()));
            continue;
        }
        if (rule.rate && mode != Mode::again) {
            const auto& source = q.direction == Direction::in ? q.key.remote : q.key.local;
            const auto answer =
                tables.rates.ask(rule.id, *rule.rate, q.peer.serial, gate ? gate->sender() : q.sender, source,
                                 q.now, mode == Mode::fresh);
            if (answer != RateTable::Answer::token) {
                if (gate) q.policy.count(gate->worker_, index, Policy::Count::limited);
                decision.rule = index;
                decision.reason = answer == RateTable::Answer::none ? Counter::policy_rate_limited
                                                                    : Counter::policy_rates_full;
                continue;
            }
        }
        return found(rule.expires.value_or(Instant::max()));
    }
}

Gate::Decision Gate::decide(Mode mode) noexcept {
    return decide(
        *tables_,
        {*policy_, packet_.direction, packet_.peer, 0, packet_.key, packet_.transport.service_port(), now_},
        mode, this);
}

// A train is mostly of one flow: what looks like the packet before it costs a comparison.
void Gate::expect(Direction direction, std::span<const InnerPacket> packets) const noexcept {
    const InnerPacket* before = nullptr;
    for (const InnerPacket& packet : packets) {
        if (before && same_ends(*before, packet)) continue;
        before = &packet;
        Transport transport;
        if (parse_transport(packet, transport)) continue;
        FlowKey key;
        read_key(direction, packet, transport, key);
        if (!(key == memos_[static_cast<std::size_t>(direction)].key))
            tables_->flows->expect(tables_->flows->hash(key));
    }
}

Verdict Gate::judge(Direction direction, const Subject& peer, const InnerPacket& packet,
                    std::size_t packets) noexcept {
    packet_.direction = direction;
    packet_.peer = peer;
    packet_.packet = &packet;
    packet_.count = packets;
    const Decision decision = examine();
    valid_until_ = decision.valid_until;
    if (decision.allowed) {
        passed(decision.rule);
        return Verdict::pass;
    }
    if (policy_->rules().observe) {
        would_deny(decision);
        return Verdict::pass;
    }
    counters_.add(decision.reason);
    ++refused_[static_cast<std::size_t>(direction)];
    policy_->count(worker_, decision.rule, Policy::Count::denied, packets);
    policy_->count(worker_, decision.rule, Policy::Count::packets, packets);
    policy_->count(worker_, decision.rule, Policy::Count::bytes, packet.length);
    const Verdict verdict = decision.reject ? Verdict::reject : Verdict::drop;
    if (wants_log(decision.rule)) log(decision, verdict, false);
    return verdict;
}

Gate::Decision Gate::examine() noexcept {
    Transport& transport = packet_.transport;
    const auto refused = parse_transport(*packet_.packet, transport);
    read_key(packet_.direction, *packet_.packet, transport, packet_.key);
    if (refused) return {.reason = *refused};
    if (now_ >= packet_.peer.identity_until) return {.reason = Counter::policy_identity_over};
    switch (transport.fragment) {
        case Fragment::later: return later_fragment();
        case Fragment::first: return first_fragment();
        default: return examine_whole();
    }
}

// With its transport header; of a datagram in fragments it is the first.
Gate::Decision Gate::examine_whole() noexcept {
    const Transport& transport = packet_.transport;
    if (transport.protocol == kTcp && !tcp_flags_valid(transport.tcp_flags))
        return {.reason = Counter::policy_tcp_flags};
    if (!transport.icmp) return in_flow();
    if (transport.icmp_error()) return related();
    if (transport.icmp_redirect()) return {.reason = Counter::policy_icmp_unrelated};
    return packet_.key.asks == 0 ? decide(Mode::fresh) : in_flow();
}

// Refused for its fragments, it must not have moved a flow: so that is asked first.
Gate::Decision Gate::first_fragment() noexcept {
    FragmentTable& fragments = tables_->fragments;
    const auto answer = fragments.first(packet_.peer.serial, payer(), packet_.direction, *packet_.packet,
                                        packet_.transport, policy_->generation(), now_);
    if (answer == FragmentTable::Answer::pass) {
        const Decision decision = examine_whole();
        if (decision.allowed)
            fragments.allow(packet_.peer.serial, packet_.direction, *packet_.packet, packet_.transport,
                            policy_->generation(), now_, decision.rule);
        else
            fragments.deny(packet_.peer.serial, packet_.direction, *packet_.packet, packet_.transport,
                           policy_->generation(), now_);
        return decision;
    }
    Decision refused;
    refused.reason = answer == FragmentTable::Answer::overlap ? Counter::policy_fragment_overlap
                                                              : Counter::policy_fragments_full;
    // A policy that only observes lets it pass after all, and its flow goes on.
    if (policy_->rules().observe) refused.rule = examine_whole().rule;
    return refused;
}

Gate::Decision Gate::later_fragment() noexcept {
    std::uint32_t rule = Policy::kNoRule;
    switch (tables_->fragments.later(packet_.peer.serial, packet_.direction, *packet_.packet,
                                     packet_.transport, policy_->generation(), now_, rule)) {
        case FragmentTable::Answer::pass: return {.allowed = true, .rule = rule};
        case FragmentTable::Answer::overlap: return {.reason = Counter::policy_fragment_overlap};
        default: return {.reason = Counter::policy_fragment_stray};
    }
}

// An error speaks of a packet that went the other way: through the peer that the error comes from, or to
// which it goes.
Gate::Decision Gate::related() noexcept {
    const Decision denied{.reason = Counter::policy_icmp_unrelated};
    InnerPacket quoted;
    Transport transport;
    if (!parse_quoted(*packet_.packet, packet_.transport, quoted, transport)) return denied;
    // Errors go to whose packet it was, and a quoted reply or error opens nothing.
    if (std::memcmp(packet_.packet->destination(), quoted.source(), quoted.address_bytes()) != 0)
        return denied;
    FlowKey key;
    read_key(other(packet_.direction), quoted, transport, key);
    if (transport.icmp && key.asks == 0) return denied;
    FlowTable::Held flow = tables_->flows->find(key, tables_->flows->hash(key), now_);
    if (!flow || flow->peer != packet_.peer.serial) return denied;
    Decision decision;
    if (!renew(*flow, decision)) {
        tables_->flows->remove(std::move(flow));
        return decision;
    }
    return {.allowed = true, .rule = flow->rule};
}

FlowTable::Held Gate::look_up(const FlowKey& key, std::uint64_t& hash, Memo& memo) noexcept {
    FlowTable& flows = *tables_->flows;
    if (memo.flow && memo.key == key) {
        hash = memo.hash;
        FlowTable::Held held = flows.find_again(key, hash, memo.flow, now_);
        if (held && held->peer == packet_.peer.serial) return held;
    } else {
        hash = flows.hash(key);
    }
    FlowTable::Held held = flows.find(key, hash, now_);
    if (held && held->peer != packet_.peer.serial) {
        // The address belongs to another peer now: what its predecessor began is over.
        flows.remove(std::move(held));
        return {};
    }
    if (held) memo = {held.get(), hash, key};
    return held;
}

// Under the shard's lock, and without any other: a flow that is asked for again takes no token.
bool Gate::renew(Flow& flow, Decision& decision) noexcept {
    if (flow.generation == policy_->generation() && now_ < flow.valid_until) return true;
    decision = decide(*tables_, {*policy_, flow.began, packet_.peer, 0, flow.key, first_port(flow), now_},
                      Mode::again, this);
    if (!decision.allowed) {
        decision.reason = Counter::policy_flow_cut;
        if (!policy_->rules().observe) return false;
        would_deny(decision);
    }
    flow.generation = policy_->generation();
    flow.rule = decision.rule;
    flow.rule_id = decision.rule_id;
    flow.valid_until = decision.valid_until;
    return true;
}

Gate::Decision Gate::in_flow() noexcept {
    FlowTable& flows = *tables_->flows;
    FlowTable::Held flow = look_up(packet_.key, hash_, memos_[static_cast<std::size_t>(packet_.direction)]);
    if (!flow) {
        flow.release();  // begin_flow() takes it again
        return begin_flow();
    }
    Decision decision;
    if (!renew(*flow, decision)) {
        flows.remove(std::move(flow));
        return decision;
    }
    const FlowState before = flow->state;
    const bool by_initiator = packet_.direction == flow->began;
    TcpStep step = TcpStep::pass;
    if (packet_.transport.protocol == kTcp)
        step = tcp_step(flow->state, by_initiator, packet_.transport.tcp_flags);
    else if (!by_initiator)
        flow->state = FlowState::answered;
    switch (step) {
        case TcpStep::pass: break;
        case TcpStep::drop: return {.rule = flow->rule, .reason = Counter::policy_tcp_state};
        case TcpStep::begin_anew: flows.remove(std::move(flow)); return begin_flow();
        case TcpStep::other_opens:
            flow.release();
            decision = decide(Mode::fresh);
            if (!decision.allowed) decision.reason = Counter::policy_tcp_state;
            return decision;
    }
    // What still trickles after a reset keeps nothing alive.
    if (before != FlowState::closed) flow->last_seen = now_;
    const auto at = static_cast<std::size_t>(packet_.direction);
    flow->packets[at] += packet_.count;
    flow->bytes[at] += packet_.packet->length;
    return {.allowed = true, .rule = flow->rule, .valid_until = flow->valid_until};
}

bool Gate::picks_up() const noexcept {
    constexpr std::uint8_t kOpeningOrEnd = tcp::kSyn | tcp::kRst;
    return now_.time_since_epoch().count() < tables_->pick_up_until.load(std::memory_order_relaxed) &&
           (packet_.transport.tcp_flags & kOpeningOrEnd) == 0;
}

// What belongs to no flow: may it begin one?
Gate::Decision Gate::begin_flow() noexcept {
    Mode mode = Mode::fresh;
    FlowState state = FlowState::unanswered;
    if (packet_.transport.protocol == kTcp) {
        state = FlowState::syn_sent;
        if (!opens(packet_.transport.tcp_flags)) {
            if (!picks_up()) return {.reason = Counter::policy_no_flow};
            state = FlowState::picked_up;
            mode = Mode::again;  // it had its token before the restart
        }
    } else if (packet_.transport.echo_reply()) {
        return {.reason = Counter::policy_no_flow};
    }
    return begin_flow(state, decide(mode));
}

Gate::Decision Gate::begin_flow(FlowState state, const Decision& decision) noexcept {
    if (!decision.allowed) {
        // Under a policy that only observes the flow is kept, or each of its packets and all its replies
        // would be reported.
        if (!policy_->rules().observe) return decision;
        would_deny(decision);
    }
    switch (keep_flow(state, decision)) {
        case FlowTable::Room::table_full:
            return {.rule = decision.rule, .reason = Counter::policy_flows_full};
        case FlowTable::Room::peer_full:
            return {.rule = decision.rule, .reason = Counter::policy_peer_flows_full};
        default: break;
    }
    if (state == FlowState::picked_up) counters_.add(Counter::policy_picked_up);
    if (decision.allowed) {
        policy_->count(worker_, decision.rule, Policy::Count::flows);
        if (decision.log) log(decision, Verdict::pass, false);
    }
    return {.allowed = true, .rule = decision.rule, .valid_until = decision.valid_until};
}

// Asked only of what begins something: what goes out may be another peer's, passed on by this host.
std::uint64_t Gate::sender() const noexcept {
    if (packet_.direction == Direction::in) return packet_.peer.serial;
    return owner_.serial_of ? owner_.serial_of(owner_.context, *packet_.packet) : 0;
}

Payer Gate::payer() const noexcept {
    const std::uint64_t serial = sender();
    return serial != 0 ? begun_by(serial) : begun_towards(packet_.peer.serial);
}

FlowTable::Room Gate::keep_flow(FlowState state, const Decision& decision) noexcept {
    const FlowTable::Made made = tables_->flows->insert(packet_.key, hash_, packet_.peer.serial, payer(),
                                                        policy_->rules().flows_per_peer, now_);
    if (made.evicted) counters_.add(Counter::policy_flow_evicted);
    if (made.room != FlowTable::Room::made) return made.room;
    Flow& flow = *made.flow;
    flow.began = packet_.direction;
    flow.state = state;
    flow.generation = policy_->generation();
    flow.last_seen = now_;
    flow.valid_until = decision.valid_until;
    flow.rule_id = decision.rule_id;
    flow.rule = decision.rule;
    flow.packets[static_cast<std::size_t>(packet_.direction)] = packet_.count;
    flow.bytes[static_cast<std::size_t>(packet_.direction)] = packet_.packet->length;
    return made.room;
}

void Gate::passed(std::uint32_t rule) noexcept {
    policy_->count(worker_, rule, Policy::Count::packets, packet_.count);
    policy_->count(worker_, rule, Policy::Count::bytes, packet_.packet->length);
}

void Gate::would_deny(const Decision& decision) noexcept {
    counters_.add(Counter::policy_would_deny);
    policy_->count(worker_, decision.rule, Policy::Count::would_be, packet_.count);
    if (wants_log(decision.rule)) log(decision, decision.reject ? Verdict::reject : Verdict::drop, true);
}

bool Gate::wants_log(std::uint32_t rule) const noexcept {
    return rule == Policy::kNoRule ? policy_->rules().log_default : policy_->rules().rules[rule].log;
}

// Bounded twice: by a rate, and by the room that the reader leaves. Nobody's packets wait for a log.
void Gate::log(const Decision& decision, Verdict verdict, bool would_be) noexcept {
    if (!log_budget_.take(sender(), now_)) return counters_.add(Counter::policy_log_suppressed);
    LogRecord record;
    record.at = now_;
    record.key = packet_.key;
    record.peer = packet_.peer.serial;
    record.rule = decision.rule;
    record.generation = policy_->generation();
    record.reason = verdict == Verdict::pass ? Counter::count : decision.reason;
    record.port = packet_.transport.service_port();
    record.direction = packet_.direction;
    record.verdict = verdict;
    record.would_be = would_be;
    if (!tables_->logs[worker_]->push(record)) counters_.add(Counter::policy_log_suppressed);
}

Explanation Gate::explain(const Policy& policy, Tables& tables, Direction direction, const Subject& peer,
                          std::uint64_t sender, const FlowKey& key, std::uint16_t port,
                          Instant now) noexcept {
    Decision decision{.reason = Counter::policy_identity_over};
    if (now < peer.identity_until)
        decision = decide(tables, {policy, direction, peer, sender, key, port, now}, Mode::dry, nullptr);
    Explanation out;
    out.allowed = decision.allowed || policy.rules().observe;
    out.would_be = !decision.allowed && policy.rules().observe;
    out.reject = decision.reject;
    out.rule = decision.rule;
    if (!decision.allowed) out.reason = decision.reason;
    const FlowTable::Held flow = tables.flows->find(key, tables.flows->hash(key), now);
    if (flow && flow->peer == peer.serial) out.live = *flow;
    return out;
}

}  // namespace vern::policy
