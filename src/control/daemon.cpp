#include "control/daemon.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "control/api/policy_routes.h"
#include "control/api/present_routes.h"
#include "control/json.h"
#include "control/log.h"
#include "control/resident.h"
#include "control/state_directory.h"
#include "control/text.h"
#include "crypto/self_test.h"

namespace vern {
namespace {

// What workers log of a policy's decisions waits for so long at most; nobody wakes us for it.
constexpr std::chrono::milliseconds kPolicyLogInterval{250};
constexpr std::chrono::seconds kListenAgain{10};
constexpr Duration kLookAgain = std::chrono::seconds(1);  // at the interface elsewhere, when nothing tells
constexpr unsigned kPolicyLogMost = 4096;                 // lines a turn

}  // namespace

Daemon::Daemon(DaemonOptions options) : options_(std::move(options)) {}

// The runtime first: it stops the threads and closes the TUN device, and with that the interface is gone; the
// socket file goes last, so that nobody who sees no socket finds an interface.
Daemon::~Daemon() {
    tunnel_.reset();
    api_.reset();
    policy_.reset();
    identities_.reset();
    audit_.reset();  // reads the clock of what follows
    runtime_.reset();
    uapi_.reset();
}

Result<std::unique_ptr<Daemon>> Daemon::start(DaemonOptions options) {
    std::unique_ptr<Daemon> daemon(new Daemon(std::move(options)));
    if (auto opened = daemon->open(); !opened) return tl::unexpected(opened.error());
    return daemon;
}

Result<void> Daemon::open() {
    sigset_t mask;
    ::sigemptyset(&mask);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&mask, signal);
    ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return fail_errno("take signals", errno);

    if (!options_.aead) options_.aead = &aead::best();
    if (auto right = self_test(*options_.aead); !right) return right;

    // As the kernel's WireGuard: what is left of 1500 bytes behind an IPv6 and a UDP header and ours. An
    // adopted interface keeps its own.
    if (options_.tun.mtu == 0 && options_.tun_fd < 0) options_.tun.mtu = 1420;
    auto tun = options_.tun_fd >= 0 ? adopt_tun(options_.tun_fd, options_.tun)
                                    : create_tun(options_.interface_name, options_.tun);
    if (!tun) return tl::unexpected(tun.error());
    options_.interface_name = tun->name;
    set_log_name(tun->name);
    const std::uint32_t index = tun->index;
    auto runtime = Runtime::create(std::move(*tun), *options_.aead, options_.runtime);
    if (!runtime) return tl::unexpected(runtime.error());
    runtime_ = std::move(*runtime);
    runtime_->device().set_running(false, boot_time_now());

    auto links = LinkMonitor::open(index);
    if (!links) return tl::unexpected(links.error());
    links_.emplace(std::move(*links));
    handle_link();
    auto uapi = UapiServer::open(options_.interface_name, *this, options_.uapi_fd);
    if (!uapi) return tl::unexpected(uapi.error());
    uapi_ = std::move(*uapi);
    plane_.emplace(runtime_->device());
    if (auto recorded = open_audit(); !recorded) return recorded;
    StateDirectory(state_directory()).drop_unfinished();
    // Before the first packet.
    open_identities();
    if (auto governed = open_policy(); !governed) return governed;
    if (auto answering = open_api(); !answering) return answering;
    runtime_->start();
    log_verbose(fmt::format("ready: engine {}, AEAD {}, UDP port {}", runtime_->engine_name(),
                            options_.aead->name, runtime_->listen_port()));
    return {};
}

std::string Daemon::state_directory() const {
    return options_.state_directory + "/" + options_.interface_name;
}

Result<void> Daemon::open_audit() {
    if (!options_.audit) return {};
    audit::RecorderOptions options;
    options.required = !options_.audit_directory.empty();
    options.directory = options.required ? options_.audit_directory : state_directory() + "/audit";
    options.interface = options_.interface_name;
    options.journal = options_.audit_journal;
    auto recorder = audit::Recorder::start(std::move(options), [this] { return plane_->now(); });
    if (!recorder) return tl::unexpected(recorder.error());
    audit_ = std::move(*recorder);
    return {};
}

void Daemon::open_identities() {
    identity::Peers& peers = *this;
    identities_.emplace(
        state_directory(), peers, random_,
        [this](const identity::IdentityEvent& event) { identity_event(event); },
        [this] { return !policy_ || policy_->identities_changed(); });
    identities_->on_settled([this] { release_answers(); });
    for (const std::string& wrong : identities_->start()) log_error(wrong);
}

