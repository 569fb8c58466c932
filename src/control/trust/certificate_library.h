// The library context of OpenSSL in which certificates are read and clients' TLS handshakes are done. To read
// one public key OpenSSL before 3.2 collects, each time anew, all decoders that there are: of private keys
// and parameters, of all kinds and formats, forty. That takes longer than verifying a signature. So the
// provider here is the default one of openssl_library(), less all decoders but those of public keys as
// certificates have them (SubjectPublicKeyInfo), of the kinds that are taken; what does the work is the same
// code. Keys of other kinds are not read. From 3.2 on, which remembers what it has collected, this is
// openssl_library().
//
// Threads: any. Lives until the process ends. nullptr when memory ran out.
#pragma once

#include <openssl/types.h>

namespace vern::trust {

OSSL_LIB_CTX* certificate_library() noexcept;

}  // namespace vern::trust
