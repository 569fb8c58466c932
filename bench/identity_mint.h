// Proofs of identity by the thousand, faster than ssh-keygen and openssl can be started: a CA of each kind,
// what it certifies, and a list that revokes the first of them.
#pragma once

#include <openssl/x509.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "control/trust/identity.h"
#include "control/trust/openssl_handles.h"
#include "crypto/keys.h"

namespace vern::bench {

struct Minted {
    std::string statement;  // ssh
    std::string proof;      // ssh: the signature, armoured; x509: PEM of a certificate of the peer's key
};

// Both take the peers' keys: the Nth has serial number N + 1.
struct SshMint {
    std::string ca_line;  // of a .pub file
    std::string krl;      // version 1, of serial 1
    std::vector<Minted> proofs;
};
SshMint mint_ssh(const std::vector<PublicKey>& peers, const PublicKey& audience, trust::UnixSeconds from,
                 trust::UnixSeconds until);

struct X509Mint {
    std::string ca_pem;
    std::string crl_none, crl_first;  // PEM: of nobody (number 1), of serial 1 (number 2)
    std::vector<Minted> proofs;
};
X509Mint mint_x509(const std::vector<PublicKey>& peers, trust::UnixSeconds from, trust::UnixSeconds until);

// Users who are yet to prove who they are: the Nth has serial number N + 1.
struct SshUsers {
    std::string ca_line;
    std::vector<std::function<std::string(const std::string& statement)>> sign;  // SSHSIG, armoured
};
SshUsers mint_ssh_users(std::size_t count, trust::UnixSeconds from, trust::UnixSeconds until);

struct TlsUsers {
    struct User {
        trust::X509Ptr certificate;
        trust::KeyPtr key;  // P-256
    };
    std::string ca_pem;
    std::vector<User> users;
};
TlsUsers mint_tls_users(std::size_t count, trust::UnixSeconds from, trust::UnixSeconds until);

}  // namespace vern::bench