Result<void> Daemon::open_policy() {
    runtime_->device().pick_up_flows(boot_time_now());
    policy_.emplace(policy::Store(state_directory()), *plane_);
    policy_->observe(this);
    policy_->use_identities([this] { return identities_->registry().holders(); });
    if (auto started = policy_->start(options_.policy_file); !started) return started;
    clock_.reset(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (clock_) watch_clock();
    return {};
}

Result<void> Daemon::open_api() {
    api::add_interface_routes(router_, options_.interface_name, *this);
    api::add_policy_routes(router_, *policy_);
    api::add_identity_routes(
        router_, {*identities_, *this, [this](const PublicKey& peer) { return policy_name(peer); }});
    router_.add_events("/v1/events", api::Role::read);
    auto server = api::Server::open(options_.interface_name, router_, api::system_access());
    if (!server) return tl::unexpected(server.error());
    api_ = std::move(*server);
    if (options_.api_tls) {
        const auto port = api::listen_for_operators(*api_, *options_.api_tls);
        if (!port) return tl::unexpected(port.error());
        log_verbose(fmt::format("control API: TLS on {} port {}", to_text(options_.api_tls->address), *port));
    }
    api_->start();
    settle_tunnel_listener();
    return {};
}

// Open for as long as somebody's certificates are believed. What it lacks, descriptors or memory, may be
// there a little later; the tunnel does not end for it.
void Daemon::settle_tunnel_listener() try {
    if (options_.identity_port == 0 || (!trust_changed_ && boot_time_now() < listen_again_)) return;
    const bool asked = std::exchange(trust_changed_, false);
    listen_again_ = Instant::max();
    if (identities_->store().empty()) return tunnel_.reset();
    if (tunnel_) return;
    listen_again_ = boot_time_now() + kListenAgain;
    // Elsewhere it may be called as an interface here is, which is not ours.
    const auto here = [this] { return is_here(runtime_->tun()).value_or(!moved_); };
    const auto elsewhere = [asked] {
        if (asked)
            log_error("peers cannot prove who they are", "the interface is in another network namespace");
    };
    if (!here()) return elsewhere();
    if (!tunnel_tls_) {
        auto server = trust::make_tls_proof_server();
        if (!server) return log_error("identity listener", server.error().message);
        api::Router router;
        api::add_present_routes(router, *identities_, std::move(server->key));
        tunnel_router_ = std::move(router);
        tunnel_tls_ = std::move(server->context);
    }
    const std::string name = attached_name(runtime_->tun()).value_or(options_.interface_name);
    auto tunnel = api::TunnelServer::open(name, options_.identity_port, tunnel_router_, tunnel_tls_.get(),
                                          [this](const IpAddress& source) { return peer_of(source); });
    if (!tunnel) return log_error("peers cannot prove who they are", tunnel.error().message);
    if (!here() || attached_name(runtime_->tun()) != name) return elsewhere();
    tunnel_ = std::move(*tunnel);
    listen_again_ = Instant::max();
    log_verbose(fmt::format("peers prove who they are on port {} of the tunnel", tunnel_->port()));
} catch (const std::exception& error) {
    log_error("peers cannot prove who they are", error.what());
}

std::string Daemon::policy_name(const PublicKey& peer) const {
    std::string name = policy_->peer_name(peer);
    return name == to_base64(peer.bytes) ? std::string() : name;
}

void Daemon::policy_event(const policy::PolicyEvent& event) {
    identities_->set_longest(policy_->identity_max());
    if (audit_) audit_->policy_event(event);
    if (!api_) return;
    api_->publish(policy::name_of(event.kind), [&] {
        nlohmann::json what = policy_->summary();
        what["by"] = event.who;
        return what;
    });
}

void Daemon::identity_event(const identity::IdentityEvent& event) {
    using Kind = identity::IdentityEvent::Kind;
    trust_changed_ |= event.kind == Kind::trust_changed;
    const std::string peer = event.peer && policy_ ? policy_->peer_name(*event.peer) : std::string();
    const std::string who = event.binding ? identity::label_of(event.binding->identity) : std::string();
    switch (event.kind) {
        case Kind::bound:
            log_notice(fmt::format("{} is {} until {}", peer, who, date_text(event.binding->ends)));
            break;
        case Kind::renewed: break;
        case Kind::refused:
            log_notice(fmt::format("a proof of identity is refused: {}", event.detail));
            break;
        case Kind::ended: log_notice(fmt::format("{} is no longer {} ({})", peer, who, event.reason)); break;
        case Kind::trust_changed: log_notice(fmt::format("{}, by {}", event.detail, event.by)); break;
    }
    if (audit_) audit_->identity_event(event, policy_ ? policy_->in_force() : policy::InForce{});
    if (!api_) return;
    api_->publish(identity::name_of(event.kind), [&] {
        nlohmann::json what{{"by", event.by}, {"reason", event.reason}, {"detail", event.detail}};
        if (event.peer) what["peer"] = to_base64(event.peer->bytes);
        if (event.binding) what["identity"] = identity::to_json(*event.binding);
        return what;
    });
}

// A timer that never ends, but is cancelled when somebody sets the clock.
void Daemon::watch_clock() {
    itimerspec never{};
    never.it_value.tv_sec = std::numeric_limits<std::int32_t>::max();
    ::timerfd_settime(clock_.get(), TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr);
}

int Daemon::poll_timeout() const {
    using Clock = std::chrono::steady_clock;
    // Also with no deadline: to wait for ever would sleep through one that is further away than that.
    constexpr std::int64_t kLongest = 3'600'000;
    std::int64_t left = kLongest;
    const auto consider = [&](Clock::time_point deadline) {
        if (deadline != Clock::time_point::max())
            left =
                std::min(left, std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count());
    };
    consider(uapi_->next_deadline());
    for (const auto& due :
         {policy_->deadline(), identities_->deadline(), audit_ ? audit_->deadline() : std::nullopt}) {
        if (due)
            left = std::min<std::int64_t>(
                left, std::chrono::ceil<std::chrono::milliseconds>(*due - boot_time_now()).count());
    }
    for (const Instant again : {listen_again_, look_again_}) {
        if (again != Instant::max())
            left = std::min<std::int64_t>(
                left, std::chrono::ceil<std::chrono::milliseconds>(again - boot_time_now()).count());
    }
    if (policy_->logs()) left = std::min<std::int64_t>(left, kPolicyLogInterval.count());
    return static_cast<int>(std::max<std::int64_t>(left, 0));
}

void Daemon::handle_policy(const std::vector<pollfd>& set) {
    std::uint64_t ignored = 0;
    if (clock_ && ::read(clock_.get(), &ignored, sizeof ignored) < 0 && errno == ECANCELED) {
        watch_clock();
        policy_->clock_was_set();
        identities_->clock_was_set();
    }
    policy_->tick();
    identities_->tick();
    // Before requests: what was decided by the policy that they change is told in its words.
    record_decisions();
    api_->handle(set);
    if (tunnel_) tunnel_->handle(set);
    if (!identities_->pending()) release_answers();
    settle_tunnel_listener();
}

// Whenever nothing is pending, and not at a turn's end alone: there is a proof again by then that the rules
// just compiled do not know, for as long as somebody has one for each.
void Daemon::release_answers() {
    if (api_) api_->release();
    if (tunnel_) tunnel_->release();
}

void Daemon::record_decisions() {
    policy::LogRecord record;
    for (unsigned worker = 0; worker < runtime_->device().workers(); ++worker) {
        for (unsigned i = 0; i < kPolicyLogMost && runtime_->device().next_policy_log(worker, record); ++i) {
            const auto peer = runtime_->device().public_key_of(record.peer);
            log_notice(policy_->log_line(record, peer));
            if (!audit_) continue;
            audit_->flow(record, peer, policy_->in_force(),
                         peer ? identities_->registry().of(*peer) : std::vector<const identity::Binding*>{});
        }
    }
    if (!audit_) return;
    audit_->tick(runtime_->count(Counter::policy_log_suppressed));
    if (!audit_->wants_look()) return;
    audit_->look([this](Counter counter) { return runtime_->count(counter); },
                 runtime_->device().status().peers,
                 [this](const PublicKey& peer) { return policy_name(peer); });
}

std::string Daemon::run() try {
    std::string why = serve();
    record_decisions();
    if (audit_) audit_->stop(why);
    return why;
} catch (const std::exception& error) {
    if (audit_) audit_->stop(error.what());
    throw;
}

std::string Daemon::serve() {
    using Clock = std::chrono::steady_clock;
    std::vector<pollfd> set;
    Settling settling;
    for (;;) {
        set.clear();
        set.push_back({signals_.get(), POLLIN, 0});
        set.push_back({runtime_->gone_fd(), POLLIN, 0});
        set.push_back({links_->fd(), POLLIN, 0});
        set.push_back({moved_link_.get(), POLLIN, 0});
        uapi_->add_to(set);
        api_->add_to(set);
        if (tunnel_) tunnel_->add_to(set);
        set.push_back({clock_.get(), POLLIN, 0});
        settling.after_poll(::poll(set.data(), set.size(), settling.timeout(poll_timeout())) > 0);
        if (set[0].revents) {
            signalfd_siginfo info{};
            if (::read(signals_.get(), &info, sizeof info) == sizeof info && info.ssi_signo != SIGHUP)
                return fmt::format("ended by {}", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
        }
        if (set[2].revents || set[3].revents || boot_time_now() >= look_again_) handle_link();
        if (set[1].revents || link_gone_) return "the interface was deleted";
        uapi_->handle(set, Clock::now());
        handle_policy(set);
        if (uapi_->removed()) return "the UAPI socket was deleted";
    }
}

void Daemon::handle_link() {
    LinkEvents events = links_->events();
    if (events.gone && !moved_ && attached_name(runtime_->tun())) {
        moved_ = true;
        trust_changed_ |= tunnel_ != nullptr;  // it opens again where the interface comes back
        tunnel_.reset();
        log_verbose("the interface was moved to another network namespace");
    }
    if (moved_) {
        // Routing is still the underlay's namespace's; the interface is where it was moved to.
        const bool routing_changed = events.routing_changed;
        events = look_where_it_moved();
        events.routing_changed = routing_changed;
    }
    link_gone_ |= events.gone;
    if (events.mtu && *events.mtu != mtu_) {
        mtu_ = *events.mtu;
        runtime_->device().set_mtu(mtu_);
        log_verbose(fmt::format("MTU {}", mtu_));
    }
    if (events.routing_changed) runtime_->device().clear_sources();
    if (events.up) {
        runtime_->device().set_running(*events.up, boot_time_now());
        runtime_->attend();
    }
}

// Gone from here, but not deleted: somebody has moved it to another network namespace (`ip link set wg0 netns
// …`), where it goes on, with the underlay's sockets here. That it is deleted there the TUN device tells.
// Looking at it there takes CAP_SYS_ADMIN; without that it counts as up.
LinkEvents Daemon::look_where_it_moved() {
    // Anew each time, since it may have moved on; and before looking, so that nothing is missed.
    auto listening = listen_to_moved_interface(runtime_->tun());
    moved_link_ = listening ? std::move(*listening) : Fd();
    auto seen = look_at_moved_interface(runtime_->tun());
    const bool may_not = !seen && (seen.error().code == EPERM || seen.error().code == EACCES);
    look_again_ = may_not ? Instant::max() : boot_time_now() + kLookAgain;
    if (seen) {
        seen->gone = false;
        if (std::exchange(moved_up_, seen->up) == seen->up) seen->up.reset();  // nobody is to wake for it
        return *seen;
    }
    moved_link_.reset();
    LinkEvents events;
    if (!moved_up_) {
        log_error("the interface was moved to another network namespace, and can't be watched there: " +
                  seen.error().message);
        events.up = moved_up_ = true;
    }
    return events;
}

DeviceStatus Daemon::status() { return runtime_->device().status(); }

// Port and mark can be refused by the kernel, so they come first and go back when the rest fails.
Result<void> Daemon::apply(DeviceChange change) {
    Device& device = runtime_->device();
    if (auto fine = device.check(change); !fine) return fine;
    const std::uint16_t port_before = runtime_->listen_port();
    if (change.listen_port && *change.listen_port != port_before) {
        if (auto set = runtime_->set_listen_port(*change.listen_port); !set) return set;
        log_verbose(fmt::format("UDP port {}", runtime_->listen_port()));
    }
    if (change.fwmark) {
        if (auto set = runtime_->set_fwmark(*change.fwmark); !set) {
            if (runtime_->listen_port() != port_before) (void)runtime_->set_listen_port(port_before);
            return set;
        }
    }
    change.listen_port = runtime_->listen_port();
    auto applied = device.apply(change, boot_time_now());
    if (applied) identities_->peers_changed();
    runtime_->attend();
    return applied;
}

void Daemon::refused(const Error& why) { log_error(why.message); }

std::string Daemon::status_json() {
    return interface_facts().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<Daemon::NamedOffload> Daemon::offloads() const {
    const auto faulted = [](const Offload& o, bool fault, const char* reason) {
        return fault ? Offload{false, reason} : o;
    };
    bool gso_fault = false, tun_fault = false;
    for (unsigned i = 0; i < runtime_->tun().queues.size(); ++i) {
        gso_fault |= runtime_->faults(i).udp_gso_v4 || runtime_->faults(i).udp_gso_v6;
        tun_fault |= runtime_->faults(i).tun_gso;
    }
    const char* tun_reason = "the kernel refused a superpacket written to the TUN device (EINVAL)";
    const char* gso_reason = "the kernel refused a segmented send (EIO: no checksum offload on the way out)";
    return {{"tso", faulted(runtime_->tun().tso, tun_fault, tun_reason)},
            {"uso", faulted(runtime_->tun().uso, tun_fault, tun_reason)},
            {"gso", faulted(runtime_->underlay().gso, gso_fault, gso_reason)},
            {"gro", runtime_->underlay().gro},
            {"ipv6", runtime_->underlay().v6}};
}

nlohmann::json Daemon::interface_facts() {
    using nlohmann::json;
    json counters = json::object();
    for (std::size_t i = 0; i < kCounterCount; ++i)
        counters[std::string(kCounterInfo[i].name)] = runtime_->count(static_cast<Counter>(i));
    json offloads_json = json::object();
    for (const auto& [name, state] : offloads())
        offloads_json[name] = {{"on", state.on}, {"reason", state.reason}};
    const HandOverCounts hand_over = runtime_->hand_over();
    json facts{
        {"version", VERN_VERSION},
        {"engine", {{"name", runtime_->engine_name()}, {"reason", runtime_->engine_reason()}}},
        {"aead", {{"name", options_.aead->name}, {"reason", options_.aead_reason}}},
        {"workers", runtime_->tun().queues.size()},
        {"hand_over", {{"tasks", hand_over.tasks}, {"calls", hand_over.calls}, {"stalls", hand_over.stalls}}},
        {"helpers", runtime_->helpers()},
        {"mtu", mtu_},
        {"offloads", std::move(offloads_json)},
        {"counters", std::move(counters)},
        {"policy", policy_->summary()}};
    if (audit_) facts["audit"] = audit_->summary();
    return facts;
}

api::Measured Daemon::measured() {
    api::Measured measured;
    measured.engine = runtime_->engine_name();
    measured.aead = options_.aead->name;
    measured.workers = static_cast<unsigned>(runtime_->tun().queues.size());
    measured.helpers = runtime_->helpers();
    for (std::size_t i = 0; i < kCounterCount; ++i)
        measured.counters[i] = runtime_->count(static_cast<Counter>(i));
    for (const auto& [name, state] : offloads()) measured.offloads.emplace_back(name, state.on);
    const QueueDepths depths = runtime_->queue_depths();
    measured.queues = {{"handshakes", depths.handshakes},
                       {"attention", depths.attention},
                       {"staged", depths.staged},
                       {"aead", depths.aead}};
    measured.service = runtime_->service_times();
    measured.identities = identities_->registry().size();
    if (audit_) measured.audit = audit_->keeping();
    if (tunnel_) measured.tunnel_handshakes_limited = tunnel_->counts().handshakes_limited;
    const DeviceStatus status = runtime_->device().status();
    measured.peers_total = status.peers.size();
    for (const PeerStatus& peer : status.peers) {
        if (measured.peers.size() == api::kPeersMeasuredMax) break;
        std::string key = to_base64(peer.public_key.bytes), name = policy_->peer_name(peer.public_key);
        if (name == key) name.clear();
        measured.peers.push_back({.key = std::move(key),
                                  .name = std::move(name),
                                  .receive_bytes = peer.receive_bytes,
                                  .transmit_bytes = peer.transmit_bytes,
                                  .latest_handshake = peer.latest_handshake});
    }
    measured.policy = policy_->measured(api::kRulesMeasuredMax);
    measured.api = api_->counts();
    return measured;
}

}  // namespace vern
