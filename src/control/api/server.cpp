#include "control/api/server.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>

#include "control/api/listener.h"
#include "control/api/server_core.h"
#include "control/api/source.h"
#include "control/log.h"
#include "control/socket_file.h"
#include "control/text.h"

namespace vern::api {
namespace {

namespace net = boost::asio;
using Failure = boost::system::error_code;

constexpr unsigned kEventsUnderWayMax = 1024;  // from the control thread to ours

struct FreeContext {
    void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
};

// What must hold of every context, whoever made it.
Result<void> tighten(SSL_CTX* context) {
    constexpr int kWanted = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    if ((::SSL_CTX_get_verify_mode(context) & kWanted) != kWanted)
        return fail("control API: TLS without client certificates is not spoken");
    if (::SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        ::SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
        ::SSL_CTX_set_num_tickets(context, 0) != 1 || ::SSL_CTX_set_max_early_data(context, 0) != 1)
        return fail("control API: TLS 1.3 cannot be set up");
    ::SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return {};
}

Result<void> share(const SocketFile& file, const Access& access) {
    if (access.socket_mode() == 0600) return {};
    auto shared = file.share(access.socket_mode(), access.socket_group());
    // A daemon without CAP_CHOWN may not give its file to a group; then role_of() alone decides.
    if (!shared && access.socket_group()) return file.share(0666, std::nullopt);
    return shared;
}

}  // namespace

struct Server::State {
    using Unix = net::local::stream_protocol;
    using Tcp = net::ip::tcp;

    State(const Router& router, const Access& of, const Limits& most, SocketFile socket_file,
          std::unique_ptr<JobQueue> queue)
        : core("control API", router, most, std::move(queue)), access(of), file(std::move(socket_file)) {}
    ~State() { core.stop(); }

    void greet(Unix::socket socket);
    void greet(Tcp::socket socket);

    ServerCore core;
    const Access access;
    SocketFile file;
    std::optional<Listener<Unix>> unix_listener;
    std::unique_ptr<SSL_CTX, FreeContext> context;
    Identify identify;
    std::optional<Listener<Tcp>> tls_listener;
    std::atomic<unsigned> events_under_way{0};
    std::uint64_t events = 0;  // published so far
};

void Server::State::greet(Unix::socket socket) {
    auto peer = peer_of(socket.native_handle());
    if (!peer) return;
    Caller caller = caller_of(std::move(*peer), access);
    auto place = core.places.take(caller);
    if (!place) return;
    Session::make(core.common, make_unix_stream(std::move(socket), std::move(caller)), std::move(place), {})
        ->start();
}

void Server::State::greet(Tcp::socket socket) {
    const auto source = source_of(socket);
    if (!source) return;
    auto place = core.places.take_for_handshake(source_network(*source));
    if (!place) return;
    if (!core.handshakes.take(source_network(*source), Budget::Clock::now()))
        return core.statistics.add(&Counts::handshakes_limited);
    Failure ignored;
    socket.set_option(Tcp::no_delay(true), ignored);
    Session::make(core.common, make_tls_stream(std::move(socket), context.get(), identify), std::move(place),
                  [this](const Caller& caller) { return core.places.take(caller); })
        ->start();
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::open(std::string_view name, const Router& router,
                                             const Access& access, const Limits& limits,
                                             std::string_view directory) {
    auto file = SocketFile::open(name, directory);
    if (!file) return tl::unexpected(file.error());
    auto jobs = JobQueue::make(limits.jobs_max);
    if (!jobs) return tl::unexpected(jobs.error());
    if (auto shared = share(*file, access); !shared)
        log_error("the control API is for its owner only: " + shared.error().message);
    Fd listener = file->take_listener();
    auto state = std::make_unique<State>(router, access, limits, std::move(*file), std::move(*jobs));
    State& made = *state;
    made.unix_listener.emplace(made.core.common.io,
                               [&made](State::Unix::socket socket) { made.greet(std::move(socket)); });
    Failure error;
    made.unix_listener->acceptor().assign(State::Unix(), listener.get(), error);
    if (error) return fail("control API: " + error.message(), error.value());
    (void)listener.release();
    return std::unique_ptr<Server>(new Server(std::move(state)));
}

Result<std::uint16_t> Server::listen_tls(const IpAddress& address, std::uint16_t port, ssl_ctx_st* context,
                                         Identify identify) {
    if (auto tight = tighten(context); !tight) return tl::unexpected(tight.error());
    State& state = *state_;
    Failure error;
    const State::Tcp::endpoint at(net::ip::make_address(to_text(address), error), port);
    if (error) return fail("control API: that is no address to listen on");
    ::SSL_CTX_up_ref(context);
    state.context.reset(context);
    state.identify = std::move(identify);
    state.tls_listener.emplace(state.core.common.io,
                               [&state](State::Tcp::socket socket) { state.greet(std::move(socket)); });
    auto& acceptor = state.tls_listener->acceptor();
    const std::string where = fmt::format("control API: {} port {}: ", to_text(address), port);
    acceptor.open(at.protocol(), error);
    if (!error) acceptor.set_option(State::Tcp::acceptor::reuse_address(true), error);
    if (!error && at.address().is_v6()) acceptor.set_option(net::ip::v6_only(true), error);
    if (!error) acceptor.bind(at, error);
    if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
    if (error) return fail(where + error.message(), error.value());
    return acceptor.local_endpoint(error).port();
}

void Server::start() {
    State& state = *state_;
    state.unix_listener->accept();
    if (state.tls_listener) state.tls_listener->accept();
    state.core.start();
}

void Server::add_to(std::vector<pollfd>& set) const { state_->core.add_to(set); }

void Server::handle(const std::vector<pollfd>& set) { state_->core.handle(set); }

void Server::release() { state_->core.jobs->release(); }

void Server::publish(std::string_view event, const std::function<nlohmann::json()>& data) {
    State& state = *state_;
    ++state.events;
    state.core.statistics.add(&Counts::events_published);
    if (!state.core.common.heard) return;
    if (state.events_under_way.load() >= kEventsUnderWayMax) return;
    auto text = std::make_shared<const std::string>(
        fmt::format("id: {}\nevent: {}\ndata: {}\n\n", state.events, event,
                    data().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
    state.events_under_way.fetch_add(1);
    net::post(state.core.common.io, [&state, text = std::move(text)] {
        state.events_under_way.fetch_sub(1);
        // One that is too slow goes, and with it its place in the set.
        const auto listeners = state.core.common.listeners;
        for (const auto& session : listeners) session->tell(text);
    });
}

Counts Server::counts() const { return state_->core.statistics.read(); }

const std::string& Server::path() const { return state_->file.path(); }

}  // namespace vern::api
