#include "crypto/noise.h"

#include <algorithm>
#include <span>

#include "crypto/blake2s.h"
#include "crypto/handshake_aead.h"

namespace vern::noise {
namespace {

using Bytes = std::span<const std::byte>;

void mix_hash(SymmetricState& state, Bytes bytes) noexcept {
    blake2s::hash(state.hash.writable(), {state.hash.span(), bytes});
}

// A public ephemeral goes into both: with a preshared key Noise asks for it, so that the key alone never
// fixes the encryption keys.
void mix_ephemeral(SymmetricState& state, Bytes ephemeral) noexcept {
    blake2s::kdf(state.chaining_key, ephemeral, state.chaining_key);
    mix_hash(state, ephemeral);
}

void mix_secret(SymmetricState& state, const SharedSecret& shared) noexcept {
    blake2s::kdf(state.chaining_key, shared.span(), state.chaining_key);
}

// Each key that comes out serves for one message only, hence the zero nonce.
void mix_secret(SymmetricState& state, const SharedSecret& shared, SymmetricKey& key) noexcept {
    blake2s::kdf(state.chaining_key, shared.span(), state.chaining_key, key);
}

void mix_preshared_key(SymmetricState& state, const PresharedKey& preshared_key, SymmetricKey& key) noexcept {
    Secret<32> mixed;
    blake2s::kdf(state.chaining_key, preshared_key.span(), state.chaining_key, mixed, key);
    mix_hash(state, mixed.span());
}

[[nodiscard]] bool mix_dh(SymmetricState& state, const PrivateKey& ours, const PublicKey& theirs) noexcept {
    SharedSecret shared;
    if (!x25519(shared, ours, theirs)) return false;
    mix_secret(state, shared);
    return true;
}

[[nodiscard]] bool mix_dh(SymmetricState& state, const PrivateKey& ours, const PublicKey& theirs,
                          SymmetricKey& key) noexcept {
    SharedSecret shared;
    if (!x25519(shared, ours, theirs)) return false;
    mix_secret(state, shared, key);
    return true;
}

constexpr std::array<std::byte, kAeadNonceBytes> kZeroNonce{};

void seal(SymmetricState& state, const SymmetricKey& key, Bytes plain, std::span<std::byte> sealed) noexcept {
    chacha20poly1305_seal(sealed, key.span(), kZeroNonce, state.hash.span(), plain);
    mix_hash(state, sealed);
}

[[nodiscard]] bool open(SymmetricState& state, const SymmetricKey& key, Bytes sealed,
                        std::span<std::byte> plain) noexcept {
    if (!chacha20poly1305_open(plain, key.span(), kZeroNonce, state.hash.span(), sealed)) return false;
    mix_hash(state, sealed);
    return true;
}

void begin(SymmetricState& state, const PublicKey& responder) noexcept {
    state.chaining_key.assign(std::as_bytes(std::span(kInitialChainingKey)));
    state.hash.assign(std::as_bytes(std::span(kInitialHash)));
    mix_hash(state, responder.bytes);
}

SymmetricState copy_of(const SymmetricState& state) noexcept {
    return {.hash = state.hash.clone(), .chaining_key = state.chaining_key.clone()};
}

PublicKey public_key_in(const std::array<std::byte, kKeyBytes>& field) noexcept { return {.bytes = field}; }

bool is_type(const MessageHeader& header, MessageType type) noexcept {
    return header.type == static_cast<std::uint32_t>(type);
}

// The last step of both sides: the initiator's sending key comes first.
void split(const SymmetricState& state, SymmetricKey& initiator_sends,
           SymmetricKey& responder_sends) noexcept {
    blake2s::kdf(state.chaining_key, {}, initiator_sends, responder_sends);
}

bool write_initiation(MessageInitiation& message, Initiator& state, const StaticIdentity& us,
                      const PublicKey& peer, const SharedSecret& static_static,
                      const Timestamp& timestamp) noexcept {
    if (static_static.is_zero()) return false;
    SymmetricState& symmetric = state.symmetric;
    SymmetricKey key;

    begin(symmetric, peer);
    message.ephemeral = public_key_of(state.ephemeral).bytes;
    mix_ephemeral(symmetric, message.ephemeral);
    if (!mix_dh(symmetric, state.ephemeral, peer, key)) return false;
    seal(symmetric, key, us.public_key.bytes, message.encrypted_static);
    mix_secret(symmetric, static_static, key);
    seal(symmetric, key, timestamp.bytes, message.encrypted_timestamp);
    return true;
}

bool read_static(const MessageInitiation& message, Responder& state, const StaticIdentity& us) noexcept {
    SymmetricKey key;
    begin(state.symmetric, us.public_key);
    mix_ephemeral(state.symmetric, message.ephemeral);
    state.peer_ephemeral = public_key_in(message.ephemeral);
    return mix_dh(state.symmetric, us.private_key, state.peer_ephemeral, key) &&
           open(state.symmetric, key, message.encrypted_static, state.peer.bytes);
}

bool write_response(MessageResponse& message, Responder& state, const PresharedKey& preshared_key,
                    const PrivateKey& ephemeral) noexcept {
    SymmetricState& symmetric = state.symmetric;
    SymmetricKey key;
    message.ephemeral = public_key_of(ephemeral).bytes;
    mix_ephemeral(symmetric, message.ephemeral);
    if (!mix_dh(symmetric, ephemeral, state.peer_ephemeral) || !mix_dh(symmetric, ephemeral, state.peer))
        return false;
    mix_preshared_key(symmetric, preshared_key, key);
    seal(symmetric, key, {}, message.encrypted_nothing);
    return true;
}

bool read_response(const MessageResponse& message, SymmetricState& symmetric, const PrivateKey& ephemeral,
                   const PrivateKey& static_private, const PresharedKey& preshared_key) noexcept {
    SymmetricKey key;
    const PublicKey peer_ephemeral = public_key_in(message.ephemeral);
    mix_ephemeral(symmetric, message.ephemeral);
    if (!mix_dh(symmetric, ephemeral, peer_ephemeral) || !mix_dh(symmetric, static_private, peer_ephemeral))
        return false;
    mix_preshared_key(symmetric, preshared_key, key);
    return open(symmetric, key, message.encrypted_nothing, {});
}

}  // namespace

void SymmetricState::wipe() noexcept {
    hash.wipe();
    chaining_key.wipe();
}

void Initiator::wipe() noexcept {
    symmetric.wipe();
    ephemeral.wipe();
}

void Responder::wipe() noexcept {
    symmetric.wipe();
    peer = {};
    peer_ephemeral = {};
    peer_index = 0;
}

bool create_initiation(MessageInitiation& message, Initiator& state, const StaticIdentity& us,
                       const PublicKey& peer, const SharedSecret& static_static, const PrivateKey& ephemeral,
                       const Timestamp& timestamp, std::uint32_t sender_index) noexcept {
    message = {};
    message.header.type = static_cast<std::uint32_t>(MessageType::initiation);
    message.sender_index = sender_index;
    state.ephemeral = ephemeral.clone();
    if (write_initiation(message, state, us, peer, static_static, timestamp)) return true;
    message = {};
    state.wipe();
    return false;
}

bool consume_response(const MessageResponse& message, const Initiator& state, const StaticIdentity& us,
                      const PresharedKey& preshared_key, SessionKeys& keys) noexcept {
    SymmetricState symmetric = copy_of(state.symmetric);
    if (is_type(message.header, MessageType::response) &&
        read_response(message, symmetric, state.ephemeral, us.private_key, preshared_key)) {
        split(symmetric, keys.sending, keys.receiving);
        return true;
    }
    keys.sending.wipe();
    keys.receiving.wipe();
    return false;
}

bool open_static(const MessageInitiation& message, Responder& state, const StaticIdentity& us) noexcept {
    state.peer_index = message.sender_index;
    if (is_type(message.header, MessageType::initiation) && read_static(message, state, us)) return true;
    state.wipe();
    return false;
}

std::optional<Timestamp> open_timestamp(const MessageInitiation& message, Responder& state,
                                        const SharedSecret& static_static) noexcept {
    SymmetricKey key;
    Timestamp timestamp;
    if (!static_static.is_zero()) {
        mix_secret(state.symmetric, static_static, key);
        if (open(state.symmetric, key, message.encrypted_timestamp, timestamp.bytes)) return timestamp;
    }
    state.wipe();
    return std::nullopt;
}

bool create_response(MessageResponse& message, Responder& state, const PresharedKey& preshared_key,
                     const PrivateKey& ephemeral, std::uint32_t sender_index, SessionKeys& keys) noexcept {
    message = {};
    message.header.type = static_cast<std::uint32_t>(MessageType::response);
    message.sender_index = sender_index;
    message.receiver_index = state.peer_index;
    const bool written = write_response(message, state, preshared_key, ephemeral);
    if (written) {
        split(state.symmetric, keys.receiving, keys.sending);
    } else {
        message = {};
        keys.sending.wipe();
        keys.receiving.wipe();
    }
    state.wipe();
    return written;
}

}  // namespace vern::noise
