// The control API over TLS: certificates made here, and a client of OpenSSL's.
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <future>
#include <thread>

#include "control/api/stream.h"
#include "control/log.h"
#include "served.h"

namespace vern::api::test {
namespace {

using nlohmann::json;

struct Free {
    void operator()(EVP_PKEY* key) const { ::EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { ::X509_free(certificate); }
    void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
    void operator()(SSL* channel) const { ::SSL_free(channel); }
};
using Key = std::unique_ptr<EVP_PKEY, Free>;
using Certificate = std::unique_ptr<X509, Free>;
using Context = std::unique_ptr<SSL_CTX, Free>;

struct Party {
    Key key{::EVP_EC_gen("P-256")};
    Certificate certificate;
};

// Signed by `issuer`, or by itself.
Party party(const char* name, const Party* issuer, long ends_in_s = 3600) {
    Party made;
    made.certificate.reset(::X509_new());
    X509* x = made.certificate.get();
    ::X509_set_version(x, 2);
    static long serial = 0;
    ::ASN1_INTEGER_set(::X509_get_serialNumber(x), ++serial);
    ::X509_gmtime_adj(::X509_getm_notBefore(x), -7200);
    ::X509_gmtime_adj(::X509_getm_notAfter(x), ends_in_s);
    ::X509_NAME_add_entry_by_txt(::X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
    ::X509_set_issuer_name(x, ::X509_get_subject_name(issuer ? issuer->certificate.get() : x));
    ::X509_set_pubkey(x, made.key.get());
    X509_EXTENSION* basic = ::X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints,
                                                  issuer ? "CA:FALSE" : "critical,CA:TRUE");
    ::X509_add_ext(x, basic, -1);
    ::X509_EXTENSION_free(basic);
    EXPECT_GT(::X509_sign(x, (issuer ? issuer : &made)->key.get(), ::EVP_sha256()), 0);
    return made;
}

void trust(SSL_CTX* context, const Party& ca) {
    ::X509_STORE_add_cert(::SSL_CTX_get_cert_store(context), ca.certificate.get());
}

void show(SSL_CTX* context, const Party& self) {
    EXPECT_EQ(::SSL_CTX_use_certificate(context, self.certificate.get()), 1);
    EXPECT_EQ(::SSL_CTX_use_PrivateKey(context, self.key.get()), 1);
}

std::string common_name(SSL* channel) {
    const Certificate peer(::SSL_get1_peer_certificate(channel));
    if (!peer) return {};
    char name[64] = "";
    ::X509_NAME_get_text_by_NID(::X509_get_subject_name(peer.get()), NID_commonName, name, sizeof name);
    return name;
}

class TlsClient {
  public:
    TlsClient(std::uint16_t port, const Party& ca, const Party* self, int version = TLS1_3_VERSION,
              const char* from = "127.0.0.1")
        : context_(::SSL_CTX_new(::TLS_client_method())), fd_(dial(port, from)) {
        trust(context_.get(), ca);
        ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
        ::SSL_CTX_set_max_proto_version(context_.get(), version);
        if (self) show(context_.get(), *self);
        channel_.reset(::SSL_new(context_.get()));
        ::SSL_set_fd(channel_.get(), fd_.get());
        connected_ = ::SSL_connect(channel_.get()) == 1;
    }
    SSL* channel() { return channel_.get(); }

    // Empty: the server answered nothing. In TLS 1.3 a client learns only by reading that he was refused.
    std::string ask(const std::string& request) {
        if (!connected_ || ::SSL_write(channel_.get(), request.data(), static_cast<int>(request.size())) <= 0)
            return {};
        std::string answer;
        std::array<char, 4096> chunk;
        std::size_t head = std::string::npos, whole = 0;
        while (head == std::string::npos || answer.size() < whole) {
            const int got = ::SSL_read(channel_.get(), chunk.data(), chunk.size());
            if (got <= 0) return {};
            answer.append(chunk.data(), static_cast<std::size_t>(got));
            if (head != std::string::npos || (head = answer.find("\r\n\r\n")) == std::string::npos) continue;
            whole = head + 4 + std::stoul(answer.substr(answer.find("Content-Length: ") + 16));
        }
        return answer;
    }

  private:
    Context context_;
    Fd fd_;
    std::unique_ptr<SSL, Free> channel_;
    bool connected_ = false;
};

class TlsTest : public Served {
  protected:
    TlsTest() {
        set_log_level(LogLevel::silent);
        ::signal(SIGPIPE, SIG_IGN);  // OpenSSL's own writes
        context.reset(::SSL_CTX_new(::TLS_server_method()));
        show(context.get(), host);
        trust(context.get(), ca);
        ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    }

