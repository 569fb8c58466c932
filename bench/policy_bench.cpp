// What the gate costs: a new flow by the number of rules, a packet of a live flow by the number of flows, a
// change of policy over a million flows, compiling. Figures on a shared machine are for comparison with each
// other only.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "dataplane/policy/gate.h"

namespace {

using namespace vern;
using namespace vern::policy;

class BenchRandom final : public Random {
  public:
    void fill(std::span<std::byte> bytes) noexcept override {
        for (auto& byte : bytes) byte = static_cast<std::byte>(engine_());
    }

  private:
    std::mt19937_64 engine_{1};
};

constexpr unsigned kPeers = 256, kGroups = 32;

PublicKey key_of(unsigned number) {
    PublicKey key;
    store_be32(key.bytes.data(), number * 2654435761U);
    return key;
}
IpAddress v4(std::uint32_t address) {
    IpAddress out;
    out.family = Family::v4;
    store_be32(out.bytes.data(), address);
    return out;
}
Prefix prefix(std::uint32_t address, unsigned length) {
    return {v4(length == 0 ? 0 : address & ~std::uint32_t{0} << (32 - length)),
            static_cast<std::uint8_t>(length)};
}

constexpr std::uint32_t kRemotes = 10U << 24, kLocals = 172U << 24 | 16U << 16;

// As they are written: mostly a source, a service and a host; some networks, some groups, some denials.
RuleSet make_rules(std::size_t count, std::uint32_t generation) {
    std::mt19937_64 random(2);
    RuleSet set;
    set.generation = generation;
    set.log_default = false;
    set.flows_per_peer = kFlowsMax;
    set.peer_sets.resize(kGroups);
    for (unsigned peer = 0; peer < kPeers; ++peer) {
        for (unsigned i = 0; i < 2; ++i) set.peer_sets[(peer + 7 * i) % kGroups].push_back(key_of(peer));
    }
    for (std::size_t i = 0; i < count; ++i) {
        Rule rule;
        rule.id = i + 1;
        rule.direction = Direction::in;
        rule.action = i % 20 == 19 ? Action::deny : Action::allow;
        const auto remote = kRemotes | static_cast<std::uint32_t>(random() % 65536);
        const auto local = kLocals | static_cast<std::uint32_t>(random() % 1024);
        const auto port = static_cast<std::uint16_t>(1 + random() % 10000);
        switch (i % 10) {
            case 0: rule.remote = {prefix(remote, 24)}; break;
            case 1: rule.peers = static_cast<std::uint32_t>(random() % kGroups); break;
            case 2: rule.remote = {prefix(remote, 16 + static_cast<unsigned>(random() % 8))}; break;
            default: rule.remote = {prefix(remote, 32)}; break;
        }
        rule.local = {prefix(local, i % 7 == 0 ? 26 : 32)};
        rule.services = {{17, port, static_cast<std::uint16_t>(i % 5 == 0 ? port + 20 : port)}};
        set.rules.push_back(std::move(rule));
    }
    return set;
}

std::unique_ptr<const Policy> compiled(std::size_t rules, std::uint32_t generation = 1) {
    auto policy = Policy::compile(make_rules(rules, generation), 1);
    if (!policy) std::abort();
    return std::move(*policy);
}

std::array<std::byte, 64> udp_packet(std::uint32_t from, std::uint32_t to, std::uint16_t source_port,
                                     std::uint16_t port) {
    std::array<std::byte, 64> packet{};
    packet[0] = std::byte{0x45};
    store_be16(&packet[2], 64);
    packet[9] = std::byte{17};
    store_be32(&packet[12], from);
    store_be32(&packet[16], to);
    store_be16(&packet[20], source_port);
    store_be16(&packet[22], port);
    return packet;
}

struct Target {
    std::uint32_t from, to;
    std::uint16_t port;
    Subject peer;
};

// Packets that some rule allows, and each of a peer that it allows them to.
std::vector<Target> make_targets(const Policy& policy, std::size_t count) {
    std::mt19937_64 random(3);
    std::vector<Target> targets;
    const auto& rules = policy.rules().rules;
    while (targets.size() < count) {
        const Rule& rule = rules[random() % rules.size()];
        const PublicKey key = rule.peers == kAnyPeer ? key_of(static_cast<unsigned>(random() % kPeers))
                                                     : policy.rules().peer_sets[rule.peers][0];
        Target target;
        target.from = rule.remote.empty() ? kRemotes | static_cast<std::uint32_t>(random() % 65536)
                                          : load_be32(rule.remote[0].address.bytes.data());
        target.to = load_be32(rule.local[0].address.bytes.data());
        target.port = rule.services[0].first_port;
        target.peer = {1 + load_be32(key.bytes.data()) % kPeers, policy.class_of(key)};
        FlowKey flow;
        store_be32(flow.remote.data(), target.from);
        store_be32(flow.local.data(), target.to);
        flow.protocol = 17;
        const auto rank = policy.match(Direction::in, target.peer.peer_class, flow, target.port);
        if (rank != Policy::kNoRule && policy.rule_of(rank).action == Action::allow)
            targets.push_back(target);
    }
    return targets;
}

// Parse, miss in the table, match, insert, and the sweep that takes out what has timed out: with 100,000 live
// flows whatever the rules. Of few services each has been asked for before; of many, none lately.
constexpr std::int64_t kFewServices = 4093, kManyServices = 131071;

void new_flow(benchmark::State& state) {
    BenchRandom random;
    const auto policy = compiled(static_cast<std::size_t>(state.range(0)));
    const auto services = static_cast<std::uint32_t>(state.range(2));
    const auto targets = make_targets(*policy, services);
    const auto tables = std::move(*Tables::make(kFlowsDefault, 1, random));
    Counters counters;
    Gate gate(0, counters);
    Instant now(std::chrono::seconds(1000));
    const auto turn = static_cast<std::size_t>(state.range(1));
    std::vector<std::array<std::byte, 64>> bytes(turn);
    std::vector<InnerPacket> packets(turn);
    std::uint32_t number = 0;
    const auto one_turn = [&] {
        const std::uint32_t first = number;
        for (std::size_t i = 0; i < turn; ++i, ++number) {
            // Primes, so that hardly a key comes again before its flow has timed out.
            const Target& target = targets[number % services];
            bytes[i] =
                udp_packet(target.from, target.to, static_cast<std::uint16_t>(number % 65521), target.port);
            packets[i] = *InnerPacket::parse(bytes[i]);
        }
        now += turn * std::chrono::microseconds(300);
        gate.begin(policy.get(), tables.get(), now);
        if (turn > 1) gate.expect(Direction::in, packets);
        for (std::size_t i = 0; i < turn; ++i)
            benchmark::DoNotOptimize(gate.judge(
                Direction::in, targets[(first + static_cast<std::uint32_t>(i)) % services].peer, packets[i]));
    };
    for (std::size_t i = 0; i < 300'000; i += turn) one_turn();
    for (auto _ : state) one_turn();
    state.counters["ns a flow"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(turn) / 1e9,
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    state.counters["live"] = static_cast<double>(tables->flows->size());
    state.counters["refused"] = static_cast<double>(gate.refused(Direction::in));
}
BENCHMARK(new_flow)
    ->ArgNames({"rules", "turn", "services"})
    ->ArgsProduct({{10, 1000, 10'000, 100'000}, {1, 64}, {kFewServices, kManyServices}});

void match_alone(benchmark::State& state) {
    const auto policy = compiled(static_cast<std::size_t>(state.range(0)));
    const auto targets = make_targets(*policy, 4096);
    std::size_t i = 0;
    for (auto _ : state) {
        const Target& target = targets[i++ % targets.size()];
        FlowKey flow;
        store_be32(flow.remote.data(), target.from);
        store_be32(flow.local.data(), target.to);
        flow.protocol = 17;
        benchmark::DoNotOptimize(policy->match(Direction::in, target.peer.peer_class, flow, target.port));
    }
    state.counters["entries"] = static_cast<double>(policy->table_entries());
}
BENCHMARK(match_alone)->Arg(10)->Arg(1000)->Arg(10'000)->Arg(100'000);

struct Flows {
    BenchRandom random;
    std::unique_ptr<const Policy> policy = compiled(10'000);
    std::unique_ptr<Tables> tables = std::move(*Tables::make(kFlowsDefault, 1, random));
    Counters counters;
    Gate gate{0, counters};
    std::vector<Target> targets = make_targets(*policy, 4096);
    Instant now{std::chrono::seconds(1000)};
    std::size_t count;

    explicit Flows(std::size_t flows) : count(flows) {
        for (std::size_t i = 0; i < count; ++i) packet(i);
    }
    void packet(std::size_t flow, std::size_t times = 1) {
        const Target& target = targets[flow % targets.size()];
        auto bytes = udp_packet(target.from, target.to, static_cast<std::uint16_t>(flow / targets.size()),
                                target.port);
        gate.begin(policy.get(), tables.get(), now);
        const auto parsed = InnerPacket::parse(bytes);
        for (std::size_t i = 0; i < times; ++i)
            benchmark::DoNotOptimize(gate.judge(Direction::in, target.peer, *parsed));
    }
};

// A packet of a train of `range(1)`, the trains of flows in no order.
void established(benchmark::State& state) {
    Flows flows(static_cast<std::size_t>(state.range(0)));
    const auto train = static_cast<std::size_t>(state.range(1));
    std::mt19937_64 random(4);
    std::vector<std::uint32_t> order(65536);
    for (auto& flow : order) flow = static_cast<std::uint32_t>(random() % flows.count);
    std::size_t i = 0;
    for (auto _ : state) flows.packet(order[i++ % order.size()], train);
    state.counters["ns a packet"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(train) / 1e9,
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    state.counters["refused"] = static_cast<double>(flows.gate.refused(Direction::in));
}
BENCHMARK(established)->ArgsProduct({{1000, 100'000, 1'000'000}, {1, 16, 64}});

// As a worker has them: 64 packets at once, in runs of one flow each, with or without asking for memory
// first, for which each packet is parsed once more.
void turn_of_flows(benchmark::State& state) {
    constexpr std::size_t kTurn = 64, kTurns = 2048;
    Flows flows(static_cast<std::size_t>(state.range(0)));
    const auto run = static_cast<std::size_t>(state.range(1));
    const bool expects = state.range(2) != 0;
    std::mt19937_64 random(5);
    std::vector<std::array<std::byte, 64>> bytes(kTurns * kTurn);
    std::vector<Subject> peers(bytes.size());
    for (std::size_t i = 0; i < bytes.size(); i += run) {
        const auto flow = random() % flows.count;
        const Target& target = flows.targets[flow % flows.targets.size()];
        const auto packet = udp_packet(target.from, target.to,
                                       static_cast<std::uint16_t>(flow / flows.targets.size()), target.port);
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(i), run, packet);
        std::fill_n(peers.begin() + static_cast<std::ptrdiff_t>(i), run, target.peer);
    }
    std::size_t first = 0;
    for (auto _ : state) {
        flows.gate.begin(flows.policy.get(), flows.tables.get(), flows.now);
        if (expects) {
            std::array<InnerPacket, kTurn> packets;
            for (std::size_t i = 0; i < kTurn; ++i) packets[i] = *InnerPacket::parse(bytes[first + i]);
            flows.gate.expect(Direction::in, packets);
        }
        for (std::size_t i = 0; i < kTurn; ++i) {
            const auto packet = InnerPacket::parse(bytes[first + i]);
            benchmark::DoNotOptimize(flows.gate.judge(Direction::in, peers[first + i], *packet));
        }
        first = (first + kTurn) % bytes.size();
    }
    state.counters["ns a packet"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(kTurn) / 1e9,
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    state.counters["refused"] = static_cast<double>(flows.gate.refused(Direction::in));
}
BENCHMARK(turn_of_flows)
    ->ArgNames({"flows", "run", "expects"})
    ->ArgsProduct({{1000, 100'000, 300'000, 500'000, 1'000'000}, {1, 4, 64}, {0, 1}});

// A million flows, each one's first packet after a change: matched again, all of them by the new policy.
void change_of_policy(benchmark::State& state) {
    Flows flows(1'000'000);
    std::uint32_t generation = 1;
    for (auto _ : state) {
        state.PauseTiming();
        flows.policy = compiled(10'000, ++generation);
        state.ResumeTiming();
        for (std::size_t i = 0; i < flows.count; ++i) flows.packet(i);
    }
    state.counters["ns a flow"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * 1e6 / 1e9,
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    state.counters["cut"] = static_cast<double>(flows.counters[Counter::policy_flow_cut]);
}
BENCHMARK(change_of_policy)->Unit(benchmark::kMillisecond)->Iterations(3);

void compile(benchmark::State& state) {
    for (auto _ : state) {
        state.PauseTiming();
        RuleSet set = make_rules(static_cast<std::size_t>(state.range(0)), 1);
        state.ResumeTiming();
        benchmark::DoNotOptimize(Policy::compile(std::move(set), 2));
    }
}
BENCHMARK(compile)->Arg(10)->Arg(1000)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

std::size_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    std::size_t total = 0, resident = 0;
    statm >> total >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// What the tables take when there are so many flows, of 256 peers.
void memory(benchmark::State& state) {
    const auto count = static_cast<std::uint32_t>(state.range(0));
    for (auto _ : state) {
        BenchRandom random;
        const std::size_t before = resident_bytes();
        const auto tables = std::move(*Tables::make(kFlowsDefault, 1, random));
        FlowTable& flows = *tables->flows;
        for (std::uint32_t i = 0; i < count; ++i) {
            FlowKey key;
            store_be32(key.remote.data(), i);
            key.protocol = 17;
            const auto made = flows.insert(key, flows.hash(key), 1 + i % kPeers, begun_by(1 + i % kPeers),
                                           kFlowsMax, Instant(std::chrono::seconds(1)));
            if (made.room != FlowTable::Room::made) return state.SkipWithError("no room");
            made.flow->state = FlowState::unanswered;
            made.flow->last_seen = Instant(std::chrono::seconds(1));
        }
        state.counters["resident MB"] = static_cast<double>(resident_bytes() - before) / 1e6;
        state.counters["resident bytes a flow"] =
            static_cast<double>(resident_bytes() - before) / static_cast<double>(count);
        state.counters["reserved MB"] = static_cast<double>(flows.reserved_bytes()) / 1e6;
    }
    state.counters["bytes of a flow"] = sizeof(Flow);
}
BENCHMARK(memory)->Arg(1000)->Arg(100'000)->Arg(1'000'000)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
