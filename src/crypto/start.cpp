#include "crypto/start.h"

#include "crypto/libsodium.h"
#include "crypto/openssl.h"

namespace vern {

bool start_crypto() noexcept {
    const auto& algorithms = openssl_algorithms();
    return libsodium_ready() && algorithms.blake2s && algorithms.blake2s_mac && algorithms.chacha20_poly1305;
}

}  // namespace vern
