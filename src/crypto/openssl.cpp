#include "crypto/openssl.h"

#include <openssl/crypto.h>
#include <openssl/provider.h>

namespace vern {
namespace {

OSSL_LIB_CTX* load_library() noexcept {
    OSSL_LIB_CTX* library = OSSL_LIB_CTX_new();
    if (library && OSSL_PROVIDER_load(library, "default")) return library;
    OSSL_LIB_CTX_free(library);
    return nullptr;
}

OpensslAlgorithms fetch_algorithms() noexcept {
    OSSL_LIB_CTX* const library = openssl_library();
    if (!library) return {};
    return {.blake2s = EVP_MD_fetch(library, "BLAKE2S-256", nullptr),
            .blake2s_mac = EVP_MAC_fetch(library, "BLAKE2SMAC", nullptr),
            .chacha20_poly1305 = EVP_CIPHER_fetch(library, "ChaCha20-Poly1305", nullptr)};
}

}  // namespace

OSSL_LIB_CTX* openssl_library() noexcept {
    // Never freed: contexts of threads that end after main need it.
    static OSSL_LIB_CTX* const library = load_library();
    return library;
}

const OpensslAlgorithms& openssl_algorithms() noexcept {
    static const OpensslAlgorithms algorithms = fetch_algorithms();
    return algorithms;
}

}  // namespace vern
