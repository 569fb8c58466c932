#include "crypto/noise.h"

#include <gtest/gtest.h>

#include "crypto/blake2s.h"
#include "crypto/cookie.h"
#include "crypto/handshake_aead.h"
#include "low_order.h"
#include "vectors.h"

namespace vern::noise {
namespace {

using test::Bytes;

constexpr Instant kNow{std::chrono::seconds(1000)};

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

template <std::size_t N>
bool all_zero(const std::array<std::byte, N>& field) {
    return std::all_of(field.begin(), field.end(), [](std::byte b) { return b == std::byte{0}; });
}
template <typename Message>
bool is_empty(const Message& message) {
    const auto span = test::bytes_of(message);
    return std::all_of(span.begin(), span.end(), [](std::byte b) { return b == std::byte{0}; });
}
bool is_wiped(const SymmetricState& state) { return state.hash.is_zero() && state.chaining_key.is_zero(); }
bool is_wiped(const SessionKeys& keys) { return keys.sending.is_zero() && keys.receiving.is_zero(); }
bool is_wiped(const Responder& state) {
    return is_wiped(state.symmetric) && state.peer.is_zero() && state.peer_ephemeral.is_zero() &&
           state.peer_index == 0;
}
SharedSecret shared_of(const PrivateKey& ours, const PublicKey& theirs) {
    SharedSecret shared;
    EXPECT_TRUE(x25519(shared, ours, theirs));
    return shared;
}

// Two hosts that know each other, and the handshake's steps as the core takes them.
class NoiseTest : public ::testing::Test {
  protected:
    NoiseTest() {
        PresharedKey key(noise_.array<32>());
        psk_ = std::move(key);
    }

    [[nodiscard]] bool initiate() {
        return create_initiation(initiation_, initiator_, alice_, bob_.public_key, static_static_,
                                 ephemeral_a_, timestamp_, 0x1111);
    }
    // Bob takes an initiation; true when he would believe it.
    [[nodiscard]] bool accept(const MessageInitiation& message, Responder& state) {
        if (!open_static(message, state, bob_)) return false;
        SharedSecret shared;
        if (!x25519(shared, bob_.private_key, state.peer)) return false;
        const auto timestamp = open_timestamp(message, state, shared);
        if (timestamp) seen_timestamp_ = *timestamp;
        return timestamp.has_value();
    }
    [[nodiscard]] bool respond(const PresharedKey& psk) {
        return accept(initiation_, responder_) &&
               create_response(response_, responder_, psk, ephemeral_b_, 0x2222, bob_keys_);
    }
    [[nodiscard]] bool finish(const MessageResponse& message, const PresharedKey& psk) {
        return consume_response(message, initiator_, alice_, psk, alice_keys_);
    }

