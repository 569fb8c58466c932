#include <openssl/core_names.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>

#include "crypto/aead_implementations.h"
#include "crypto/openssl.h"

namespace vern::aead {
namespace {

using Bytes = std::span<const std::byte>;
using NonceBytes = std::span<const std::byte, kAeadNonceBytes>;

const unsigned char* raw(const std::byte* bytes) noexcept {
    return reinterpret_cast<const unsigned char*>(bytes);
}
unsigned char* raw(std::byte* bytes) noexcept { return reinterpret_cast<unsigned char*>(bytes); }

// EVP takes lengths as int; a message has at most 65535 bytes.
int int_of(std::size_t length) noexcept { return static_cast<int>(length); }

EVP_CIPHER_CTX* new_context(bool sealing) noexcept {
    const EVP_CIPHER* cipher = openssl_algorithms().chacha20_poly1305;
    EVP_CIPHER_CTX* context = cipher ? EVP_CIPHER_CTX_new() : nullptr;
    if (context && EVP_CipherInit_ex2(context, cipher, nullptr, nullptr, sealing ? 1 : 0, nullptr) == 1)
        return context;
    EVP_CIPHER_CTX_free(context);
    return nullptr;
}

// A context costs more to make than a small message to seal, so every thread keeps two; between calls they
// hold the last key, and EVP_CIPHER_CTX_free wipes it when the thread ends.
struct ThreadContexts {
    EVP_CIPHER_CTX* seal = new_context(true);
    EVP_CIPHER_CTX* open = new_context(false);

    ThreadContexts() = default;
    ThreadContexts(const ThreadContexts&) = delete;
    ThreadContexts& operator=(const ThreadContexts&) = delete;
    ~ThreadContexts() {
        EVP_CIPHER_CTX_free(seal);
        EVP_CIPHER_CTX_free(open);
    }
};

ThreadContexts& contexts() noexcept {
    static thread_local ThreadContexts contexts;
    return contexts;
}

// EVP's update with no bytes means something else, so it is left out.
bool update(EVP_CIPHER_CTX* context, std::byte* out, Bytes in) noexcept {
    int written = 0;
    return in.empty() ||
           EVP_CipherUpdate(context, raw(out), &written, raw(in.data()), int_of(in.size())) == 1;
}

// `key` may be nullptr: the context's last one again, without scheduling it again.
bool seal_message(EVP_CIPHER_CTX* context, const std::byte* key, NonceBytes nonce, Bytes associated,
                  Bytes plain, std::byte* sealed) noexcept {
    std::byte* const tag = sealed + plain.size();
    std::array<OSSL_PARAM, 2> get_tag = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, kTagBytes),
        OSSL_PARAM_construct_end()};
    int written = 0;
    return EVP_EncryptInit_ex2(context, nullptr, key ? raw(key) : nullptr, raw(nonce.data()), nullptr) == 1 &&
           update(context, nullptr, associated) && update(context, sealed, plain) &&
           EVP_EncryptFinal_ex(context, raw(tag), &written) == 1 &&
           EVP_CIPHER_CTX_get_params(context, get_tag.data()) == 1;
}

// The tag is compared by EVP_DecryptFinal_ex, in constant time, after the bytes were deciphered: on failure
// the caller wipes them.
bool open_message(EVP_CIPHER_CTX* context, const std::byte* key, NonceBytes nonce, Bytes associated,
                  const std::byte* sealed, std::span<std::byte> plain) noexcept {
    std::array<std::byte, kTagBytes> tag;
    std::copy_n(sealed + plain.size(), kTagBytes, tag.begin());
    const std::array<OSSL_PARAM, 2> set_tag = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag.data(), kTagBytes),
        OSSL_PARAM_construct_end()};
    unsigned char nothing[1];
    int written = 0;
    return EVP_DecryptInit_ex2(context, nullptr, key ? raw(key) : nullptr, raw(nonce.data()),
                               set_tag.data()) == 1 &&
           update(context, nullptr, associated) && update(context, plain.data(), {sealed, plain.size()}) &&
           EVP_DecryptFinal_ex(context, nothing, &written) == 1;
}

// What a failed call leaves in `bytes` may be plaintext in place of ciphertext, or bytes of an attacker's
// choice in place of plaintext.
void wipe(std::byte* bytes, std::size_t length) noexcept { sodium_memzero(bytes, length); }

// A train mostly has one key; it is scheduled when it changes. Only within a call: later the same address may
// hold another key.
class KeySchedule {
  public:
    const std::byte* next(const std::byte* key) noexcept {
        if (key == last_) return nullptr;
        last_ = key;
        return key;
    }
    void forget() noexcept { last_ = nullptr; }

  private:
    const std::byte* last_ = nullptr;
};

bool supported() noexcept { return openssl_algorithms().chacha20_poly1305 != nullptr; }

void seal(std::span<const SealJob> train) noexcept {
    EVP_CIPHER_CTX* const context = contexts().seal;
    // No memory for a context: go on, slower.
    if (!context) return kLibsodium.seal(train);
    KeySchedule schedule;
    for (const SealJob& job : train) {
        if (seal_message(context, schedule.next(job.key), nonce_of(job.counter), {},
                         {whole_plaintext(job), job.length}, job.sealed))
            continue;
        wipe(job.sealed, job.length + kTagBytes);
        schedule.forget();
    }
}

void open(std::span<OpenJob> train) noexcept {
    EVP_CIPHER_CTX* const context = contexts().open;
    if (!context) return kLibsodium.open(train);
    KeySchedule schedule;
    for (OpenJob& job : train) {
        job.authentic = open_message(context, schedule.next(job.key), nonce_of(job.counter), {}, job.sealed,
                                     {job.sealed, job.length});
        if (job.authentic) continue;
        wipe(job.sealed, job.length);
        schedule.forget();
    }
}

}  // namespace

const Implementation kOpenssl = {
    .name = "openssl",
    .description = "OpenSSL's EVP, message by message, its assembly for this CPU",
    .supported = supported,
    .seal = seal,
    .open = open};

bool openssl_seal(std::span<std::byte> sealed, KeyBytes key,
                  std::span<const std::byte, kAeadNonceBytes> nonce, Bytes associated, Bytes plain) noexcept {
    EVP_CIPHER_CTX* const context = contexts().seal;
    if (context && seal_message(context, key.data(), nonce, associated, plain, sealed.data())) return true;
    wipe(sealed.data(), sealed.size());
    return false;
}

bool openssl_open(std::span<std::byte> plain, KeyBytes key, std::span<const std::byte, kAeadNonceBytes> nonce,
                  Bytes associated, Bytes sealed) noexcept {
    EVP_CIPHER_CTX* const context = contexts().open;
    if (context && sealed.size() == plain.size() + kTagBytes &&
        open_message(context, key.data(), nonce, associated, sealed.data(), plain))
        return true;
    wipe(plain.data(), plain.size());
    return false;
}

}  // namespace vern::aead
