#include "crypto/openssl.h"

#include <openssl/crypto.h>
#include <openssl/provider.h>

namespace vern {
namespace {

OpensslAlgorithms fetch_algorithms() noexcept {
    // Never freed: contexts of threads that end after main need them.
    static OSSL_LIB_CTX* const library = OSSL_LIB_CTX_new();
    if (!library || !OSSL_PROVIDER_load(library, "default")) return {};
    return {.blake2s = EVP_MD_fetch(library, "BLAKE2S-256", nullptr),
            .blake2s_mac = EVP_MAC_fetch(library, "BLAKE2SMAC", nullptr),
            .chacha20_poly1305 = EVP_CIPHER_fetch(library, "ChaCha20-Poly1305", nullptr)};
}

}  // namespace

const OpensslAlgorithms& openssl_algorithms() noexcept {
    static const OpensslAlgorithms algorithms = fetch_algorithms();
    return algorithms;
}

}  // namespace vern