    test::Noise noise_{31};
    const StaticIdentity alice_ = identity_of(noise_.private_key());
    const StaticIdentity bob_ = identity_of(noise_.private_key());
    const SharedSecret static_static_ = shared_of(alice_.private_key, bob_.public_key);
    const PrivateKey ephemeral_a_ = noise_.private_key();
    const PrivateKey ephemeral_b_ = noise_.private_key();
    const Timestamp timestamp_ = timestamp_at(WallTime(std::chrono::seconds(1'700'000'000)));
    const PresharedKey none_;
    PresharedKey psk_;
    Timestamp seen_timestamp_;
    MessageInitiation initiation_;
    MessageResponse response_;
    Initiator initiator_;
    Responder responder_;
    SessionKeys alice_keys_, bob_keys_;
};

TEST_F(NoiseTest, ConstantsAreTheHashesOfTheirNames) {
    std::array<std::byte, 32> chaining, hash;
    blake2s::hash(chaining, {bytes(kConstruction)});
    blake2s::hash(hash, {chaining, bytes(kIdentifier)});
    EXPECT_EQ(test::hex(std::as_bytes(std::span(kInitialChainingKey))), test::hex(chaining));
    EXPECT_EQ(test::hex(std::as_bytes(std::span(kInitialHash))), test::hex(hash));
    EXPECT_EQ(test::hex(chaining), "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36");
}

TEST_F(NoiseTest, HandshakeWithAndWithoutPresharedKey) {
    for (const PresharedKey* psk : {&none_, static_cast<const PresharedKey*>(&psk_)}) {
        ASSERT_TRUE(initiate());
        ASSERT_TRUE(respond(*psk));
        ASSERT_TRUE(finish(response_, *psk));
        EXPECT_EQ(alice_keys_.sending, bob_keys_.receiving);
        EXPECT_EQ(alice_keys_.receiving, bob_keys_.sending);
        EXPECT_FALSE(alice_keys_.sending == alice_keys_.receiving);
        EXPECT_FALSE(alice_keys_.sending.is_zero() || alice_keys_.receiving.is_zero());
        EXPECT_EQ(seen_timestamp_, timestamp_);
        EXPECT_EQ(initiation_.sender_index, 0x1111u);
        EXPECT_EQ(response_.sender_index, 0x2222u);
        EXPECT_EQ(response_.receiver_index, 0x1111u);
        EXPECT_TRUE(is_wiped(responder_)) << "a response ends the responder's state";
        EXPECT_TRUE(all_zero(initiation_.macs.mac1) && all_zero(response_.macs.mac1));
    }
}

TEST_F(NoiseTest, ResponderLearnsWhoSpeaks) {
    ASSERT_TRUE(initiate());
    ASSERT_TRUE(open_static(initiation_, responder_, bob_));
    EXPECT_EQ(responder_.peer, alice_.public_key);
    EXPECT_EQ(responder_.peer_index, 0x1111u);
}

TEST_F(NoiseTest, SessionsOfOneHandshakeEachDiffer) {
    ASSERT_TRUE(initiate() && respond(psk_));
    const SymmetricKey first = bob_keys_.sending.clone();
    ASSERT_TRUE(accept(initiation_, responder_));
    ASSERT_TRUE(create_response(response_, responder_, psk_, noise_.private_key(), 1, bob_keys_));
    EXPECT_FALSE(first == bob_keys_.sending);
}

TEST_F(NoiseTest, WrongPresharedKeyFailsAndTheRightOneStillWorks) {
    ASSERT_TRUE(initiate() && respond(psk_));
    PresharedKey wrong = psk_.clone();
    wrong.writable()[0] ^= std::byte{1};
    EXPECT_FALSE(finish(response_, wrong));
    EXPECT_TRUE(is_wiped(alice_keys_));
    EXPECT_FALSE(finish(response_, none_));
    EXPECT_TRUE(finish(response_, psk_));
}

TEST_F(NoiseTest, WrongStaticKeysFail) {
    const StaticIdentity carol = identity_of(noise_.private_key());
    ASSERT_TRUE(initiate());
    Responder state;
    EXPECT_FALSE(open_static(initiation_, state, carol)) << "meant for someone else";
    EXPECT_TRUE(is_wiped(state));

    // Carol says that she is Alice, whose private key she does not have.
    const StaticIdentity impostor = {.private_key = carol.private_key.clone(),
                                     .public_key = alice_.public_key};
    ASSERT_TRUE(create_initiation(initiation_, initiator_, impostor, bob_.public_key,
                                  shared_of(carol.private_key, bob_.public_key), ephemeral_a_, timestamp_,
                                  1));
    ASSERT_TRUE(open_static(initiation_, state, bob_));
    EXPECT_EQ(state.peer, alice_.public_key);
    EXPECT_FALSE(open_timestamp(initiation_, state, shared_of(bob_.private_key, state.peer)));
    EXPECT_TRUE(is_wiped(state));

    // Only Bob's private key answers an initiation to Bob; only Alice's takes the response.
    ASSERT_TRUE(initiate() && respond(psk_));
    EXPECT_FALSE(consume_response(response_, initiator_, carol, psk_, alice_keys_));
}

TEST_F(NoiseTest, EveryBitOfAnInitiationCounts) {
    ASSERT_TRUE(initiate());
    const std::size_t begin = offsetof(MessageInitiation, ephemeral), end = offsetof(MessageInitiation, macs);
    for (std::size_t bit = begin * 8; bit < end * 8; ++bit) {
        MessageInitiation bad = initiation_;
        test::writable_bytes_of(bad)[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        Responder state;
        ASSERT_FALSE(accept(bad, state)) << bit;
        ASSERT_TRUE(is_wiped(state)) << bit;
    }
    EXPECT_TRUE(accept(initiation_, responder_));
}

TEST_F(NoiseTest, EveryBitOfAResponseCountsAndTheStateStays) {
    ASSERT_TRUE(initiate() && respond(psk_));
    const std::size_t begin = offsetof(MessageResponse, ephemeral), end = offsetof(MessageResponse, macs);
    for (std::size_t bit = begin * 8; bit < end * 8; ++bit) {
        MessageResponse bad = response_;
        test::writable_bytes_of(bad)[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        alice_keys_.sending = bob_keys_.sending.clone();
        ASSERT_FALSE(finish(bad, psk_)) << bit;
        ASSERT_TRUE(is_wiped(alice_keys_)) << bit;
    }
    ASSERT_TRUE(finish(response_, psk_));
    EXPECT_EQ(alice_keys_.sending, bob_keys_.receiving);
}

TEST_F(NoiseTest, EveryOtherByteIsCoveredByMac1) {
    // Header and indices are no part of the transcript: with the macs, no byte of either message is free.
    const CookieChecker bob_checks(bob_.public_key), alice_checks(alice_.public_key);
    ASSERT_TRUE(initiate() && respond(psk_));
    CookieJar jar;
    jar.add_macs(test::writable_bytes_of(initiation_), MacKeys::of(bob_.public_key), kNow);
    jar.add_macs(test::writable_bytes_of(response_), MacKeys::of(alice_.public_key), kNow);
    const CookieSource source{{}, 6};
    EXPECT_EQ(bob_checks.check(test::bytes_of(initiation_), source, kNow), MacState::valid_without_cookie);
    EXPECT_EQ(alice_checks.check(test::bytes_of(response_), source, kNow), MacState::valid_without_cookie);
    const auto refuses_all = [&](const CookieChecker& checker, auto message) {
        for (std::size_t i = 0; i < sizeof message - kMacBytes; ++i) {
            test::writable_bytes_of(message)[i] ^= std::byte{0x10};
            EXPECT_EQ(checker.check(test::bytes_of(message), source, kNow), MacState::invalid) << i;
            test::writable_bytes_of(message)[i] ^= std::byte{0x10};
        }
    };
    refuses_all(bob_checks, initiation_);
    refuses_all(alice_checks, response_);
}

TEST_F(NoiseTest, MessagesOfAnotherTypeAreRefused) {
    ASSERT_TRUE(initiate() && respond(psk_));
    for (std::uint32_t type : {0u, 1u, 2u, 3u, 4u, 0x100u | 1u, 0x100u | 2u, 0x01000000u | 2u}) {
        MessageInitiation initiation = initiation_;
        MessageResponse response = response_;
        initiation.header.type = type;
        response.header.type = type;
        Responder state;
        EXPECT_EQ(open_static(initiation, state, bob_), type == 1) << type;
        EXPECT_EQ(finish(response, psk_), type == 2) << type;
    }
}

TEST_F(NoiseTest, PublicKeysOfLowOrderAreRefused) {
    for (const char* point : test::kLowOrderPoints) {
        SCOPED_TRACE(point);
        const PublicKey low = test::public_key(point);
        EXPECT_FALSE(create_initiation(initiation_, initiator_, alice_, low, static_static_, ephemeral_a_,
                                       timestamp_, 1));
        EXPECT_TRUE(is_empty(initiation_));
        EXPECT_TRUE(is_wiped(initiator_.symmetric) && initiator_.ephemeral.is_zero());

        ASSERT_TRUE(initiate());
        initiation_.ephemeral = low.bytes;
        Responder state;
        EXPECT_FALSE(open_static(initiation_, state, bob_));
        EXPECT_TRUE(is_wiped(state));

        for (bool as_ephemeral : {true, false}) {
            ASSERT_TRUE(initiate() && accept(initiation_, responder_));
            (as_ephemeral ? responder_.peer_ephemeral : responder_.peer) = low;
            bob_keys_.sending.assign(noise_.array<32>());
            EXPECT_FALSE(create_response(response_, responder_, psk_, ephemeral_b_, 1, bob_keys_));
            EXPECT_TRUE(is_wiped(bob_keys_) && is_wiped(responder_) && is_empty(response_));
        }

        ASSERT_TRUE(initiate() && respond(psk_));
        response_.ephemeral = low.bytes;
        EXPECT_FALSE(finish(response_, psk_));
    }
}

// Such a message is well formed in all else: an attacker who knows that the secret is zero can compute every
// key from it.
TEST_F(NoiseTest, AZeroStaticStaticSecretIsRefused) {
    const SharedSecret zero;
    EXPECT_FALSE(create_initiation(initiation_, initiator_, alice_, bob_.public_key, zero, ephemeral_a_,
                                   timestamp_, 1));
    EXPECT_TRUE(is_empty(initiation_) && is_wiped(initiator_.symmetric));

    ASSERT_TRUE(initiate());
    Responder state;
    ASSERT_TRUE(open_static(initiation_, state, bob_));
    SymmetricKey key;
    Secret<32> chaining_key;
    blake2s::kdf(state.symmetric.chaining_key, zero.span(), chaining_key, key);
    const std::array<std::byte, kAeadNonceBytes> nonce{};
    chacha20poly1305_seal(initiation_.encrypted_timestamp, key.span(), nonce, state.symmetric.hash.span(),
                          timestamp_.bytes);
    EXPECT_FALSE(open_timestamp(initiation_, state, zero));
    EXPECT_TRUE(is_wiped(state));
}

TEST_F(NoiseTest, KnownAnswersFromGo) {
    int count = 0;
    const auto file = test::vectors("noise_ikpsk2.json");
    for (const auto& vector : file["handshakes"]) {
        SCOPED_TRACE(vector["name"]);
        const StaticIdentity alice = identity_of(test::secret_of(vector["initiator_private"]));
        const StaticIdentity bob = identity_of(test::secret_of(vector["responder_private"]));
        const PresharedKey psk = test::secret_of(vector["preshared_key"]);
        const Timestamp timestamp{test::array_of<12>(vector["timestamp"])};
        const SharedSecret shared = shared_of(alice.private_key, bob.public_key);
        EXPECT_EQ(test::hex(alice.public_key.bytes), vector["initiator_public"].get<std::string>());
        EXPECT_EQ(test::hex(bob.public_key.bytes), vector["responder_public"].get<std::string>());

        ASSERT_TRUE(create_initiation(initiation_, initiator_, alice, bob.public_key, shared,
                                      test::secret_of(vector["initiator_ephemeral"]), timestamp,
                                      vector["initiator_index"]));
        CookieJar jar;
        jar.add_macs(test::writable_bytes_of(initiation_), MacKeys::of(bob.public_key), kNow);
        EXPECT_EQ(test::hex(test::bytes_of(initiation_)),
                  vector["initiation_without_cookie"].get<std::string>());
        EXPECT_EQ(test::hex(initiator_.symmetric.hash.span()),
                  vector["hash_after_initiation"].get<std::string>());
        EXPECT_EQ(test::hex(initiator_.symmetric.chaining_key.span()),
                  vector["chaining_key_after_initiation"].get<std::string>());

        ASSERT_TRUE(open_static(initiation_, responder_, bob));
        const auto seen = open_timestamp(initiation_, responder_, shared);
        ASSERT_TRUE(seen && *seen == timestamp);
        ASSERT_TRUE(create_response(response_, responder_, psk,
                                    test::secret_of(vector["responder_ephemeral"]), vector["responder_index"],
                                    bob_keys_));
        jar.add_macs(test::writable_bytes_of(response_), MacKeys::of(alice.public_key), kNow);
        EXPECT_EQ(test::hex(test::bytes_of(response_)), vector["response"].get<std::string>());

        ASSERT_TRUE(consume_response(response_, initiator_, alice, psk, alice_keys_));
        for (const SymmetricKey* key : {&alice_keys_.sending, &bob_keys_.receiving})
            EXPECT_EQ(test::hex(key->span()), vector["initiator_sending"].get<std::string>());
        for (const SymmetricKey* key : {&alice_keys_.receiving, &bob_keys_.sending})
            EXPECT_EQ(test::hex(key->span()), vector["initiator_receiving"].get<std::string>());
        ++count;
    }
    EXPECT_EQ(count, 2);
}

}  // namespace
}  // namespace vern::noise
