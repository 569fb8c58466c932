#include "control/trust/tls_trust.h"

#include <openssl/x509_vfy.h>

#include <algorithm>

#include "control/text.h"
#include "control/trust/certificate_library.h"
#include "control/trust/openssl_handles.h"
#include "control/trust/tls_files.h"
#include "control/trust/x509_refusal.h"
#include "control/trust/x509_verify.h"
#include "crypto/openssl.h"

namespace vern::trust {
namespace {

constexpr long kPeerCertificatesBytesMax = 64 * 1024;
constexpr std::size_t kCaFileBytesMax = 1 << 20;

struct Server {
    std::function<std::shared_ptr<const X509Trust>()> trust;
    std::function<UnixSeconds()> now;
};

struct Client {
    std::string server_key;
};

template <typename T>
void destroy(void*, void* object, CRYPTO_EX_DATA*, int, long, void*) noexcept {
    delete static_cast<T*>(object);
}

// Where an SSL object keeps what was found of its client, and an SSL_CTX what its callback needs: SSL objects
// may outlive every reference of ours to the context.
int verdict_index() noexcept {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, destroy<Verdict<Identity>>);
    return index;
}
template <typename T>
int context_index() noexcept {
    static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, destroy<T>);
    return index;
}

template <typename T>
T* keep(SSL_CTX* context, T object) {
    auto owner = std::make_unique<T>(std::move(object));
    if (SSL_CTX_set_ex_data(context, context_index<T>(), owner.get()) != 1) return nullptr;
    return owner.release();
}

const Verdict<Identity>* verdict_of(const SSL* ssl) noexcept {
    return static_cast<const Verdict<Identity>*>(SSL_get_ex_data(ssl, verdict_index()));
}

Verdict<Identity> verify_client(const Server& server, X509_STORE_CTX* context) {
    auto leaf = recheck_certificate(X509_STORE_CTX_get0_cert(context));
    if (!leaf) return tl::unexpected(leaf.error());
    if (!may_sign(*leaf))
        return refuse(Refusal::purpose,
                      subject_text(leaf->x509.get()) + ": its key usage does not say digitalSignature");
    std::vector<Certificate> intermediates;
    const STACK_OF(X509)* const sent = X509_STORE_CTX_get0_untrusted(context);  // the leaf is the first
    if (sk_X509_num(sent) > static_cast<int>(kIntermediatesMax) + 1)
        return refuse(Refusal::too_large, subject_text(leaf->x509.get()) + ": more than 8 intermediates");
    for (int i = 1; i < sk_X509_num(sent); ++i) {
        auto certificate = recheck_certificate(sk_X509_value(sent, i));
        if (!certificate) return tl::unexpected(certificate.error());
        intermediates.push_back(std::move(*certificate));
    }
    const auto trust = server.trust();
    if (!trust) return refuse(Refusal::unknown_ca, subject_text(leaf->x509.get()) + ": no CA is trusted");
    return verify_x509(*leaf, intermediates, *trust, server.now());
}

