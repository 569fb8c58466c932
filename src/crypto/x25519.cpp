// X25519 (RFC 7748) by libsodium. OpenSSL's field arithmetic is faster, but its way from 32 bytes to a key
// object and back costs as much as that gains, allocates, can fail, and leaves copies of the scalar in its
// heap.
#include "crypto/libsodium.h"
#include "crypto/noise.h"

namespace vern::noise {
namespace {

unsigned char* raw(PublicKey& key) noexcept { return reinterpret_cast<unsigned char*>(key.bytes.data()); }
const unsigned char* raw(const PublicKey& key) noexcept {
    return reinterpret_cast<const unsigned char*>(key.bytes.data());
}

}  // namespace

bool x25519(SharedSecret& shared, const PrivateKey& ours, const PublicKey& theirs) noexcept {
    libsodium_ready();
    // libsodium refuses points of low order itself, but does not promise to; the zero test is ours.
    const bool multiplied = crypto_scalarmult_curve25519(shared.data(), ours.data(), raw(theirs)) == 0;
    if (multiplied && !shared.is_zero()) return true;
    shared.wipe();
    return false;
}

PublicKey public_key_of(const PrivateKey& private_key) noexcept {
    libsodium_ready();
    PublicKey key;
    crypto_scalarmult_curve25519_base(raw(key), private_key.data());
    return key;
}

StaticIdentity identity_of(const PrivateKey& private_key) noexcept {
    return {.private_key = private_key.clone(), .public_key = public_key_of(private_key)};
}

}  // namespace vern::noise
