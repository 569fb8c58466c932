// The parts of the crypto layer, alone. Two AEAD figures from one run may be compared; figures of two runs
// may not.
#include <benchmark/benchmark.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <sodium.h>

#include <array>
#include <string>
#include <vector>

#include "crypto/aead.h"
#include "crypto/cookie.h"
#include "crypto/noise.h"
#include "crypto/start.h"

namespace vern {
namespace {

constexpr Instant kNow{std::chrono::seconds(1000)};

template <std::size_t N>
std::array<std::byte, N> random_bytes() {
    std::array<std::byte, N> bytes;
    randombytes_buf(bytes.data(), N);
    return bytes;
}
PrivateKey random_key() {
    PrivateKey key(random_bytes<32>());
    clamp(key);
    return key;
}

// A train of equal messages, spaced as in a packet pool.
struct Train {
    static constexpr std::size_t kSlotBytes = 2048;
    std::array<std::byte, 32> key = random_bytes<32>();
    std::vector<std::byte> plain, sealed;
    std::vector<aead::SealJob> seals;
    std::vector<aead::OpenJob> opens;

    Train(std::size_t messages, std::uint32_t length)
        : plain(messages * kSlotBytes), sealed(messages * kSlotBytes) {
        for (std::size_t i = 0; i < messages; ++i) {
            std::byte* slot = sealed.data() + i * kSlotBytes;
            seals.push_back({key.data(), i, plain.data() + i * kSlotBytes, slot, length});
            opens.push_back({key.data(), i, slot, length, false});
        }
    }
};

void report(benchmark::State& state, const Train& train) {
    const auto messages = state.iterations() * static_cast<std::int64_t>(train.seals.size());
    state.SetItemsProcessed(messages);
    state.SetBytesProcessed(messages * train.seals.front().length);
}

void seal(benchmark::State& state, const aead::Implementation& implementation, std::size_t messages,
          std::uint32_t length) {
    Train train(messages, length);
    for (auto _ : state) implementation.seal(train.seals);
    report(state, train);
}

// Opening is in place, so every turn needs the ciphertext again: copied outside the measured time would cost
// more in timer calls than it saves, so the copy is part of the figure (about 20 ns per 1424 bytes).
void open(benchmark::State& state, const aead::Implementation& implementation, std::size_t messages,
          std::uint32_t length) {
    Train train(messages, length);
    implementation.seal(train.seals);
    const std::vector<std::byte> original = train.sealed;
    for (auto _ : state) {
        for (const aead::OpenJob& job : train.opens)
            std::copy_n(original.data() + (job.sealed - train.sealed.data()), length + kTagBytes, job.sealed);
        implementation.open(train.opens);
        if (!train.opens.back().authentic) state.SkipWithError("not authentic");
    }
    report(state, train);
}

void register_aead() {
    for (const aead::Implementation* one : aead::implementations()) {
        if (!one->supported()) continue;
        for (std::size_t messages : {1u, 32u})
            for (std::uint32_t length : {64u, 1424u}) {
                const std::string suffix = "/" + std::string(one->name) + "/" + std::to_string(messages) +
                                           "x" + std::to_string(length);
                benchmark::RegisterBenchmark(("seal" + suffix).c_str(),
                                             [=](auto& state) { seal(state, *one, messages, length); });
                benchmark::RegisterBenchmark(("open" + suffix).c_str(),
                                             [=](auto& state) { open(state, *one, messages, length); });
            }
    }
}

void x25519(benchmark::State& state) {
    const PrivateKey ours = random_key();
    const PublicKey theirs = noise::public_key_of(random_key());
    SharedSecret shared;
    for (auto _ : state) benchmark::DoNotOptimize(noise::x25519(shared, ours, theirs));
}
BENCHMARK(x25519);

void public_key(benchmark::State& state) {
    const PrivateKey ours = random_key();
    for (auto _ : state) benchmark::DoNotOptimize(noise::public_key_of(ours));
}
BENCHMARK(public_key);

// The least that OpenSSL needs from two byte strings to a shared secret: a made-up public half saves it
// computing ours.
void x25519_openssl(benchmark::State& state) {
    auto ours = random_bytes<32>();
    auto theirs = noise::public_key_of(random_key()).bytes;
    std::array<unsigned char, 32> unused{};
    std::array<unsigned char, 32> shared;
    EVP_PKEY_CTX* maker = EVP_PKEY_CTX_new_from_name(nullptr, "X25519", nullptr);
    EVP_PKEY_fromdata_init(maker);
    for (auto _ : state) {
        OSSL_PARAM our_parameters[] = {
            OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, ours.data(), 32),
            OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, unused.data(), 32),
            OSSL_PARAM_construct_end()};
        OSSL_PARAM their_parameters[] = {
            OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, theirs.data(), 32),
            OSSL_PARAM_construct_end()};
        EVP_PKEY *our_key = nullptr, *their_key = nullptr;
        EVP_PKEY_fromdata(maker, &our_key, EVP_PKEY_KEYPAIR, our_parameters);
        EVP_PKEY_fromdata(maker, &their_key, EVP_PKEY_PUBLIC_KEY, their_parameters);
        EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_pkey(nullptr, our_key, nullptr);
        EVP_PKEY_derive_init(context);
        EVP_PKEY_derive_set_peer_ex(context, their_key, 0);
        std::size_t length = shared.size();
        if (EVP_PKEY_derive(context, shared.data(), &length) != 1) state.SkipWithError("derive");
        EVP_PKEY_CTX_free(context);
        EVP_PKEY_free(our_key);
        EVP_PKEY_free(their_key);
    }
    EVP_PKEY_CTX_free(maker);
}
BENCHMARK(x25519_openssl);

