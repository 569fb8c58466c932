#include "crypto/blake2s.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdlib>

#include "crypto/openssl.h"

namespace vern::blake2s {
namespace {

using Bytes = std::span<const std::byte>;

const unsigned char* raw(Bytes bytes) noexcept {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(std::byte* bytes) noexcept { return reinterpret_cast<unsigned char*>(bytes); }

// Going on with a wrong hash could authenticate what is not authentic.
void require(bool done) noexcept {
    if (!done) std::abort();
}

EVP_MAC_CTX* new_mac_context(std::size_t mac_bytes) noexcept {
    require(openssl_algorithms().blake2s_mac != nullptr);
    EVP_MAC_CTX* context = EVP_MAC_CTX_new(openssl_algorithms().blake2s_mac);
    const std::array<OSSL_PARAM, 2> parameters = {
        OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &mac_bytes), OSSL_PARAM_construct_end()};
    require(context && EVP_MAC_CTX_set_params(context, parameters.data()) == 1);
    return context;
}

struct ThreadContexts {
    EVP_MD_CTX* digest = EVP_MD_CTX_new();
    EVP_MAC_CTX* mac16 = new_mac_context(16);
    EVP_MAC_CTX* mac32 = new_mac_context(32);

    ThreadContexts() noexcept {
        const EVP_MD* blake2s = openssl_algorithms().blake2s;
        require(digest && blake2s && EVP_DigestInit_ex2(digest, blake2s, nullptr) == 1);
    }
    ThreadContexts(const ThreadContexts&) = delete;
    ThreadContexts& operator=(const ThreadContexts&) = delete;
    ~ThreadContexts() {
        EVP_MD_CTX_free(digest);
        EVP_MAC_CTX_free(mac16);
        EVP_MAC_CTX_free(mac32);
    }
};

ThreadContexts& contexts() noexcept {
    static thread_local ThreadContexts contexts;
    return contexts;
}

void begin(EVP_MD_CTX* digest) noexcept { require(EVP_DigestInit_ex2(digest, nullptr, nullptr) == 1); }
void add(EVP_MD_CTX* digest, Bytes part) noexcept {
    require(EVP_DigestUpdate(digest, part.data(), part.size()) == 1);
}
void finish(EVP_MD_CTX* digest, std::span<std::byte, kHashBytes> out) noexcept {
    require(EVP_DigestFinal_ex(digest, raw(out.data()), nullptr) == 1);
}

void keyed(EVP_MAC_CTX* context, std::span<std::byte> out, Bytes key, Bytes message) noexcept {
    assert(!key.empty() && key.size() <= 32);
    std::size_t written = 0;
    require(EVP_MAC_init(context, raw(key), key.size(), nullptr) == 1 &&
            EVP_MAC_update(context, raw(message), message.size()) == 1 &&
            EVP_MAC_final(context, raw(out.data()), &written, out.size()) == 1 && written == out.size());
}

// T(n) = HMAC(T0, T(n-1) || n)
void expand(Secret<32>& out, const Secret<32>& root, Bytes previous, std::byte number) noexcept {
    hmac(out.writable(), root.span(), {previous, Bytes(&number, 1)});
}

}  // namespace

void hash(std::span<std::byte, kHashBytes> out, Parts parts) noexcept {
    EVP_MD_CTX* digest = contexts().digest;
    begin(digest);
    for (Bytes part : parts) add(digest, part);
    finish(digest, out);
}

void mac(std::span<std::byte, 16> out, Bytes key, Bytes message) noexcept {
    keyed(contexts().mac16, out, key, message);
}

void mac(std::span<std::byte, 32> out, Bytes key, Bytes message) noexcept {
    keyed(contexts().mac32, out, key, message);
}

void hmac(std::span<std::byte, kHashBytes> out, Bytes key, Parts parts) noexcept {
    assert(key.size() <= kBlockBytes);
    constexpr std::byte kInner{0x36};
    constexpr std::byte kOuter{0x5c};
    EVP_MD_CTX* digest = contexts().digest;

    Secret<kBlockBytes> pad;
    std::copy(key.begin(), key.end(), pad.writable().begin());
    for (std::byte& byte : pad.writable()) byte ^= kInner;
    Secret<kHashBytes> inner;
    begin(digest);
    add(digest, pad.span());
    for (Bytes part : parts) add(digest, part);
    finish(digest, inner.writable());

    for (std::byte& byte : pad.writable()) byte ^= kInner ^ kOuter;
    begin(digest);
    add(digest, pad.span());
    add(digest, inner.span());
    finish(digest, out);
}

void kdf(const Secret<32>& key, Bytes input, Secret<32>& first) noexcept {
    Secret<32> root;
    hmac(root.writable(), key.span(), {input});
    expand(first, root, {}, std::byte{1});
}

void kdf(const Secret<32>& key, Bytes input, Secret<32>& first, Secret<32>& second) noexcept {
    Secret<32> root;
    hmac(root.writable(), key.span(), {input});
    expand(first, root, {}, std::byte{1});
    expand(second, root, first.span(), std::byte{2});
}

void kdf(const Secret<32>& key, Bytes input, Secret<32>& first, Secret<32>& second,
         Secret<32>& third) noexcept {
    Secret<32> root;
    hmac(root.writable(), key.span(), {input});
    expand(first, root, {}, std::byte{1});
    expand(second, root, first.span(), std::byte{2});
    expand(third, root, second.span(), std::byte{3});
}

}  // namespace vern::blake2s
