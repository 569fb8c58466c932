// ChaCha20-Poly1305 over trains, the same for every vector type. A kernel is a file that includes this with
// its own vector type V and Poly1305 (both in unnamed namespaces, see aead_lanes_avx512.h) and exports an
// Implementation.
//
// A train is cut into groups of up to kLanes messages, of alike lengths where the train is mixed. The blocks
// of a group are laid end to end: block 0 of every message (its Poly1305 key), then the data blocks of
// message 0, of message 1, and so on; each pass of ChaCha20 computes the next kLanes of them, whoever's they
// are. Messages shorter than a pass thus share passes, and only the last pass of a group can have idle lanes.
//
// Sealing enciphers, then authenticates; opening authenticates first, and only deciphers what was authentic.
// Both go through the group in parts of as many messages as Poly1305 has lanes, so that what one has just had
// is still in the first cache when the other wants it. What the first pass computed beyond the Poly1305 keys
// waits in a buffer.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef VERN_CONSTANT_TIME_TEST
#include <valgrind/memcheck.h>
#endif

#include "crypto/aead.h"
#include "crypto/chacha20_lanes.h"
#include "crypto/poly1305_along.h"
#include "crypto/poly1305_lanes.h"
#include "crypto/poly1305_scalar.h"

namespace vern::aead {
namespace {

constexpr std::size_t kWindow = 64;  // messages among which alike lengths are sought

// Wiping that the compiler must not leave out.
inline void wipe_secrets(void* secrets, std::size_t bytes) {
    __builtin_memset(secrets, 0, bytes);
    __asm__ __volatile__("" : : "r"(secrets) : "memory");
}

// From here on a branch may depend on it. Tells valgrind so where the kernels run with their secrets marked
// as undefined (tests/crypto/constant_time.cpp), and does nothing elsewhere.
inline bool declassified(bool value) {
#ifdef VERN_CONSTANT_TIME_TEST
    VALGRIND_MAKE_MEM_DEFINED(&value, sizeof value);
#endif
    return value;
}

// V: the vector type. F: the field of its Poly1305.
template <class V, class F>
class Train {
    static constexpr int kLanes = V::kLanes;
    static constexpr int kWide = V::kWide;
    static constexpr int kFlatLanes = V::kLanes / 2;  // blocks that a double flat pass computes
    using ChaCha = ChaCha20<V>;
    using U32 = typename V::U32;
    using Poly = Poly1305Lanes<F>;
    using Along = Poly1305Along<F>;

    // Where the bytes of a block come from and go to; nowhere if `bytes` is 0.
    struct Target {
        const std::byte* from;
        std::byte* to;
        std::uint32_t bytes;
        int message;
    };

    struct Message {
        const std::byte* from;
        std::byte* to;
        std::uint32_t length;
    };

    // Which block each lane of a pass computes, and for what; the first `used` are wanted.
    struct Pass {
        Lanes<V> lanes;
        Target targets[kLanes];
        int used;
    };

    // The next block that has no lane yet.
    struct Cursor {
        int message;
        std::uint32_t at;
    };

    struct Group {
        int count = 0;
        Message messages[kLanes];
        std::uint64_t tags[kLanes][2];
        Keys keys;
        // Secret, wiped at the end of the call.
        alignas(64) std::uint32_t poly_words[8][kLanes];  // r and s of each message
        alignas(64) std::byte waiting[kLanes][kBlockBytes];
        typename Poly::Powers powers;
        typename Along::Powers along;
        typename Along::Key key;
        Cursor cursor;
        // The first pass, whose data blocks from lane `waiting_from` on wait; and the next ones, by turns.
        Pass first;
        int waiting_from;
        Pass passes[2];
        int turn;
    };

  public:
    static void seal(const SealJob* jobs, std::size_t count) noexcept {
        Group group;
        for_groups(jobs, count, [&](const std::uint8_t* order, int members, const SealJob* window) {
            group.count = members;
            for (int i = 0; i < members; ++i) {
                const SealJob& job = window[order[i]];
                admit(group, i, job.key, job.counter, {job.plain, job.sealed, job.length});
            }
            begin(group);
            for (int part = 0, end; part < members; part = end) {
                end = part + kWide < members ? part + kWide : members;
                encipher(
                    group, [&](const Pass& pass) { return pass.targets[0].message < end; }, end);
                authenticate(group, part, end);
                for (int i = part; i < end; ++i)
                    __builtin_memcpy(group.messages[i].to + group.messages[i].length, group.tags[i],
                                     kTagBytes);
            }
        });
        forget(group);
    }

