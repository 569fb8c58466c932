#include "control/trust/openssl_handles.h"

#include <openssl/provider.h>

namespace vern::trust {

OSSL_LIB_CTX* trust_library() noexcept {
    // Never freed: objects of threads that end after main need it.
    static OSSL_LIB_CTX* const library = [] {
        OSSL_LIB_CTX* const made = OSSL_LIB_CTX_new();
        if (made) OSSL_PROVIDER_load(made, "default");
        return made;
    }();
    return library;
}

}  // namespace vern::trust