SSL* ssl_of(X509_STORE_CTX* context) noexcept {
    return static_cast<SSL*>(X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
}

int on_client_certificate(X509_STORE_CTX* context, void* server) {
    int error = X509_V_ERR_OUT_OF_MEM;
    try {
        auto verdict =
            std::make_unique<Verdict<Identity>>(verify_client(*static_cast<const Server*>(server), context));
        const bool good = verdict->has_value();
        const int reason = good ? X509_V_OK : openssl_error_of(verdict->error().code);
        SSL* const ssl = ssl_of(context);
        delete verdict_of(ssl);
        if (SSL_set_ex_data(ssl, verdict_index(), verdict.get()) == 1) {
            static_cast<void>(verdict.release());  // it is the connection's now
            error = reason;
        }
    } catch (...) {  // between us and the caller is C
    }
    X509_STORE_CTX_set_error(context, error);
    return error == X509_V_OK ? 1 : 0;
}

int on_server_certificate(X509_STORE_CTX* context, void* client) {
    int error = X509_V_ERR_OUT_OF_MEM;
    try {
        const std::string key = key_fingerprint(X509_STORE_CTX_get0_cert(context));
        const bool good = key == static_cast<const Client*>(client)->server_key;
        error = good ? X509_V_OK : X509_V_ERR_CERT_UNTRUSTED;
    } catch (...) {  // between us and the caller is C
    }
    X509_STORE_CTX_set_error(context, error);
    return error == X509_V_OK ? 1 : 0;
}

Result<TlsContext> make_context(const SSL_METHOD* method, OSSL_LIB_CTX* library = openssl_library()) {
    TlsContext context(SSL_CTX_new_ex(library, nullptr, method), SSL_CTX_free);
    if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(context.get(), 0) != 1 || SSL_CTX_set_max_early_data(context.get(), 0) != 1)
        return fail("OpenSSL has no TLS 1.3", ENOTSUP);
    SSL_CTX_set_security_level(context.get(), 2);
    SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(context.get(), kPeerCertificatesBytesMax);
    return context;
}

bool is_key_fingerprint(std::string_view text) {
    constexpr std::string_view kPrefix = "SHA256:";
    if (!text.starts_with(kPrefix) || text.size() != kPrefix.size() + 64) return false;
    return text.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string_view::npos;
}

Result<void> trust_ca_file(SSL_CTX* context, const TlsClientOptions& options) {
    const auto text = read_tls_file(options.ca_file, kCaFileBytesMax, false);
    if (!text) return tl::unexpected(text.error());
    const auto certificates = parse_certificates(*text, kCaCertificatesMax, options.ca_file);
    if (!certificates) return fail(certificates.error().sentence);
    for (const Certificate& certificate : *certificates) {
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate.x509.get()) != 1)
            return fail(options.ca_file + ": cannot be used", ENOMEM);
    }
    X509_VERIFY_PARAM* const parameters = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_depth(parameters, kDepthMax);
    const std::string& name = options.server_name;
    const bool named = parse_address(name) ? X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) == 1
                                           : X509_VERIFY_PARAM_set1_host(parameters, name.c_str(), 0) == 1;
    if (!named) return fail("'" + printable(name) + "' is neither a host name nor an IP address");
    X509_VERIFY_PARAM_set_hostflags(
        parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return {};
}

}  // namespace

Result<TlsContext> make_tls_server(TlsServerOptions options) {
    const ErrorQueueScope scope;
    auto context = make_context(TLS_server_method());
    if (!context) return context;
    if (auto used = use_files(context->get(), options.files, nullptr); !used)
        return tl::unexpected(used.error());
    Server* const server = keep(context->get(), Server{std::move(options.trust), std::move(options.now)});
    if (!server || verdict_index() < 0) return fail("no memory for a TLS server", ENOMEM);
    SSL_CTX_set_verify(context->get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_cert_verify_callback(context->get(), on_client_certificate, server);
    return context;
}

namespace {

// Of nobody in particular, for as long as it takes.
Result<X509Ptr> make_certificate(EVP_PKEY* key) {
    constexpr long kLifeSeconds = 10L * 365 * 24 * 3600;
    X509Ptr x509(X509_new_ex(certificate_library(), nullptr));
    X509_NAME* const name = x509 ? X509_get_subject_name(x509.get()) : nullptr;
    const bool made =
        name && X509_set_version(x509.get(), X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 1) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(x509.get()), -24 * 3600) &&
        X509_gmtime_adj(X509_getm_notAfter(x509.get()), kLifeSeconds) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("vern"),
                                   -1, -1, 0) == 1 &&
        X509_set_issuer_name(x509.get(), name) == 1 && X509_set_pubkey(x509.get(), key) == 1 &&
        X509_sign(x509.get(), key, EVP_sha256()) > 0;
    if (!made) return fail("no memory for a certificate", ENOMEM);
    return x509;
}

