// TLS 1.3 (RFC 8446) both ways: a server that takes clients with a certificate that verify_x509 takes, and
// such a client. No other version, no resumption and no early data: an identity is proven in each handshake.
//
// Threads: a context may be used by several at once; an SSL object by one at a time. The functions that are
// given are called on the threads of handshakes.
#pragma once

#include <openssl/ssl.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/secret_text.h"
#include "control/trust/identity.h"
#include "control/trust/refusal.h"
#include "control/trust/x509_trust.h"
#include "crypto/error.h"

namespace vern::trust {

using TlsContext = std::shared_ptr<SSL_CTX>;

struct TlsFiles {
    std::string certificate;  // PEM: the certificate, then its intermediates
    std::string key;          // PEM; nobody but its owner may have any right to it
};

struct TlsServerOptions {
    TlsFiles files;
    // The present ones: asked in each handshake, so that a change needs no new context.
    std::function<std::shared_ptr<const X509Trust>()> trust;
    std::function<UnixSeconds()> now;
};

// A client whose certificate is refused, or who has none, ends in the handshake with the alert that fits.
Result<TlsContext> make_tls_server(TlsServerOptions options);

// The identity of the other end of a server's connection. nullopt until the handshake is done: before that
// the certificate was shown, but holding its key not proven.
std::optional<Identity> verified_identity(const SSL* ssl);
// Why the client's certificate was refused, if one was.
std::optional<Refused> refused_certificate(const SSL* ssl);

// For clients that come through the tunnel, which knows the server already: its certificate is made here and
// lives as long as the context. Takes every client certificate that TLS itself takes: the handshake proves
// that its key is held, and verify_x509() is for who asks what it is worth.
struct TlsProofServer {
    TlsContext context;
    std::string key;  // key_fingerprint(), for clients
};
Result<TlsProofServer> make_tls_proof_server();
// What the client has shown, the leaf first, for take_certificate(); empty before the handshake is done.
std::vector<std::shared_ptr<X509>> shown_certificates(SSL* ssl);

struct TlsClientOptions {
    TlsFiles files;
    // Asked once if the key is encrypted; nullopt gives up.
    std::function<std::optional<SecretText>()> passphrase;
    // The server is known by either its CA and its name, or by its key. By the key alone its certificate's
    // times and names are not looked at.
    std::string ca_file;      // PEM
    std::string server_name;  // DNS name or IP address in the server's certificate; with ca_file
    std::string server_key;   // key_fingerprint(): "SHA256:" and 64 lower-case hexadecimal digits
};

Result<TlsContext> make_tls_client(const TlsClientOptions& options);

}  // namespace vern::trust
