#include "control/trust/tls_trust.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "control/trust/x509_identity.h"
#include "openssl_pki.h"

namespace vern::trust {
namespace {

using namespace test;
using namespace std::string_literals;

using SslPtr = std::unique_ptr<SSL, OpensslFree<SSL_free>>;

struct Meeting {
    SslPtr server, client;
    bool server_done = false, client_done = false;
    std::string alert;     // that the server sent, in words
    int alert_number = 0;  // not all have words
};

void on_info(const SSL* ssl, int where, int value) {
    if ((where & SSL_CB_WRITE_ALERT) != SSL_CB_WRITE_ALERT) return;
    auto& meeting = *static_cast<Meeting*>(SSL_get_app_data(ssl));
    meeting.alert = SSL_alert_desc_string_long(value);
    meeting.alert_number = value & 0xff;
}

class TlsTest : public testing::Test {
  protected:
    void SetUp() override {
        if (find_program("openssl").empty()) GTEST_SKIP() << "no openssl";
        pki.root("root");
        pki.issue("client", "root");
        Issue server;
        server.extensions =
            "extendedKeyUsage = serverAuth\nsubjectAltName = DNS:vern.example.org, IP:10.0.0.1\n"
            "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
        pki.issue("server", "root", server);
        trust = std::make_shared<X509Trust>(
            trust_of({.certificates = pki.read("root.pem"), .crls = {}, .groups = {"staff"}}));
    }
    TlsFiles files(const std::string& name) const {
        ::chmod(pki.path(name + ".key").c_str(), 0600);
        return {.certificate = pki.path(name + ".pem"), .key = pki.path(name + ".key")};
    }
    TlsContext server() {
        auto made = make_tls_server(
            {.files = files("server"), .trust = [this] { return trust; }, .now = [this] { return now; }});
        EXPECT_TRUE(made) << made.error().message;
        return made ? *made : nullptr;
    }
    TlsClientOptions pinned(const std::string& name) const {
        return {.files = files(name),
                .passphrase = {},
                .ca_file = {},
                .server_name = {},
                .server_key = key_fingerprint(pki.certificate("server").x509.get())};
    }
    TlsContext client(const std::string& name) const {
        auto made = make_tls_client(pinned(name));
        EXPECT_TRUE(made) << made.error().message;
        return made ? *made : nullptr;
    }
    static void step(SSL* ssl, bool& done) {
        ERR_clear_error();
        if (!done) done = SSL_do_handshake(ssl) == 1;
    }
    // The whole of a handshake, in memory.
    static std::unique_ptr<Meeting> meet(const TlsContext& server, const TlsContext& client) {
        auto meeting = std::make_unique<Meeting>();
        meeting->server.reset(SSL_new(server.get()));
        meeting->client.reset(SSL_new(client.get()));
        SSL* const s = meeting->server.get();
        SSL* const c = meeting->client.get();
        BIO *of_server = nullptr, *of_client = nullptr;
        BIO_new_bio_pair(&of_server, 0, &of_client, 0);
        SSL_set_bio(s, of_server, of_server);
        SSL_set_bio(c, of_client, of_client);
        SSL_set_accept_state(s);
        SSL_set_connect_state(c);
        SSL_set_app_data(s, meeting.get());
        SSL_set_info_callback(s, on_info);
        for (int i = 0; i < 10; ++i) {
            step(c, meeting->client_done);
            EXPECT_FALSE(verified_identity(s) && !meeting->server_done);
            step(s, meeting->server_done);
        }
        return meeting;
    }
    std::string alert_for(const std::string& name) {
        const auto meeting = meet(server(), client(name));
        EXPECT_FALSE(meeting->server_done);
        EXPECT_FALSE(verified_identity(meeting->server.get()));
        const auto refused = refused_certificate(meeting->server.get());
        return meeting->alert + ": " + (refused ? std::string(refusal_code(refused->code)) : "-");
    }
    Pki pki;
    std::shared_ptr<const X509Trust> trust;
    UnixSeconds now = kNow;
};

TEST_F(TlsTest, ProvesAnIdentity) {
    const auto meeting = meet(server(), client("client"));
    ASSERT_TRUE(meeting->server_done && meeting->client_done);
    EXPECT_STREQ(SSL_get_version(meeting->server.get()), "TLSv1.3");
    const auto identity = verified_identity(meeting->server.get());
    ASSERT_TRUE(identity);
    EXPECT_EQ(identity->common_name, "client");
    EXPECT_EQ(identity->groups, std::vector<std::string>{"staff"});
    EXPECT_EQ(identity->not_after, kLeafUntil + 1);
    EXPECT_FALSE(refused_certificate(meeting->server.get()));
    EXPECT_EQ(SSL_write(meeting->client.get(), "hello", 5), 5);
    char text[8];
    EXPECT_EQ(SSL_read(meeting->server.get(), text, sizeof text), 5);
}

TEST_F(TlsTest, ChainsAndOtherKeys) {
    pki.issue("middle", "root", ca_issue());
    for (const char* algorithm : {"EC", "RSA", "ED25519"}) {
        Issue what;
        what.algorithm = algorithm;
        pki.issue("low", "middle", what);
        pki.write("low.pem", pki.read("low.pem") + pki.read("middle.pem"));
        const auto meeting = meet(server(), client("low"));
        EXPECT_TRUE(meeting->server_done) << algorithm;
        EXPECT_TRUE(verified_identity(meeting->server.get()));
    }
}

TEST_F(TlsTest, EndsInTheHandshakeWithAFittingAlert) {
    pki.root("other");
    pki.issue("stranger", "other");
    EXPECT_EQ(alert_for("stranger"), "unknown CA: unknown-ca");
    EXPECT_EQ(alert_for("server"), "unsupported certificate: purpose");
    Issue agree;
    agree.extensions =
        "keyUsage = keyAgreement\nextendedKeyUsage = clientAuth\nsubjectKeyIdentifier = hash\n"
        "authorityKeyIdentifier = keyid\n";
    pki.issue("agree", "root", agree);
    EXPECT_FALSE(make_tls_client(pinned("agree")));
    now = kLeafUntil + 1;
    EXPECT_EQ(alert_for("client"), "certificate expired: expired");
    now = kLeafFrom - 61;
    EXPECT_EQ(alert_for("client"), "certificate expired: not-yet-valid");
    now = kNow;
    pki.revoke("client", "root");
    trust = std::make_shared<X509Trust>(
        trust_of({.certificates = pki.read("root.pem"), .crls = {pki.crl("root")}, .groups = {}}));
    EXPECT_EQ(alert_for("client"), "certificate revoked: revoked");
    trust = nullptr;
    EXPECT_EQ(alert_for("client"), "unknown CA: unknown-ca");
}

TEST_F(TlsTest, ACertificateIsRequired) {
    const TlsContext bare(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    const auto meeting = meet(server(), bare);
    EXPECT_FALSE(meeting->server_done);
    EXPECT_EQ(meeting->alert_number, TLS13_AD_CERTIFICATE_REQUIRED);
}

TEST_F(TlsTest, OlderVersionsAreRefused) {
    const TlsContext old(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_use_certificate_file(old.get(), pki.path("client.pem").c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(old.get(), pki.path("client.key").c_str(), SSL_FILETYPE_PEM);
    EXPECT_TRUE(meet(server(), old)->server_done);
    SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
    const auto meeting = meet(server(), old);
    EXPECT_FALSE(meeting->server_done);
    EXPECT_EQ(meeting->alert, "protocol version");
    const TlsContext old_server(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
    SSL_CTX_use_certificate_file(old_server.get(), pki.path("server.pem").c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(old_server.get(), pki.path("server.key").c_str(), SSL_FILETYPE_PEM);
    EXPECT_TRUE(meet(old_server, client("client"))->client_done);
    SSL_CTX_set_max_proto_version(old_server.get(), TLS1_2_VERSION);
    EXPECT_FALSE(meet(old_server, client("client"))->client_done);
}

TEST_F(TlsTest, NothingIsResumed) {
    const TlsContext context = server();
    const TlsContext eager(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_use_certificate_file(eager.get(), pki.path("client.pem").c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(eager.get(), pki.path("client.key").c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_set_session_cache_mode(eager.get(), SSL_SESS_CACHE_CLIENT);
    const auto meeting = meet(context, eager);
    ASSERT_TRUE(meeting->server_done);
    SSL_write(meeting->server.get(), "hello", 5);
    char text[8];
    ASSERT_EQ(SSL_read(meeting->client.get(), text, sizeof text), 5);
    EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get0_session(meeting->client.get())), 0);
    EXPECT_EQ(SSL_SESSION_get_max_early_data(SSL_get0_session(meeting->client.get())), 0U);
}

TEST_F(TlsTest, OutlivesItsContext) {
    auto context = server();
    SslPtr ssl(SSL_new(context.get()));
    context.reset();
    EXPECT_FALSE(verified_identity(ssl.get()));
}

TEST_F(TlsTest, TheServerIsKnownByItsCaAndNameOrItsKey) {
    const auto by_ca = [&](const std::string& ca, const std::string& name) {
        auto options = pinned("client");
        options.server_key.clear();
        options.ca_file = pki.path(ca + ".pem");
        options.server_name = name;
        auto made = make_tls_client(options);
        EXPECT_TRUE(made) << made.error().message;
        // The client's chain is by the real clock: OpenSSL's own verification is of no identity.
        SSL_CTX_get0_param(made->get());
        X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(made->get()), kNow);
        return meet(server(), *made)->client_done;
    };
    EXPECT_TRUE(by_ca("root", "vern.example.org"));
    EXPECT_TRUE(by_ca("root", "10.0.0.1"));
    EXPECT_FALSE(by_ca("root", "10.0.0.2"));
    EXPECT_FALSE(by_ca("root", "evil.example.org"));
    EXPECT_FALSE(by_ca("root", "server"));  // a common name is no host's name
    pki.root("other");
    EXPECT_FALSE(by_ca("other", "vern.example.org"));
    auto wrong = pinned("client");
    wrong.server_key.back() = wrong.server_key.back() == '0' ? '1' : '0';
    EXPECT_FALSE(meet(server(), *make_tls_client(wrong))->client_done);
}

TEST_F(TlsTest, FilesHaveClearErrors) {
    const auto error = [&](const TlsClientOptions& options) {
        const auto made = make_tls_client(options);
        return made ? "" : made.error().message.substr(made.error().message.rfind('/') + 1);
    };
    auto options = pinned("client");
    EXPECT_EQ(error(options), "");
    ::chmod(options.files.key.c_str(), 0640);
    EXPECT_EQ(error(options), "client.key: group or others may use it; chmod 600 it");
    ::chmod(options.files.key.c_str(), 0604);
    EXPECT_EQ(error(options), "client.key: group or others may use it; chmod 600 it");
    ::chmod(options.files.key.c_str(), 0400);
    EXPECT_EQ(error(options), "");
    options.files.key = files("server").key;
    EXPECT_EQ(make_tls_client(options).error().message,
              options.files.key + ": is not the key of " + options.files.certificate);
    options.files.key = pki.path("none");
    EXPECT_EQ(error(options), "none: No such file or directory");
    options.files.key = pki.path("");
    EXPECT_FALSE(make_tls_client(options));
    options.files.key = pki.write("noise.key", "noise");
    ::chmod(options.files.key.c_str(), 0600);
    EXPECT_EQ(error(options), "noise.key: holds no private key in PEM");
    options = pinned("client");
    options.files.certificate = options.files.key;
    EXPECT_EQ(error(options), "client.key: holds a block of PRIVATE KEY, only CERTIFICATE belongs there");

    options = pinned("client");
    options.ca_file = pki.path("root.pem");
    EXPECT_FALSE(make_tls_client(options));
    options.server_key.clear();
    EXPECT_EQ(error(options), "with a CA file the server's name is needed");
    options.ca_file.clear();
    EXPECT_FALSE(make_tls_client(options));
    options.server_key = "SHA256:abc";
    EXPECT_FALSE(make_tls_client(options));
    EXPECT_FALSE(make_tls_server(
        {.files = {.certificate = pki.path("server.pem"), .key = pki.path("none")}, .trust = {}, .now = {}}));
}

TEST_F(TlsTest, KeysMayBeEncrypted) {
    pki.openssl({"pkey", "-in", pki.path("client.key"), "-aes256", "-passout", "pass:open sesame", "-out",
                 pki.path("sealed.key")});
    ::chmod(pki.path("sealed.key").c_str(), 0600);
    auto options = pinned("client");
    options.files.key = pki.path("sealed.key");
    EXPECT_EQ(make_tls_client(options).error().message, options.files.key + ": the key is encrypted");
    int asked = 0;
    options.passphrase = [&]() -> std::optional<SecretText> { return ++asked, "open sesame"; };
    EXPECT_TRUE(make_tls_client(options));
    EXPECT_EQ(asked, 1);
    options.passphrase = []() -> std::optional<SecretText> { return "wrong"; };
    EXPECT_EQ(make_tls_client(options).error().message,
              options.files.key + ": the passphrase does not open the key");
    options.passphrase = []() -> std::optional<SecretText> { return std::nullopt; };
    EXPECT_FALSE(make_tls_client(options));
}

}  // namespace
}  // namespace vern::trust
