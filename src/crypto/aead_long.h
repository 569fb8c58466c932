// ChaCha20-Poly1305 of one message of more than a few blocks, which comes by itself, for a V that has
// Poly1305 beside ChaCha20. Each pass of ChaCha20 after the first has blocks of the message itself beside it:
// to be sealed, those that the passes ahead have enciphered; to be opened, those that lie there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/aead.h"
#include "crypto/aead_secrets.h"
#include "crypto/chacha20_lanes.h"

namespace vern::aead {
namespace {

// V: the vector type.
template <class V>
class LongMessage {
    static constexpr std::uint32_t kPassBytes = V::kLanes * kBlockBytes;
    static constexpr std::uint32_t kVectorBytes = 4 * V::kLanes;
    // Passes whose keystream can wait until a message has been found to be authentic: those of a full packet.
    static constexpr std::uint32_t kPassesAhead = 3;
    using Poly = typename V::Along;

    // To compute the next pass.
    struct Blocks {
        Keys keys;
        Lanes<V> lanes;
    };
    template <std::uint32_t Passes>
    struct Secrets {
        Blocks blocks;
        alignas(64) std::byte stream[Passes * kPassBytes];  // begins with the Poly1305 key's block
        Poly poly;
        std::uint64_t tag[2];
    };
    // The first `front` bytes are at `to`, and `from` has what follows.
    struct Text {
        const std::byte* from;
        std::byte* to;
        std::uint32_t front;
    };

  public:
    // Less is one pass, with nothing beside it.
    static constexpr std::uint32_t kBytesMin = kPassBytes - kBlockBytes + 1;

    [[gnu::noinline]] static void seal(const SealJob& job) noexcept {
        Secrets<1> secret;
        start(secret, job.key, job.counter, job.sealed);
        const Text text = {job.plain, job.sealed, job.front};
        const std::byte* stream = secret.stream + kBlockBytes;
        std::uint32_t done = 0, end = kPassBytes - kBlockBytes;
        for (; end < job.length; done = end, end += kPassBytes, stream = secret.stream) {
            apply(stream, text, done, end);
            secret.poly.offer((end - done) / 16);
            next_pass(secret.blocks, secret.stream, secret.poly);
        }
        apply(stream, text, done, job.length);
        secret.poly.offer(job.length / 16 - done / 16);
        secret.poly.finish(job.length, secret.tag);
        __builtin_memcpy(job.sealed + job.length, secret.tag, kTagBytes);
        wipe_secrets(&secret, sizeof secret);
        wipe_left_behind<V::kStackBytes>();
    }

    [[gnu::noinline]] static void open(OpenJob& job) noexcept {
        Secrets<kPassesAhead> secret;
        start(secret, job.key, job.counter, job.sealed);
        secret.poly.offer(job.length / 16);
        std::uint32_t ahead = kPassBytes;
        for (; ahead < sizeof secret.stream && ahead < job.length + kBlockBytes; ahead += kPassBytes)
            next_pass(secret.blocks, secret.stream + ahead, secret.poly);
        secret.poly.finish(job.length, secret.tag);
        std::uint64_t claimed[2];
        __builtin_memcpy(claimed, job.sealed + job.length, kTagBytes);
        job.authentic = declassified(((secret.tag[0] ^ claimed[0]) | (secret.tag[1] ^ claimed[1])) == 0);
        if (job.authentic)
            decipher(secret, job, ahead - kBlockBytes);
        else
            __builtin_memset(job.sealed, 0, job.length);
        wipe_secrets(&secret, sizeof secret);
        wipe_left_behind<V::kStackBytes>();
    }

  private:
    // The first pass, and Poly1305 with the key from it.
    template <class Secrets>
    static void start(Secrets& secret, const std::byte* key, std::uint64_t counter, const std::byte* text) {
        Keys& keys = secret.blocks.keys;
        Lanes<V>& lanes = secret.blocks.lanes;
        ChaCha20<V>::spread_key(keys, key);
        // All lanes have message 0.
        V::store32(lanes.message, V::set32(0));
        V::store32(keys.counter[0], V::set32(static_cast<std::uint32_t>(counter)));
        V::store32(keys.counter[1], V::set32(static_cast<std::uint32_t>(counter >> 32)));
        for (std::uint32_t i = 0; i < V::kLanes; ++i) lanes.block[i] = i;
        Nothing nothing;
        next_pass(secret.blocks, secret.stream, nothing);
        typename Poly::Key poly_key;
        __builtin_memcpy(&poly_key, secret.stream, sizeof poly_key);
        secret.poly.start(poly_key, text);
        wipe_secrets(&poly_key, sizeof poly_key);
    }

    // In a function of its own: a kernel's biggest piece of code, and what it puts away on the stack is where
    // it is wiped.
    template <class Meanwhile>
    [[gnu::noinline]] static void next_pass(Blocks& blocks, std::byte* stream, Meanwhile& meanwhile) {
        using ChaCha = ChaCha20<V>;
        typename V::U32 x[16];
        ChaCha::rounds(x, blocks.keys, blocks.lanes, meanwhile);
        for (int i = 0; i < 16; ++i) x[i] = V::add32(x[i], ChaCha::start_word(blocks.keys, blocks.lanes, i));
        ChaCha::to_blocks(x);
        for (int lane = 0; lane < V::kLanes; ++lane, stream += kBlockBytes)
            for (int q = 0; q < ChaCha::kVectorsPerBlock; ++q)
                V::store_bytes(stream + q * 4 * V::kLanes, x[q * V::kLanes + lane]);
        std::uint32_t* const block = blocks.lanes.block;
        V::store32(block, V::add32(V::load32(block), V::set32(V::kLanes)));
    }

    // Keystream onto the bytes from `at` to `end`; `at` is whole blocks, and so is `end` but for the text's.
    static void apply(const std::byte* stream, const Text& text, std::uint32_t at, std::uint32_t end) {
        const auto from = [&] { return at < text.front ? text.to + at : text.from + (at - text.front); };
        for (; at + kVectorBytes <= end; at += kVectorBytes, stream += kVectorBytes)
            V::store_bytes(text.to + at, V::xor32(V::load_bytes(from()), V::load_bytes(stream)));
        if (at < end)
            V::store_bytes(text.to + at, V::xor32(V::load_bytes(from(), end - at), V::load_bytes(stream)),
                           end - at);
    }
    // The keystream of the first `ready` bytes is there.
    static void decipher(Secrets<kPassesAhead>& secret, const OpenJob& job, std::uint32_t ready) {
        const Text text = {job.sealed, job.sealed, 0};
        const std::byte* stream = secret.stream + kBlockBytes;
        std::uint32_t done = 0;
        for (; ready < job.length; done = ready, ready += kPassBytes, stream = secret.stream) {
            apply(stream, text, done, ready);
            Nothing nothing;
            next_pass(secret.blocks, secret.stream, nothing);
        }
        apply(stream, text, done, job.length);
    }
};

}  // namespace
}  // namespace vern::aead
