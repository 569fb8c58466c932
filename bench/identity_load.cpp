// identity_load ssh|x509 COUNT AT_ONCE DAEMON_KEY ENDPOINT DIRECTORY: so many peers, each in a tunnel of its
// own from this network namespace (interface farm0), prove who they are to the daemon behind it as `vern
// present` does: an invitation over a connection of its own, then the proof over the next.
//
// Leaves `ca` for `vern trust` and `peers.conf` for `wg addconf` in DIRECTORY and says "ready"; at the first
// line that it is told it makes the sessions and says "joined"; at each more it has every peer prove itself
// once and says in a line of JSON how that went. ENDPOINT is ADDRESS:PORT, the listener 10.100.0.1:51821.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>

#include "control/json.h"
#include "control/text.h"
#include "control/trust/certificate_library.h"
#include "control/trust/ssh_key.h"
#include "control/trust/statement.h"
#include "crypto/start.h"
#include "dataplane/runtime/system_random.h"
#include "identity_mint.h"
#include "tunnel_farm.h"

namespace {

using namespace vern;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr trust::UnixSeconds kLife = 3600;
constexpr std::size_t kAnswerBytesMax = 16 << 10;
constexpr std::uint16_t kPort = 51821;

void must(bool holds, const char* what) {
    if (holds) return;
    std::perror(what);
    std::exit(1);
}

std::string request_of(std::string_view target, std::string_view body) {
    return "POST " + std::string(target) +
           " HTTP/1.1\r\nHost: vernd\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + std::string(body);
}

struct Users {
    bench::SshUsers ssh;
    bench::TlsUsers tls;  // one of both is empty
};

// One request and its answer over a connection of its own, from a peer's address.
class Exchange {
  public:
    Exchange(int epoll, std::uint64_t id, std::size_t peer, std::string request, SSL* tls)
        : request_(std::move(request)), tls_(tls) {
        fd_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const int on = 1;
        ::setsockopt(fd_.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        sockaddr_in from{}, to{};
        from.sin_family = to.sin_family = AF_INET;
        from.sin_addr = bench::TunnelFarm::address(peer);
        to.sin_port = htons(kPort);
        ::inet_pton(AF_INET, "10.100.0.1", &to.sin_addr);
        must(fd_ && ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from) == 0, "bind");
        must(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 ||
                 errno == EINPROGRESS,
             "connect");
        if (tls_) ::SSL_set_fd(tls_.get(), fd_.get());
        epoll_event wanted{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.u64 = id}};
        must(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd_.get(), &wanted) == 0, "epoll");
    }

    // As far as it goes without waiting. True: it is over.
    bool advance() {
        while (sent_ < request_.size()) {
            const int put = tls_ ? ::SSL_write(tls_.get(), request_.data(), static_cast<int>(request_.size()))
                                 : static_cast<int>(::send(fd_.get(), request_.data() + sent_,
                                                           request_.size() - sent_, MSG_NOSIGNAL));
            if (put <= 0) return failed(put);
            sent_ += static_cast<std::size_t>(put);
        }
        for (;;) {
            char some[4096];
            const int got = tls_ ? ::SSL_read(tls_.get(), some, sizeof some)
                                 : static_cast<int>(::recv(fd_.get(), some, sizeof some, 0));
            if (got == 0 && !tls_) return true;
            if (got <= 0) return failed(got);
            answer_.append(some, static_cast<std::size_t>(got));
            if (answer_.size() > kAnswerBytesMax) return true;
        }
    }
    unsigned status() const {
        return answer_.size() < 12 ? 0 : static_cast<unsigned>(std::stoul(answer_.substr(9, 3)));
    }
    json body() const {
        const auto end = answer_.find("\r\n\r\n");
        return end == std::string::npos ? json() : json::parse(answer_.substr(end + 4), nullptr, false);
    }

  private:
    struct Free {
        void operator()(SSL* ssl) const { ::SSL_free(ssl); }
    };
    bool failed(int result) const {
        if (!tls_) return errno != EAGAIN && errno != ENOTCONN;
        const int why = ::SSL_get_error(tls_.get(), result);
        return why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE;
    }
    std::string request_, answer_;
    std::size_t sent_ = 0;
    Fd fd_;
    std::unique_ptr<SSL, Free> tls_;
};

