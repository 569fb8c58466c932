#include "crypto/handshake_aead.h"

#include <cassert>

#include "crypto/libsodium.h"

namespace vern {
namespace {

using Bytes = std::span<const std::byte>;

const unsigned char* raw(const std::byte* bytes) noexcept {
    return reinterpret_cast<const unsigned char*>(bytes);
}
unsigned char* raw(std::byte* bytes) noexcept { return reinterpret_cast<unsigned char*>(bytes); }

// libsodium's two AEADs have one shape.
using Seal = decltype(&crypto_aead_chacha20poly1305_ietf_encrypt_detached);
using Open = decltype(&crypto_aead_chacha20poly1305_ietf_decrypt_detached);

void seal(Seal algorithm, std::span<std::byte> sealed, Bytes key, Bytes nonce, Bytes associated,
          Bytes plain) noexcept {
    libsodium_ready();
    assert(sealed.size() == plain.size() + kTagBytes);
    algorithm(raw(sealed.data()), raw(sealed.data() + plain.size()), nullptr, raw(plain.data()), plain.size(),
              raw(associated.data()), associated.size(), nullptr, raw(nonce.data()), raw(key.data()));
}

bool open(Open algorithm, std::span<std::byte> plain, Bytes key, Bytes nonce, Bytes associated,
          Bytes sealed) noexcept {
    libsodium_ready();
    if (sealed.size() < kTagBytes) {
        sodium_memzero(plain.data(), plain.size());
        return false;
    }
    const std::size_t length = sealed.size() - kTagBytes;
    assert(plain.size() == length);
    const bool authentic =
        algorithm(raw(plain.data()), nullptr, raw(sealed.data()), length, raw(sealed.data() + length),
                  raw(associated.data()), associated.size(), raw(nonce.data()), raw(key.data())) == 0;
    if (!authentic) sodium_memzero(plain.data(), plain.size());
    return authentic;
}

}  // namespace

void chacha20poly1305_seal(std::span<std::byte> sealed, std::span<const std::byte, 32> key,
                           std::span<const std::byte, kAeadNonceBytes> nonce, Bytes associated,
                           Bytes plain) noexcept {
    seal(crypto_aead_chacha20poly1305_ietf_encrypt_detached, sealed, key, nonce, associated, plain);
}

bool chacha20poly1305_open(std::span<std::byte> plain, std::span<const std::byte, 32> key,
                           std::span<const std::byte, kAeadNonceBytes> nonce, Bytes associated,
                           Bytes sealed) noexcept {
    return open(crypto_aead_chacha20poly1305_ietf_decrypt_detached, plain, key, nonce, associated, sealed);
}

void xchacha20poly1305_seal(std::span<std::byte> sealed, std::span<const std::byte, 32> key,
                            std::span<const std::byte, kCookieNonceBytes> nonce, Bytes associated,
                            Bytes plain) noexcept {
    seal(crypto_aead_xchacha20poly1305_ietf_encrypt_detached, sealed, key, nonce, associated, plain);
}

bool xchacha20poly1305_open(std::span<std::byte> plain, std::span<const std::byte, 32> key,
                            std::span<const std::byte, kCookieNonceBytes> nonce, Bytes associated,
                            Bytes sealed) noexcept {
    return open(crypto_aead_xchacha20poly1305_ietf_decrypt_detached, plain, key, nonce, associated, sealed);
}

}  // namespace vern