    Result<std::uint16_t> listen(Server::Identify identify) {
        auto opened = Server::open("wg0", router, {}, limits, directory.path());
        if (!opened) return tl::unexpected(opened.error());
        server = std::move(*opened);
        return server->listen_tls(*parse_loopback(), 0, context.get(), std::move(identify));
    }
    void serve_tls(Server::Identify identify) {
        const auto listening = listen(std::move(identify));
        ASSERT_TRUE(listening) << listening.error().message;
        port = *listening;
        server->start();
        control.emplace(*server);
    }
    static std::optional<IpAddress> parse_loopback() {
        constexpr std::array kBytes{std::byte{127}, std::byte{0}, std::byte{0}, std::byte{1}};
        return IpAddress::v4(kBytes);
    }
    static std::optional<Caller> by_name(SSL* channel) {
        const std::string name = common_name(channel);
        const Role role = name == "writer" ? Role::write : name == "reader" ? Role::read : Role::none;
        return Caller{.role = role, .name = name, .unix_peer = {}};
    }

    const Party ca = party("ca", nullptr), host = party("host", &ca);
    Context context;
    Limits limits;
    std::uint16_t port = 0;
};

TEST_F(TlsTest, CertificatesSayWhoMay) {
    serve_tls(by_name);
    const Party writer = party("writer", &ca), reader = party("reader", &ca);
    TlsClient one(port, ca, &writer);
    const std::string answer = one.ask(get("/echo?a=1"));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_NE(answer.find("\"by\":\"writer\""), std::string::npos);
    EXPECT_TRUE(
        one.ask(put("/echo", 100'000) + std::string(100'000, 'x')).starts_with("HTTP/1.1 200 OK\r\n"));
    TlsClient other(port, ca, &reader);
    EXPECT_TRUE(other.ask(get("/echo")).starts_with("HTTP/1.1 200 OK\r\n"));
    EXPECT_TRUE(other.ask(put("/echo", 0)).starts_with("HTTP/1.1 403 "));
    EXPECT_EQ(server->counts().handshakes_failed, 0u);
}

// Over TCP a connection that is closed while something is unread takes its answer back.
TEST_F(TlsTest, WhoSendsTooMuchSeesWhy) {
    serve_tls(by_name);
    const Party writer = party("writer", &ca);
    TlsClient one(port, ca, &writer);
    EXPECT_TRUE(one.ask(put("/echo", 8 << 20) + std::string(8 << 20, 'x')).starts_with("HTTP/1.1 413 "));
}

// They end in the handshake: nothing of theirs is counted as a request.
TEST_F(TlsTest, WithoutAValidCertificateNothingIsParsed) {
    serve_tls(by_name);
    const Party stranger_ca = party("ca", nullptr);
    const Party foreign = party("writer", &stranger_ca), ended = party("writer", &ca, -60),
                self_signed = party("writer", nullptr), nobody = party("nobody", &ca),
                writer = party("writer", &ca);
    EXPECT_EQ(TlsClient(port, ca, nullptr).ask(get("/echo")), "");
    EXPECT_EQ(TlsClient(port, ca, &foreign).ask(get("/echo")), "");
    EXPECT_EQ(TlsClient(port, ca, &ended).ask(get("/echo")), "");
    EXPECT_EQ(TlsClient(port, ca, &self_signed).ask(get("/echo")), "");
    EXPECT_EQ(TlsClient(port, ca, &writer, TLS1_2_VERSION).ask(get("/echo")), "");
    EXPECT_EQ(TlsClient(port, ca, &nobody).ask(get("/echo")), "");  // valid, but without any right
    EXPECT_TRUE(wait_until([&] { return server->counts().handshakes_failed == 6; }));
    EXPECT_TRUE(server->counts().requests.empty());
    EXPECT_NE(TlsClient(port, ca, &writer).ask(get("/echo")), "");
}

TEST_F(TlsTest, ACertificateThatEndsEndsItsConnectionsToo) {
    std::atomic<bool> ended = false;
    serve_tls([&](SSL* channel) { return ended ? std::nullopt : by_name(channel); });
    const Party writer = party("writer", &ca);
    TlsClient one(port, ca, &writer), listening(port, ca, &writer);
    EXPECT_TRUE(one.ask(get("/echo")).starts_with("HTTP/1.1 200 "));
    const std::string subscribe = get("/events");
    ASSERT_GT(::SSL_write(listening.channel(), subscribe.data(), static_cast<int>(subscribe.size())), 0);
    ASSERT_TRUE(wait_until([&] { return server->counts().event_clients == 1; }));
    ended = true;
    EXPECT_TRUE(one.ask(get("/echo")).starts_with("HTTP/1.1 403 "));
    server->publish("e", [] { return 1; });
    server->publish("e", [] { return 2; });
    EXPECT_TRUE(wait_until([&] { return server->counts().event_clients == 0; }));
}

TEST_F(TlsTest, SessionsAreNotResumed) {
    serve_tls(by_name);
    const Party writer = party("writer", &ca);
    TlsClient one(port, ca, &writer);
    EXPECT_NE(one.ask(get("/echo")), "");
    SSL_SESSION* session = ::SSL_get0_session(one.channel());
    EXPECT_TRUE(session == nullptr || ::SSL_SESSION_is_resumable(session) == 0);
}

TEST_F(TlsTest, AHandshakeHasItsTime) {
    limits.handshake = std::chrono::milliseconds(100);
    limits.handshakes_max = 1;
    serve_tls(by_name);
    EXPECT_TRUE(RawClient(dial(port)).ended());
    EXPECT_EQ(server->counts().timeouts, 1u);
    const Party writer = party("writer", &ca);
    EXPECT_NE(TlsClient(port, ca, &writer).ask(get("/echo")), "");
}

TEST_F(TlsTest, WhoBeginsTooManyHandshakesIsTurnedAway) {
    limits.tls_handshakes_a_second = 1;
    limits.tls_handshakes_at_once = 2;
    serve_tls(by_name);
    const Party writer = party("writer", &ca);
    for (int i = 0; i < 2; ++i) EXPECT_NE(TlsClient(port, ca, &writer).ask(get("/echo")), "") << i;
    unsigned turned_away = 0;
    for (int i = 0; i < 100 && turned_away == 0; ++i)
        turned_away = TlsClient(port, ca, &writer).ask(get("/echo")).empty();
    EXPECT_EQ(turned_away, 1u);
    EXPECT_EQ(server->counts().handshakes_limited, 1u);
    EXPECT_EQ(server->counts().handshakes_failed, 0u);
}

// Who only connects is turned away as well, before he has taken the places of others.
TEST_F(TlsTest, OneSourceHasAFewHandshakesUnderWay) {
    limits.handshakes_of_source_max = 2;
    serve_tls(by_name);
    const Party writer = party("writer", &ca);
    RawClient one(dial(port)), other(dial(port));
    EXPECT_TRUE(RawClient(dial(port)).ended());
    EXPECT_EQ(server->counts().handshakes_limited, 1u);
    EXPECT_NE(TlsClient(port, ca, &writer, TLS1_3_VERSION, "127.0.0.2").ask(get("/echo")), "");
    one.send("what is no handshake gives its place back");
    EXPECT_TRUE(one.read_past("\n").empty());
    EXPECT_NE(TlsClient(port, ca, &writer).ask(get("/echo")), "");
}

// Each with a turn of the event loop, so that deadlines and other clients have theirs.
TEST_F(TlsTest, RecordsWithoutDataAreReadOneByOne) {
    constexpr int kUpdates = 500;
    boost::asio::io_context io;
    boost::asio::ip::tcp::acceptor acceptor(io, {boost::asio::ip::address_v4::loopback(), 0});
    std::promise<void> sent, over;
    std::thread client([&, to = acceptor.local_endpoint().port()] {
        const Party writer = party("writer", &ca);
        TlsClient one(to, ca, &writer);
        BIO* made = ::BIO_new(::BIO_s_mem());
        const int fd = ::SSL_get_fd(one.channel());
        ::SSL_set0_wbio(one.channel(), made);
        for (int i = 0; i < kUpdates; ++i) {
            ::SSL_key_update(one.channel(), SSL_KEY_UPDATE_NOT_REQUESTED);
            ::SSL_do_handshake(one.channel());
        }
        char* bytes = nullptr;
        const auto size = static_cast<std::size_t>(::BIO_get_mem_data(made, &bytes));
        EXPECT_EQ(::send(fd, bytes, size, 0), static_cast<ssize_t>(size));
        sent.set_value();
        over.get_future().wait();
    });
    const auto stream = make_tls_stream(acceptor.accept(), context.get(), {});
    bool shaken = false;
    stream->handshake([&](const boost::system::error_code& error, std::size_t) {
        EXPECT_FALSE(error);
        shaken = true;
    });
    while (!shaken) io.run_one();
    sent.get_future().wait();
    io.restart();
    std::array<char, 64> into;
    stream->read_some(boost::asio::buffer(into), [](const boost::system::error_code&, std::size_t) {});
    int turns = 0;
    while (io.poll_one() > 0) ++turns;
    EXPECT_GE(turns, kUpdates);
    stream->close();
    io.poll();
    over.set_value();
    client.join();
}

TEST_F(TlsTest, AContextThatAsksForNoCertificateIsRefused) {
    ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    const auto listening = listen(by_name);
    ASSERT_FALSE(listening);
    EXPECT_NE(listening.error().message.find("without client certificates"), std::string::npos);
}

}  // namespace
}  // namespace vern::api::test
