#include "policies.h"

#include <algorithm>
#include <cstring>

#include "host.h"
#include "traffic.h"
#include "world.h"

namespace vern::sim {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17;
constexpr std::size_t kFlows = 1 << 12;
constexpr std::uint64_t kStream = 0x706f6c696379;

std::uint16_t port_of(const Found& found, bool destination) noexcept {
    if (found.protocol != kTcp && found.protocol != kUdp) return 0;
    return destination ? found.destination_port : found.source_port;
}

bool at_home(HostId whose, const std::byte* address, bool v6) noexcept {
    const auto home = home_address(whose, v6, 0);
    return std::memcmp(home.data(), address, v6 ? 15 : 3) == 0;
}

}  // namespace

bool HostPolicy::opens(bool in, HostId peer, const std::byte* remote, bool v6, std::uint8_t protocol,
                       std::uint16_t port, Nanos clock) const {
    bool allowed = false;
    for (const HostRule& rule : rules) {
        if (rule.in != in || (rule.expires && clock >= *rule.expires)) continue;
        if (rule.peer != kNobody && rule.peer != peer) continue;
        if (rule.remote != kNobody && !at_home(rule.remote, remote, v6)) continue;
        if (rule.protocol && *rule.protocol != protocol) continue;
        if (port < rule.first_port || port > rule.last_port) continue;
        if (!rule.allow) return false;
        allowed = true;
    }
    return allowed;
}

bool HostPolicy::passes(bool in, HostId peer, const Found& found, Nanos clock) const {
    const std::byte* remote = in ? found.from : found.to;
    return opens(in, peer, remote, found.v6, found.protocol, port_of(found, true), clock) ||
           opens(!in, peer, remote, found.v6, found.protocol, port_of(found, false), clock);
}

Policies::Policies(World& world)
    : world_(world), rng_(mix(world.options().seed ^ kStream)), present_(rng_.chance(0.3)) {}

void Policies::begin() {
    if (!present_) return;
    active_ = true;
    for (std::size_t i = 0; i < world_.host_count(); ++i) {
        Host& host = world_.host(i);
        // A daemon with flows on its way: TCP here never opens, so what passes of it was picked up.
        if (host.up())
            host.device().pick_up_flows(instant(host.boot() + static_cast<Nanos>(rng_.below(120)) * kSecond));
        if (rng_.chance(0.8)) change(host, draw(host));
    }
    tick();
}

void Policies::tick() {
    if (!active_) return;
    world_.agenda.in(static_cast<Nanos>(kSecond + rng_.below(10 * kSecond)), [this] {
        if (!active_) return;
        Host& host = world_.host(rng_.below(world_.host_count()));
        change(host, rng_.chance(0.1) ? nullptr : draw(host));
        tick();
    });
}

HostRule Policies::draw_rule(const Host& host) {
    HostRule rule;
    rule.in = rng_.chance(0.5);
    rule.allow = rng_.chance(0.8);
    const auto some_host = [&] { return static_cast<HostId>(rng_.below(world_.host_count())); };
    if (rule.allow && rng_.chance(0.3)) rule.peer = some_host();
    if (rng_.chance(0.3)) rule.remote = some_host();
    if (rng_.chance(0.6)) {
        static constexpr std::array kProtocols{kTcp, kUdp, kUdp, kOtherProtocol};
        rule.protocol = kProtocols[rng_.below(kProtocols.size())];
        if (*rule.protocol != kOtherProtocol && rng_.chance(0.6)) {
            rule.first_port = static_cast<std::uint16_t>(rng_.below(40000));
            rule.last_port = static_cast<std::uint16_t>(rule.first_port + rng_.below(25000));
        }
    }
    if (rng_.chance(0.15)) rule.expires = host.boot() + static_cast<Nanos>(rng_.below(30 * kSecond));
    return rule;
}

std::shared_ptr<HostPolicy> Policies::draw(const Host& host) {
    auto policy = std::make_shared<HostPolicy>();
    const auto count = rng_.chance(0.1) ? 0 : 1 + rng_.below(10);
    for (std::uint64_t i = 0; i < count; ++i) policy->rules.push_back(draw_rule(host));
    if (rng_.chance(0.5)) {  // mostly open, so that flows live to be cut
        policy->rules.push_back({});
        policy->rules.push_back({});
        policy->rules.back().in = false;
    }
    return policy;
}

std::shared_ptr<const HostPolicy> Policies::of(const Host& host) const noexcept {
    return policies_[host.id()];
}

void Policies::change(Host& host, std::shared_ptr<HostPolicy> to) {
    if (to) to->generation = ++generation_;
    policies_[host.id()] = std::move(to);
    if (!world_.sabotaged(Sabotage::skip_policy) || generation_ <= world_.host_count()) tell(host);
}

void Policies::tell(Host& host) {
    if (!host.up()) return;
    const auto& ours = policies_[host.id()];
    if (!ours) {
        if (present_) (void)host.device().set_policy(nullptr);
        return;
    }
    policy::RuleSet set;
    set.generation = ours->generation;
    for (const HostRule& from : ours->rules) {
        policy::Rule& rule = set.rules.emplace_back();
        rule.id = set.rules.size();
        rule.direction = from.in ? policy::Direction::in : policy::Direction::out;
        rule.action = from.allow ? policy::Action::allow : policy::Action::deny;
        if (from.peer != kNobody) {
            rule.peers = static_cast<std::uint32_t>(set.peer_sets.size());
            set.peer_sets.push_back({world_.host(from.peer).public_key()});
        }
        if (from.remote != kNobody)
            rule.remote = {home_prefix(from.remote, false), home_prefix(from.remote, true)};
        if (from.protocol) rule.services = {{*from.protocol, from.first_port, from.last_port}};
        if (from.expires) rule.expires = instant(*from.expires);
    }
    auto compiled = policy::Policy::compile(std::move(set), host.device().workers());
    if (!compiled) return world_.fail("policy", compiled.error().message);
    if (const auto done = host.device().set_policy(std::move(*compiled), kFlows); !done)
        world_.fail("policy", done.error().message);
}

void Policies::make_whole() {
    active_ = false;
    for (std::size_t i = 0; i < world_.host_count(); ++i) {
        Host& host = world_.host(i);
        if (!policies_[i]) continue;
        auto open = std::make_shared<HostPolicy>();
        open->rules.resize(2);
        open->rules[1].in = false;
        host.device().pick_up_flows(instant(host.boot()));
        change(host, std::move(open));
    }
}

}  // namespace vern::sim
