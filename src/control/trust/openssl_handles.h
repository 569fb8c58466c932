// Owners of OpenSSL's objects.
#pragma once

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>

namespace vern::trust {

template <auto Free>
struct OpensslFree {
    template <typename T>
    void operator()(T* object) const noexcept {
        Free(object);
    }
};

struct OpensslMemoryFree {
    void operator()(void* memory) const noexcept { OPENSSL_free(memory); }
};

struct X509StackFree {
    void operator()(STACK_OF(X509) * stack) const noexcept { sk_X509_pop_free(stack, X509_free); }
};

// Of a list that owns nothing that it lists.
struct X509ListFree {
    void operator()(STACK_OF(X509) * list) const noexcept { sk_X509_free(list); }
};

using BioPtr = std::unique_ptr<BIO, OpensslFree<BIO_free_all>>;
template <typename T>
using OpensslMemory = std::unique_ptr<T, OpensslMemoryFree>;
using CmsPtr = std::unique_ptr<CMS_ContentInfo, OpensslFree<CMS_ContentInfo_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using X509Ptr = std::unique_ptr<X509, OpensslFree<X509_free>>;
using X509ListPtr = std::unique_ptr<STACK_OF(X509), X509ListFree>;
using X509StackPtr = std::unique_ptr<STACK_OF(X509), X509StackFree>;

// What OpenSSL says of failures in this scope is of no further use: it must not be read as a later failure of
// somebody else's on this thread.
class ErrorQueueScope {
  public:
    ErrorQueueScope() noexcept { ERR_set_mark(); }
    ErrorQueueScope(const ErrorQueueScope&) = delete;
    ErrorQueueScope& operator=(const ErrorQueueScope&) = delete;
    ~ErrorQueueScope() { ERR_pop_to_mark(); }
};

}  // namespace vern::trust
