#include "control/trust/certificate_library.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "crypto/openssl.h"

namespace vern::trust {
namespace {

constexpr unsigned long kRemembers = 0x30200000;  // OpenSSL 3.2.0
constexpr const char* kName = "public-keys-alone";

// Algorithms find their provider by its context, and that is the default one's; so what is ours is here.
// Never freed, as the library.
struct Narrowed {
    OSSL_PROVIDER* whole = nullptr;
    std::vector<OSSL_ALGORITHM> decoders;  // as OpenSSL wants it: ends with one that has no name
};
Narrowed& narrowed() {
    static Narrowed& one = *new Narrowed;
    return one;
}

const OSSL_ALGORITHM* query(void*, int operation, int* no_cache) noexcept {
    *no_cache = 0;
    if (operation == OSSL_OP_DECODER) return narrowed().decoders.data();
    return OSSL_PROVIDER_query_operation(narrowed().whole, operation, no_cache);
}

const OSSL_PARAM* gettable(void*) noexcept { return OSSL_PROVIDER_gettable_params(narrowed().whole); }
int get(void*, OSSL_PARAM* parameters) noexcept {
    return OSSL_PROVIDER_get_params(narrowed().whole, parameters);
}
int capabilities(void*, const char* of, OSSL_CALLBACK* take, void* argument) noexcept {
    return OSSL_PROVIDER_get_capabilities(narrowed().whole, of, take, argument);
}

template <typename Function>
OSSL_DISPATCH entry(int number, Function* function) noexcept {
    return {number, reinterpret_cast<void (*)()>(function)};
}

int start(const OSSL_CORE_HANDLE*, const OSSL_DISPATCH*, const OSSL_DISPATCH** ours,
          void** context) noexcept {
    static const OSSL_DISPATCH dispatch[] = {entry(OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, gettable),
                                             entry(OSSL_FUNC_PROVIDER_GET_PARAMS, get),
                                             entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
                                             entry(OSSL_FUNC_PROVIDER_GET_CAPABILITIES, capabilities),
                                             {0, nullptr}};
    *ours = dispatch;
    *context = OSSL_PROVIDER_get0_provider_ctx(narrowed().whole);
    return 1;
}

// Of a kind that certificate.h takes, as certificates have it.
bool is_wanted(const OSSL_ALGORITHM& decoder) {
    constexpr std::array<std::string_view, 6> kKinds{"RSA", "RSA-PSS", "EC", "ED25519", "ED448", "X25519"};
    const std::string_view names = decoder.algorithm_names, properties = decoder.property_definition;
    return properties.find("structure=SubjectPublicKeyInfo") != std::string_view::npos &&
           std::ranges::find(kKinds, names.substr(0, names.find(':'))) != kKinds.end();
}

bool narrow() {
    narrowed().whole = OSSL_PROVIDER_load(openssl_library(), "default");
    int no_cache = 0;
    const OSSL_ALGORITHM* all =
        narrowed().whole ? OSSL_PROVIDER_query_operation(narrowed().whole, OSSL_OP_DECODER, &no_cache)
                         : nullptr;
    for (; all && all->algorithm_names; ++all) {
        if (is_wanted(*all)) narrowed().decoders.push_back(*all);
    }
    const bool some = !narrowed().decoders.empty();
    narrowed().decoders.push_back({});
    return some;
}

OSSL_LIB_CTX* load() noexcept try {
    OSSL_LIB_CTX* const whole = openssl_library();
    if (!whole || OpenSSL_version_num() >= kRemembers || !narrow()) return whole;
    OSSL_LIB_CTX* const library = OSSL_LIB_CTX_new();
    if (library && OSSL_PROVIDER_add_builtin(library, kName, start) == 1 &&
        OSSL_PROVIDER_load(library, kName))
        return library;
    OSSL_LIB_CTX_free(library);
    return whole;
} catch (...) {  // no memory: what is slower works too
    return openssl_library();
}

}  // namespace

OSSL_LIB_CTX* certificate_library() noexcept {
    static OSSL_LIB_CTX* const library = load();
    return library;
}

}  // namespace vern::trust