int on_any_certificate(X509_STORE_CTX*, void*) { return 1; }

}  // namespace

Result<TlsProofServer> make_tls_proof_server() {
    const ErrorQueueScope scope;
    auto context = make_context(TLS_server_method(), certificate_library());
    if (!context) return tl::unexpected(context.error());
    const KeyPtr key(EVP_PKEY_Q_keygen(certificate_library(), nullptr, "EC", "P-256"));
    if (!key) return fail("no key for a TLS server can be made", ENOMEM);
    auto certificate = make_certificate(key.get());
    if (!certificate) return tl::unexpected(certificate.error());
    // SHA-256 before SHA-384, which makes each of a handshake's many derivations dearer and nothing stronger:
    // it is X25519 that has 128 bits.
    constexpr const char* kSuites =
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
    if (SSL_CTX_set_ciphersuites(context->get(), kSuites) != 1 ||
        SSL_CTX_use_certificate(context->get(), certificate->get()) != 1 ||
        SSL_CTX_use_PrivateKey(context->get(), key.get()) != 1)
        return fail("no memory for a TLS server", ENOMEM);
    SSL_CTX_set_verify(context->get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_cert_verify_callback(context->get(), on_any_certificate, nullptr);
    return TlsProofServer{std::move(*context), key_fingerprint(certificate->get())};
}

std::vector<std::shared_ptr<X509>> shown_certificates(SSL* ssl) {
    std::vector<std::shared_ptr<X509>> shown;
    if (SSL_is_init_finished(ssl) != 1) return shown;
    const auto add = [&](X509* x509) {
        X509_up_ref(x509);
        shown.emplace_back(x509, X509_free);
    };
    if (X509* const leaf = SSL_get0_peer_certificate(ssl)) add(leaf);
    const STACK_OF(X509)* const others = SSL_get_peer_cert_chain(ssl);  // a server's does not hold the leaf
    for (int i = 0; !shown.empty() && i < sk_X509_num(others); ++i) add(sk_X509_value(others, i));
    return shown;
}

std::optional<Identity> verified_identity(const SSL* ssl) {
    const auto* const verdict = verdict_of(ssl);
    if (!verdict || !*verdict || SSL_is_init_finished(ssl) != 1) return std::nullopt;
    return **verdict;
}

std::optional<Refused> refused_certificate(const SSL* ssl) {
    const auto* const verdict = verdict_of(ssl);
    if (!verdict || *verdict) return std::nullopt;
    return verdict->error();
}

Result<TlsContext> make_tls_client(const TlsClientOptions& options) {
    const ErrorQueueScope scope;
    const bool by_ca = !options.ca_file.empty(), by_key = !options.server_key.empty();
    if (by_ca == by_key) return fail("a server is known by a CA file or by its key, one of them");
    if (by_ca && options.server_name.empty()) return fail("with a CA file the server's name is needed");
    if (by_key && !is_key_fingerprint(options.server_key))
        return fail("'" + printable(options.server_key, 80) + "' is not SHA256: and 64 hexadecimal digits");
    auto context = make_context(TLS_client_method());
    if (!context) return context;
    if (auto used = use_files(context->get(), options.files, options.passphrase); !used)
        return tl::unexpected(used.error());
    SSL_CTX_set_verify(context->get(), SSL_VERIFY_PEER, nullptr);
    if (by_ca) {
        if (auto trusted = trust_ca_file(context->get(), options); !trusted)
            return tl::unexpected(trusted.error());
        return context;
    }
    Client* const client = keep(context->get(), Client{options.server_key});
    if (!client) return fail("no memory for a TLS client", ENOMEM);
    SSL_CTX_set_cert_verify_callback(context->get(), on_server_certificate, client);
    return context;
}

}  // namespace vern::trust