class Load {
  public:
    Load(bench::TunnelFarm& farm, const PublicKey& daemon, const Users& users)
        : farm_(farm),
          daemon_(daemon),
          users_(users),
          context_(::SSL_CTX_new_ex(trust::certificate_library(), nullptr, TLS_client_method())),
          epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        ::SSL_CTX_set_min_proto_version(context_, TLS1_3_VERSION);
        // Nobody can be in between here: no chain is looked for that would be of no use.
        ::SSL_CTX_set_cert_verify_callback(
            context_, [](X509_STORE_CTX*, void*) { return 1; }, nullptr);
        for (const int fd : {farm.tun_fd(), farm.udp_fd()}) {
            epoll_event wanted{.events = EPOLLIN, .data = {.u64 = kFarm}};
            must(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &wanted) == 0, "epoll");
        }
    }

    json run(std::size_t at_once) {
        next_ = 0;
        latencies_.clear();
        outcomes_.clear();
        const auto begin = Clock::now();
        while (next_ < std::min(at_once, farm_.size())) start_next();
        while (!clients_.empty()) turn();
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        std::sort(latencies_.begin(), latencies_.end());
        const auto at = [&](double part) {
            return latencies_.empty() ? 0
                                      : latencies_[static_cast<std::size_t>(
                                            part * static_cast<double>(latencies_.size() - 1))];
        };
        return {{"bound", latencies_.size()},
                {"others", outcomes_},
                {"seconds", seconds},
                {"median_ms", at(0.5)},
                {"percentile99_ms", at(0.99)}};
    }

  private:
    static constexpr std::uint64_t kFarm = ~std::uint64_t{0};
    struct Client {
        Clock::time_point begin;
        std::unique_ptr<Exchange> exchange;
        bool invited = false;
    };

    void start_next() {
        const std::size_t peer = next_++;
        clients_[peer] = {Clock::now(), exchange(peer, request_of("/v1/invitation", ""), nullptr), false};
    }
    std::unique_ptr<Exchange> exchange(std::size_t peer, std::string request, SSL* tls) {
        return std::make_unique<Exchange>(epoll_.get(), peer, peer, std::move(request), tls);
    }

    void turn() {
        std::array<epoll_event, 256> events;
        const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 10'000);
        if (count < 0 && errno == EINTR) return;  // stopped and continued
        must(count > 0, "nothing happens any more");
        for (const epoll_event& event : std::span(events).first(static_cast<std::size_t>(count))) {
            if (event.data.u64 == kFarm) {
                farm_.carry();
                continue;
            }
            const auto client = clients_.find(event.data.u64);
            if (client != clients_.end() && client->second.exchange->advance())
                answered(client->first, client->second);
        }
    }

    void answered(std::size_t peer, Client& client) {
        const json said = client.exchange->body();
        const unsigned status = client.exchange->status();
        if (status == 200 && !client.invited) {
            client.invited = true;
            client.exchange = present(peer, said);
            return;
        }
        if (status == 200)
            latencies_.push_back(
                std::chrono::duration<double, std::milli>(Clock::now() - client.begin).count());
        else
            ++outcomes_[std::to_string(status) + " " +
                        (said.is_object() ? said.value("code", "") : std::string())];
        clients_.erase(peer);
        if (next_ < farm_.size()) start_next();
    }

    std::unique_ptr<Exchange> present(std::size_t peer, const json& invitation) {
        if (!users_.tls.users.empty()) {
            SSL* const tls = ::SSL_new(context_);
            ::SSL_use_certificate(tls, users_.tls.users[peer].certificate.get());
            ::SSL_use_PrivateKey(tls, users_.tls.users[peer].key.get());
            ::SSL_set_connect_state(tls);
            const json keys{{"wg", to_base64(farm_.key(peer).bytes)}, {"audience", to_base64(daemon_.bytes)}};
            return exchange(peer, request_of("/v1/present", keys.dump()), tls);
        }
        trust::Statement statement{.wg = farm_.key(peer), .audience = daemon_, .nonce = {}, .not_after = {}};
        const auto nonce = trust::decode_base64(invitation.value("nonce", ""), "", "nonce");
        must(nonce && nonce->size() == statement.nonce.size(), "nonce");
        std::ranges::copy(std::as_bytes(std::span(*nonce)), statement.nonce.begin());
        statement.not_after = std::time(nullptr) + kLife;
        const std::string text = encode_statement(statement);
        const json body{{"statement", text}, {"signature", users_.ssh.sign[peer](text)}};
        return exchange(peer, request_of("/v1/present", body.dump()), nullptr);
    }

    bench::TunnelFarm& farm_;
    const PublicKey daemon_;
    const Users& users_;
    SSL_CTX* const context_;
    Fd epoll_;
    std::size_t next_ = 0;
    std::map<std::size_t, Client> clients_;
    std::vector<double> latencies_;  // ms, of those that were bound
    std::map<std::string, std::size_t> outcomes_;
};

bool told() {
    std::string line;
    return static_cast<bool>(std::getline(std::cin, line));
}

sockaddr_in endpoint_of(const std::string& text) {
    sockaddr_in endpoint{};
    endpoint.sin_family = AF_INET;
    const auto colon = text.find(':');
    must(colon != std::string::npos &&
             ::inet_pton(AF_INET, text.substr(0, colon).c_str(), &endpoint.sin_addr) == 1,
         "endpoint");
    endpoint.sin_port = htons(static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1))));
    return endpoint;
}

}  // namespace

int main(int argc, char** argv) {
    PublicKey daemon;
    if (argc != 7 || !start_crypto() || !from_base64(argv[4], daemon.bytes)) {
        std::fprintf(stderr, "usage: identity_load ssh|x509 COUNT AT_ONCE DAEMON_KEY ENDPOINT DIRECTORY\n");
        return 2;
    }
    const bool ssh = std::string_view(argv[1]) == "ssh";
    const auto count = std::stoul(argv[2]);
    const trust::UnixSeconds now = std::time(nullptr);
    SystemRandom random;
    bench::TunnelFarm farm("farm0", count, random);
    Users users;
    if (ssh)
        users.ssh = bench::mint_ssh_users(count, now - 60, now + kLife);
    else
        users.tls = bench::mint_tls_users(count, now - 60, now + kLife);
    const std::string directory = std::string(argv[6]) + "/";
    std::ofstream(directory + "ca") << (ssh ? users.ssh.ca_line : users.tls.ca_pem);
    std::ofstream(directory + "peers.conf") << farm.peers_conf();
    std::cout << "ready" << std::endl;
    if (!told()) return 0;
    farm.handshake(daemon, endpoint_of(argv[5]));
    std::cout << "joined" << std::endl;
    Load load(farm, daemon, users);
    while (told()) std::cout << load.run(std::stoul(argv[3])).dump() << std::endl;
    return 0;
}