    static void open(OpenJob* jobs, std::size_t count) noexcept {
        Group group;
        for_groups(jobs, count, [&](const std::uint8_t* order, int members, OpenJob* window) {
            group.count = members;
            for (int i = 0; i < members; ++i) {
                const OpenJob& job = window[order[i]];
                admit(group, i, job.key, job.counter, {job.sealed, job.sealed, job.length});
            }
            begin(group);
            for (int part = 0, end; part < members; part = end) {
                end = part + kWide < members ? part + kWide : members;
                authenticate(group, part, end);
                for (int i = part; i < end; ++i) {
                    OpenJob& job = window[order[i]];
                    job.authentic = tag_is(group.tags[i], job.sealed + job.length);
                    if (!job.authentic) refuse(group, i);
                }
                encipher(
                    group, [&](const Pass& pass) { return pass.targets[pass.used - 1].message < end; }, end);
            }
        });
        forget(group);
    }

  private:
    // Calls `each` with the indices of a group's messages.
    template <class Job, class Each>
    [[gnu::always_inline]] static void for_groups(Job* jobs, std::size_t count, Each each) {
        std::uint8_t order[kWindow];
        while (count > 0) {
            const std::size_t window = count < kWindow ? count : kWindow;
            sort(order, jobs, window);
            for (std::size_t i = 0; i < window; i += kLanes) {
                const std::size_t left = window - i;
                each(order + i, static_cast<int>(left < kLanes ? left : kLanes), jobs);
            }
            jobs += window;
            count -= window;
        }
    }

    // Longest first, by whole blocks: an order of lengths, which are no secret.
    template <class Job>
    static void sort(std::uint8_t* order, const Job* jobs, std::size_t count) {
        constexpr std::size_t kClasses = 32;
        const auto size_class = [&](std::size_t i) {
            const std::uint32_t blocks = jobs[i].length / kBlockBytes;
            return kClasses - 1 - (blocks < kClasses ? blocks : kClasses - 1);
        };
        bool alike = true;
        for (std::size_t i = 0; i < count; ++i) {
            order[i] = static_cast<std::uint8_t>(i);
            alike &= jobs[i].length == jobs[0].length;
        }
        if (alike || count <= 2) return;
        std::uint8_t place[kClasses + 1] = {};
        for (std::size_t i = 0; i < count; ++i) ++place[size_class(i) + 1];
        for (std::size_t i = 1; i < kClasses; ++i)
            place[i] = static_cast<std::uint8_t>(place[i] + place[i - 1]);
        for (std::size_t i = 0; i < count; ++i) order[place[size_class(i)]++] = static_cast<std::uint8_t>(i);
    }

    [[gnu::always_inline]] static void admit(Group& group, int i, const std::byte* key, std::uint64_t counter,
                                             const Message& message) {
        group.messages[i] = message;
        group.keys.raw[i] = key;
        group.keys.counter[0][i] = static_cast<std::uint32_t>(counter);
        group.keys.counter[1][i] = static_cast<std::uint32_t>(counter >> 32);
    }

    // The keys in the form that tall passes want.
    static void spread_keys(Group& group) {
        Keys& keys = group.keys;
        keys.one_key = true;
        for (int i = 1; i < group.count; ++i) keys.one_key &= keys.raw[i] == keys.raw[0];
        std::uint32_t words[8];
        if (keys.one_key) {
            __builtin_memcpy(words, keys.raw[0], 32);
            for (int w = 0; w < 8; ++w) V::store32(keys.key[w], V::set32(words[w]));
        } else {
            for (int i = 0; i < group.count; ++i) {
                __builtin_memcpy(words, keys.raw[i], 32);
                for (int w = 0; w < 8; ++w) keys.key[w][i] = words[w];
            }
        }
        wipe_secrets(words, sizeof words);
    }

