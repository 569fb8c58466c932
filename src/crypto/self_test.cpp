#include "crypto/self_test.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "crypto/blake2s.h"
#include "crypto/handshake_aead.h"
#include "crypto/noise.h"

namespace vern {
namespace {

template <typename SecretType>
SecretType filled(unsigned char value) {
    SecretType secret;
    std::ranges::fill(secret.writable(), std::byte{value});
    return secret;
}

bool blake2s_is_right() {
    std::array<std::byte, 32> hash;
    const std::string_view text = noise::kConstruction;
    blake2s::hash(hash, {std::as_bytes(std::span(text))});
    return std::memcmp(hash.data(), noise::kInitialChainingKey.data(), hash.size()) == 0;
}

bool handshake_is_right() {
    const auto alice = noise::identity_of(filled<PrivateKey>(0x11)),
               bob = noise::identity_of(filled<PrivateKey>(0x22));
    const auto psk = filled<PresharedKey>(0x33);
    SharedSecret from_alice, from_bob;
    noise::Initiator initiator;
    noise::Responder responder;
    MessageInitiation initiation{};
    MessageResponse response{};
    noise::SessionKeys ours, theirs;
    return noise::x25519(from_alice, alice.private_key, bob.public_key) &&
           noise::x25519(from_bob, bob.private_key, alice.public_key) &&
           noise::create_initiation(initiation, initiator, alice, bob.public_key, from_alice,
                                    filled<PrivateKey>(0x44),
                                    noise::timestamp_at(WallTime(std::chrono::seconds(1))), 1) &&
           noise::open_static(initiation, responder, bob) && responder.peer == alice.public_key &&
           noise::open_timestamp(initiation, responder, from_bob).has_value() &&
           noise::create_response(response, responder, psk, filled<PrivateKey>(0x55), 2, theirs) &&
           noise::consume_response(response, initiator, alice, psk, ours) &&
           ours.sending == theirs.receiving && ours.receiving == theirs.sending &&
           !(ours.sending == ours.receiving);
}

// Lengths about the edges of blocks and lanes, and full messages.
constexpr std::array<std::uint32_t, 16> kLengths = {0,    16,   64,   48,   1424, 1424, 1424, 80,
                                                    1424, 1424, 1424, 1424, 1424, 1424, 1424, 32};
constexpr std::size_t kSlotBytes = 1440;
constexpr std::size_t kForged = 5;

// A message by itself, for which kernels have code of its own, is what it was in the train.
bool alone_is_right(const aead::Implementation& aead, std::uint64_t counter, const std::byte* key,
                    const std::byte* plain, const std::byte* in_train, std::uint32_t length) {
    std::vector<std::byte> message(length + kTagBytes);
    const aead::SealJob seal = {key, counter, plain, message.data(), length, 0};
    aead.seal(std::span(&seal, 1));
    if (!std::equal(message.begin(), message.end(), in_train)) return false;
    aead::OpenJob open = {key, counter, message.data(), length, false};
    aead.open(std::span(&open, 1));
    return open.authentic && std::equal(message.begin(), message.begin() + length, plain);
}

bool train_is_right(const aead::Implementation& aead) {
    const auto key = filled<SymmetricKey>(0x66);
    std::vector<std::byte> plain(kLengths.size() * kSlotBytes), sealed(plain.size()), opened(kSlotBytes);
    for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<std::byte>(i * 7 + i / 251);
    std::array<aead::SealJob, kLengths.size()> seal;
    std::array<aead::OpenJob, kLengths.size()> open;
    for (std::size_t i = 0; i < kLengths.size(); ++i) {
        std::byte* at = &sealed[i * kSlotBytes];
        // Every other one as packets that were cut: headers where they are sealed, the rest elsewhere.
        const std::uint32_t front = i % 2 == 1 && kLengths[i] >= 64 ? 64 : 0;
        std::copy_n(&plain[i * kSlotBytes], front, at);
        seal[i] = {key.span().data(), i, &plain[i * kSlotBytes] + front, at, kLengths[i], front};
        open[i] = {key.span().data(), i, at, kLengths[i], false};
    }
    aead.seal(seal);
    for (std::size_t i = 0; i < kLengths.size(); ++i) {
        std::array<std::byte, kAeadNonceBytes> nonce{};
        nonce[4] = static_cast<std::byte>(i);
        const std::span message(&sealed[i * kSlotBytes], kLengths[i] + kTagBytes);
        if (!chacha20poly1305_open(std::span(opened).first(kLengths[i]), key.span(), nonce, {}, message))
            return false;
        if (!std::equal(opened.begin(), opened.begin() + kLengths[i], &plain[i * kSlotBytes])) return false;
        if (!alone_is_right(aead, i, key.span().data(), &plain[i * kSlotBytes], message.data(), kLengths[i]))
            return false;
    }
    sealed[kForged * kSlotBytes + 700] ^= std::byte{1};
    aead.open(open);
    for (std::size_t i = 0; i < kLengths.size(); ++i) {
        if (open[i].authentic != (i != kForged)) return false;
        if (i != kForged && !std::equal(&sealed[i * kSlotBytes], &sealed[i * kSlotBytes] + kLengths[i],
                                        &plain[i * kSlotBytes]))
            return false;
    }
    return true;
}

}  // namespace

Result<void> self_test(const aead::Implementation& aead) {
    const auto wrong = [](std::string_view what) {
        return fail("self-test: " + std::string(what) + " computes wrongly on this machine: not started",
                    ENOTRECOVERABLE);
    };
    if (!blake2s_is_right()) return wrong("BLAKE2s (OpenSSL)");
    if (!handshake_is_right()) return wrong("the Noise handshake (X25519, ChaCha20-Poly1305)");
#ifdef VERN_NULL_CIPHER  // the benchmark's floor: that it is wrong is what it is for
    if (aead.name.starts_with("null")) return {};
#endif
    if (!train_is_right(aead))
        return wrong("the AEAD \"" + std::string(aead.name) + "\" (--aead chooses another)");
    return {};
}

}  // namespace vern