void mac1_check(benchmark::State& state) {
    const PublicKey us{random_bytes<32>()};
    const CookieChecker checker(us);
    CookieJar jar;
    auto message = random_bytes<sizeof(MessageInitiation)>();
    jar.add_macs(message, MacKeys::of(us), kNow);
    const CookieSource source{{}, 6};
    for (auto _ : state)
        if (checker.check(message, source, kNow) == MacState::invalid) state.SkipWithError("invalid");
}
BENCHMARK(mac1_check);

void mac1_and_mac2_check(benchmark::State& state) {
    const PublicKey us{random_bytes<32>()};
    CookieChecker checker(us);
    checker.renew(random_bytes<32>(), kNow);
    CookieJar jar;
    auto message = random_bytes<sizeof(MessageInitiation)>();
    jar.add_macs(message, MacKeys::of(us), kNow);
    const CookieSource source{{}, 6};
    for (auto _ : state)
        if (checker.check(message, source, kNow) == MacState::invalid) state.SkipWithError("invalid");
}
BENCHMARK(mac1_and_mac2_check);

// Two hosts with a cached static-static secret, as the core has it.
struct Pair {
    noise::StaticIdentity alice = noise::identity_of(random_key());
    noise::StaticIdentity bob = noise::identity_of(random_key());
    SharedSecret static_static;
    PresharedKey psk;
    noise::Initiator initiator;
    noise::Responder responder;
    noise::SessionKeys alice_keys, bob_keys;
    MessageInitiation initiation;
    MessageResponse response;
    PrivateKey ephemeral = random_key();
    noise::Timestamp timestamp = noise::timestamp_at(WallTime(std::chrono::seconds(1'700'000'000)));

    Pair() {
        if (!noise::x25519(static_static, alice.private_key, bob.public_key) || !initiate() || !respond())
            std::abort();
    }
    bool initiate() {
        return noise::create_initiation(initiation, initiator, alice, bob.public_key, static_static,
                                        ephemeral, timestamp, 1);
    }
    bool respond() {
        return noise::open_static(initiation, responder, bob) &&
               noise::open_timestamp(initiation, responder, static_static) &&
               noise::create_response(response, responder, psk, ephemeral, 2, bob_keys);
    }
    bool finish() { return noise::consume_response(response, initiator, alice, psk, alice_keys); }
};

void handshake_initiator(benchmark::State& state) {
    Pair pair;
    for (auto _ : state)
        if (!pair.initiate() || !pair.finish()) state.SkipWithError("failed");
}
BENCHMARK(handshake_initiator);

void handshake_responder(benchmark::State& state) {
    Pair pair;
    for (auto _ : state)
        if (!pair.respond()) state.SkipWithError("failed");
}
BENCHMARK(handshake_responder);

}  // namespace
}  // namespace vern

int main(int count, char** arguments) {
    if (!vern::start_crypto()) return 1;
    vern::register_aead();
    benchmark::Initialize(&count, arguments);
    if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