    // Gives lanes from `lane` on to the next data blocks; what is left over computes something.
    [[gnu::always_inline]] static void fill(Group& group, Pass& pass, int lane) {
        Cursor cursor = group.cursor;
        const auto take = [&](const Message& message, std::uint32_t bytes) {
            pass.lanes.message[lane] = static_cast<std::uint32_t>(cursor.message);
            pass.lanes.block[lane] = cursor.at / kBlockBytes + 1;
            pass.targets[lane++] = {message.from + cursor.at, message.to + cursor.at, bytes, cursor.message};
            cursor.at += kBlockBytes;
        };
        for (; cursor.message < group.count; ++cursor.message, cursor.at = 0) {
            const Message& message = group.messages[cursor.message];
            // `at` is beyond the end if the message was refused meanwhile.
            while (lane < kLanes && cursor.at + kBlockBytes <= message.length) take(message, kBlockBytes);
            if (lane == kLanes) break;
            if (cursor.at < message.length) take(message, message.length - cursor.at);
        }
        group.cursor = cursor;
        pass.used = lane;
        for (; lane < kLanes; ++lane)
            pass.lanes.message[lane] = pass.lanes.block[lane] = pass.targets[lane].bytes = 0;
    }

    // The first pass: the Poly1305 keys, and keystream for the first data blocks into `waiting`.
    static void begin(Group& group) {
        Pass& pass = group.first;
        for (int i = 0; i < group.count; ++i) {
            pass.lanes.message[i] = static_cast<std::uint32_t>(i);
            pass.lanes.block[i] = 0;
        }
        group.cursor = {0, 0};
        fill(group, pass, group.count);
        group.waiting_from = group.count;
        std::size_t blocks = 0;
        for (int i = 0; i < group.count; ++i)
            blocks += 1 + (group.messages[i].length + kBlockBytes - 1) / kBlockBytes;
        group.turn = 0;
        fill(group, group.passes[0], 0);
        if (blocks <= kFlatLanes) return begin_flat(group, pass);
        spread_keys(group);
        U32 x[16];
        ChaCha::tall(x, group.keys, pass.lanes);
        for (int w = 0; w < 8; ++w) V::store32(group.poly_words[w], x[w]);
        if (pass.used == group.count) return;
        ChaCha::to_blocks(x);
        for (int i = 0; i < kLanes; ++i)
            for (int q = 0; q < ChaCha::kVectorsPerBlock; ++q)
                V::store_bytes(group.waiting[i] + q * 4 * kLanes, x[q * kLanes + i]);
    }

    static void begin_flat(Group& group, const Pass& pass) {
        flat(group, pass);
        for (int i = 0; i < group.count; ++i) {
            std::uint32_t words[8];
            __builtin_memcpy(words, group.waiting[i], 32);
            for (int w = 0; w < 8; ++w) group.poly_words[w][i] = words[w];
        }
    }
    static void flat(Group& group, const Pass& pass) {
        if (pass.used <= ChaCha::kFlatBlocks)
            ChaCha::template flat<1>(&group.waiting[0][0], group.keys, pass.lanes);
        else
            ChaCha::template flat<2>(&group.waiting[0][0], group.keys, pass.lanes);
    }

