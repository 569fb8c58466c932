#include "control/api/tunnel_server.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "control/api/courtesy.h"
#include "control/api/listener.h"
#include "control/api/server_core.h"
#include "control/api/source.h"
#include "control/text.h"
#include "control/trust/tls_trust.h"

namespace vern::api {
namespace {

namespace net = boost::asio;
using Tcp = net::ip::tcp;
using Failure = boost::system::error_code;

constexpr unsigned char kTlsHandshake = 22;  // RFC 8446, 5.1: the content type of a first record

// Over IPv6 and IPv4 at once, or IPv4 alone where there is no IPv6.
Result<Fd> listen_on(const std::string& interface, std::uint16_t port) {
    const std::string where = interface + " port " + std::to_string(port);
    Fd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const bool v6 = static_cast<bool>(fd);
    if (!v6) fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int off = 0, on = 1;
    if (!fd) return fail_errno("listen on " + where, errno);
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, interface.c_str(),
                     static_cast<socklen_t>(interface.size())) != 0)
        return fail_errno("listen on " + where + " alone", errno);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (v6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    sockaddr_in6 at6{};
    at6.sin6_family = AF_INET6;
    at6.sin6_port = htons(port);
    sockaddr_in at4{};
    at4.sin_family = AF_INET;
    at4.sin_port = htons(port);
    const auto* at = v6 ? reinterpret_cast<const sockaddr*>(&at6) : reinterpret_cast<const sockaddr*>(&at4);
    if (::bind(fd.get(), at, v6 ? sizeof at6 : sizeof at4) != 0 || ::listen(fd.get(), SOMAXCONN) != 0)
        return fail_errno("listen on " + where, errno);
    return fd;
}

}  // namespace

// Small requests of few connections each, from many who need not be friends.
Limits tunnel_limits() {
    Limits limits;
    limits.header_bytes_max = 8 << 10;
    limits.bodies_bytes_max = std::size_t{8} << 20;
    limits.answers_bytes_max = std::size_t{8} << 20;
    limits.jobs_max = 256;
    limits.requests_a_second = 0;  // after a restart every peer proves who it is at once
    limits.connections_max = limits.readers_max = 1024;
    limits.of_caller_max = 4;
    limits.handshakes_max = 256;
    limits.idle = std::chrono::milliseconds(10'000);
    return limits;
}

struct TunnelServer::State {
    State(const Router& router, const Limits& most, std::unique_ptr<JobQueue> queue, SSL_CTX* tls,
          PeerOf owner)
        : core("identity listener", router, most, std::move(queue)), peer_of(std::move(owner)), context(tls) {
        ::SSL_CTX_up_ref(context);
    }
    ~State() {
        core.stop();
        ::SSL_CTX_free(context);
    }

    // A connection of which not a byte has come yet.
    struct Silent {
        Silent(net::io_context& io, Tcp::socket of, const IpAddress& from, std::string whose,
               Session::Place taken)
            : socket(std::move(of)),
              source(from),
              peer(std::move(whose)),
              patience(io),
              place(std::move(taken)) {}
        Tcp::socket socket;
        const IpAddress source;
        const std::string peer;
        net::steady_timer patience;
        Session::Place place;
    };
    void greet(Tcp::socket socket);
    void begin(Silent& silent);

    ServerCore core;
    const PeerOf peer_of;
    SSL_CTX* const context;
    std::optional<Listener<Tcp>> listener;
    std::uint16_t port = 0;
};

void TunnelServer::State::greet(Tcp::socket socket) {
    const auto source = source_of(socket);
    if (!source) return;
    const auto owner = peer_of(*source);
    if (!owner) return core.statistics.add(&Counts::connections_refused);
    std::string peer = to_base64(owner->bytes);
    auto place = core.places.take_for_handshake(peer);
    if (!place) return;
    auto silent = std::make_shared<Silent>(core.common.io, std::move(socket), *source, std::move(peer),
                                           std::move(place));
    silent->patience.expires_after(core.limits.handshake);
    silent->patience.async_wait([silent](const Failure& ended) {
        Failure ignored;
        if (!ended) silent->socket.close(ignored);
    });
    silent->socket.async_wait(Tcp::socket::wait_read, [this, silent](const Failure& error) {
        silent->patience.cancel();
        if (!error) begin(*silent);
    });
}

void TunnelServer::State::begin(Silent& silent) {
    unsigned char first = 0;
    if (::recv(silent.socket.native_handle(), &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1) return;
    Caller caller;
    caller.role = Role::peer;
    caller.address = silent.source;
    caller.name = silent.peer;
    Failure error;
    silent.socket.set_option(Tcp::no_delay(true), error);
    if (first == kTlsHandshake) {
        if (!core.handshakes.take(silent.peer, Budget::Clock::now()))
            return core.statistics.add(&Counts::handshakes_limited);
        const auto identify = [caller](SSL* ssl) {
            Caller known = caller;
            known.certificates = trust::shown_certificates(ssl);
            return std::optional(std::move(known));
        };
        Session::make(core.common, make_tls_stream(std::move(silent.socket), context, identify),
                      std::move(silent.place), [this](const Caller& one) { return core.places.take(one); })
            ->start();
        return;
    }
    silent.place.reset();
    auto place = core.places.take(caller);
    if (!place) return;
    Session::make(core.common, make_tcp_stream(std::move(silent.socket), std::move(caller)), std::move(place),
                  {})
        ->start();
}

TunnelServer::TunnelServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
TunnelServer::~TunnelServer() = default;

Result<std::unique_ptr<TunnelServer>> TunnelServer::open(const std::string& interface, std::uint16_t port,
                                                         const Router& router, ssl_ctx_st* context,
                                                         PeerOf peer_of, const Limits& limits) {
    auto fd = listen_on(interface, port);
    if (!fd) return tl::unexpected(fd.error());
    auto jobs = JobQueue::make(limits.jobs_max);
    if (!jobs) return tl::unexpected(jobs.error());
    auto state = std::make_unique<State>(router, limits, std::move(*jobs), context, std::move(peer_of));
    State& made = *state;
    made.listener.emplace(made.core.common.io,
                          [&made](Tcp::socket socket) { made.greet(std::move(socket)); });
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    ::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&bound), &length);
    const bool v6 = bound.ss_family == AF_INET6;
    made.port = ntohs(v6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                         : reinterpret_cast<sockaddr_in&>(bound).sin_port);
    Failure error;
    made.listener->acceptor().assign(v6 ? Tcp::v6() : Tcp::v4(), fd->get(), error);
    if (error) return fail("identity listener: " + error.message(), error.value());
    (void)fd->release();
    made.listener->accept();
    made.core.start(yield_to_workers);
    return std::unique_ptr<TunnelServer>(new TunnelServer(std::move(state)));
}

std::uint16_t TunnelServer::port() const { return state_->port; }

void TunnelServer::add_to(std::vector<pollfd>& set) const { state_->core.add_to(set); }

void TunnelServer::handle(const std::vector<pollfd>& set) { state_->core.handle(set); }

Counts TunnelServer::counts() const { return state_->core.statistics.read(); }

void TunnelServer::release() { state_->core.jobs->release(); }

}  // namespace vern::api
