// The OpenSSL algorithms that this layer uses, fetched once. They come from a library context of our own, so
// that neither the host's openssl.cnf (a FIPS-only provider has no ChaCha20 and no BLAKE2s) nor whoever
// embeds us decides what the protocol can use.
//
// Threads: any. Lives until the process ends. Members are nullptr when OpenSSL lacks the algorithm or memory
// ran out.
#pragma once

#include <openssl/evp.h>

namespace vern {

struct OpensslAlgorithms {
    EVP_MD* blake2s = nullptr;
    EVP_MAC* blake2s_mac = nullptr;
    EVP_CIPHER* chacha20_poly1305 = nullptr;
};

const OpensslAlgorithms& openssl_algorithms() noexcept;

// That context, for those who name an algorithm with each use; nullptr when memory ran out.
OSSL_LIB_CTX* openssl_library() noexcept;

}  // namespace vern