    // Does what waits for the messages before `end`, and the passes that are `wanted`. Which blocks a pass
    // has is written down before the one ahead of it runs: a vector of words that were stored one by one can
    // only be loaded once all of them have left the store buffer.
    template <class Wanted>
    [[gnu::noinline]] static void encipher(Group& group, Wanted wanted, int end) {
        for (int& i = group.waiting_from; i < group.first.used && group.first.targets[i].message < end; ++i)
            apply(group.first.targets[i], group.waiting[i]);
        for (;;) {
            Pass& pass = group.passes[group.turn];
            if (pass.used == 0 || !wanted(pass)) return;
            group.turn ^= 1;
            fill(group, group.passes[group.turn], 0);
            if (pass.used <= kFlatLanes) {
                flat(group, pass);
                for (int i = 0; i < pass.used; ++i) apply(pass.targets[i], group.waiting[i]);
            } else {
                tall_pass(group.keys, pass);
            }
        }
    }
    // Wiped, and what is already lined up for it dropped.
    static void refuse(Group& group, int message) {
        __builtin_memset(group.messages[message].to, 0, group.messages[message].length);
        group.messages[message].length = 0;
        for (Pass* pass : {&group.first, &group.passes[group.turn]})
            for (int i = 0; i < pass->used; ++i)
                if (pass->targets[i].message == message) pass->targets[i].bytes = 0;
    }
    [[gnu::always_inline]] static void apply(const Target& target, const std::byte* stream) {
        U32 x[ChaCha::kVectorsPerBlock];
        for (int q = 0; q < ChaCha::kVectorsPerBlock; ++q) x[q] = V::load_bytes(stream + q * 4 * kLanes);
        apply(target, x, 1);
    }
    // Vector q of the block is x[q * stride].
    [[gnu::always_inline]] static void apply(const Target& target, const U32* x, int stride) {
        for (int q = 0; q < ChaCha::kVectorsPerBlock; ++q) {
            const auto at = static_cast<std::uint32_t>(q * 4 * kLanes);
            if (target.bytes >= at + 4 * kLanes) {
                V::store_bytes(target.to + at, V::xor32(V::load_bytes(target.from + at), x[q * stride]));
            } else if (target.bytes > at) {
                const std::size_t left = target.bytes - at;
                V::store_bytes(target.to + at, V::xor32(V::load_bytes(target.from + at, left), x[q * stride]),
                               left);
            }
        }
    }
    [[gnu::always_inline]] static void tall_pass(const Keys& keys, const Pass& pass) {
        U32 x[16];
        ChaCha::tall(x, keys, pass.lanes);
        ChaCha::to_blocks(x);
        const Target* const targets = pass.targets;
        std::uint32_t bytes = 0;
        for (int i = 0; i < kLanes; ++i) bytes += targets[i].bytes;
        if (bytes == kLanes * kBlockBytes) {
            for (int i = 0; i < kLanes; ++i)
                for (int q = 0; q < ChaCha::kVectorsPerBlock; ++q)
                    V::store_bytes(
                        targets[i].to + q * 4 * kLanes,
                        V::xor32(V::load_bytes(targets[i].from + q * 4 * kLanes), x[q * kLanes + i]));
            return;
        }
        for (int i = 0; i < kLanes; ++i) apply(targets[i], &x[i], kLanes);
    }

    // The tags of the messages from `i` to `end`, at most kWide.
    [[gnu::always_inline]] static void authenticate(Group& group, int i, int end) {
        if (end - i < V::kMinimumForLanes) {
            for (; i < end; ++i) authenticate_one(group, i, group.messages[i].to);
            return;
        }
        typename Poly::Messages messages;
        messages.words = &group.poly_words[0][i];
        messages.stride = kLanes;
        for (int lane = 0; lane < kWide; ++lane) {
            const Message& message = group.messages[i + lane < end ? i + lane : i];
            messages.data[lane] = message.to;
            messages.length[lane] = message.length;
        }
        std::uint64_t tags[2][kWide];
        Poly::mac(messages, group.powers, tags);
        for (int lane = 0; i + lane < end; ++lane) {
            group.tags[i + lane][0] = tags[0][lane];
            group.tags[i + lane][1] = tags[1][lane];
        }
    }

    static void authenticate_one(Group& group, int i, const std::byte* text) {
        const auto word = [&](int w) {
            return group.poly_words[2 * w][i] | static_cast<std::uint64_t>(group.poly_words[2 * w + 1][i])
                                                    << 32;
        };
        if (group.messages[i].length >= V::kAlongFromBytes) {
            group.key = {{word(0), word(1)}, {word(2), word(3)}};
            return Along::mac(text, group.messages[i].length, group.key, group.along, group.tags[i]);
        }
        Poly1305Scalar poly;
        poly.start(word(0), word(1));
        const std::byte* const end = text + group.messages[i].length;
        for (; end - text >= 16; text += 16) poly.block(text);
        if (end != text) poly.last_bytes(text, static_cast<std::size_t>(end - text));
        poly.block(0, group.messages[i].length);
        poly.finish(word(2), word(3), group.tags[i][0], group.tags[i][1]);
    }

    // In constant time. That the answer is no secret is the point of asking.
    [[gnu::always_inline]] static bool tag_is(const std::uint64_t (&tag)[2], const std::byte* claimed) {
        std::uint64_t other[2];
        __builtin_memcpy(other, claimed, kTagBytes);
        return declassified(((tag[0] ^ other[0]) | (tag[1] ^ other[1])) == 0);
    }

    static void forget(Group& group) { wipe_secrets(&group, sizeof group); }
};

}  // namespace
}  // namespace vern::aead
