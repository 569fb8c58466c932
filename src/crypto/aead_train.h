// ChaCha20-Poly1305 over trains, the same for every vector type. A kernel is a file that includes this with
// its own vector type V and Poly1305 (both in unnamed namespaces, see aead_lanes_avx512.h) and exports an
// Implementation.
//
// A train is cut into groups of up to kLanes messages, of alike lengths where the train is mixed. The blocks
// of a group are laid end to end: block 0 of every message (its Poly1305 key), then the data blocks of
// message 0, of message 1, and so on; each pass of ChaCha20 computes the next kLanes of them, whoever's they
// are. Messages shorter than a pass thus share passes, and only the last pass of a group can have idle lanes.
//
// Sealing enciphers the group, then authenticates it. Opening authenticates first, and only deciphers what
// was authentic; what the first pass computed beyond the Poly1305 keys waits in a buffer.
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
        std::uint32_t message;
    };

    struct Message {
        const std::byte* from;
        std::byte* to;
        std::uint32_t length;
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
        // The data blocks that wait: in the lanes from `count` to `waiting_end`.
        Target waiting_for[kLanes];
        int waiting_end = 0;
    };

    // The next block to be enciphered.
    struct Cursor {
        int message = 0;
        std::uint32_t at = 0;
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
            Cursor cursor;
            begin(group, cursor);
            encipher(group, cursor);
            authenticate(group, [&](int i) { return group.messages[i].to; });
            for (int i = 0; i < members; ++i)
                __builtin_memcpy(group.messages[i].to + group.messages[i].length, group.tags[i], kTagBytes);
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
            Cursor cursor;
            begin(group, cursor);
            authenticate(group, [&](int i) { return group.messages[i].from; });
            for (int i = 0; i < members; ++i) {
                OpenJob& job = window[order[i]];
                job.authentic = tag_is(group.tags[i], job.sealed + job.length);
                if (job.authentic) continue;
                __builtin_memset(job.sealed, 0, job.length);
                group.messages[i].length = 0;
                for (int w = group.count; w < group.waiting_end; ++w)
                    if (group.waiting_for[w].message == static_cast<std::uint32_t>(i))
                        group.waiting_for[w].bytes = 0;
            }
            encipher(group, cursor);
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
            for (int w = 0; w < 8; ++w)
                for (int i = 0; i < kLanes; ++i) keys.key[w][i] = words[w];
        } else {
            for (int i = 0; i < group.count; ++i) {
                __builtin_memcpy(words, keys.raw[i], 32);
                for (int w = 0; w < 8; ++w) keys.key[w][i] = words[w];
            }
        }
        wipe_secrets(words, sizeof words);
    }

    // Gives lanes from `lane` on to the next data blocks; returns the first lane that got none.
    [[gnu::always_inline]] static int fill(const Group& group, Cursor& cursor, Lanes<V>& lanes,
                                           Target* targets, int lane, int end) {
        while (lane < end && cursor.message < group.count) {
            const Message& message = group.messages[cursor.message];
            const auto index = static_cast<std::uint32_t>(cursor.message);
            std::uint32_t at = cursor.at;
            // Whole blocks; `at` is beyond the end if the message was refused meanwhile.
            for (; lane < end && at + kBlockBytes <= message.length; ++lane, at += kBlockBytes) {
                lanes.message[lane] = index;
                lanes.block[lane] = at / kBlockBytes + 1;
                targets[lane] = {message.from + at, message.to + at, kBlockBytes, index};
            }
            if (lane == end) {
                cursor.at = at;
                return lane;
            }
            if (at < message.length) {
                lanes.message[lane] = index;
                lanes.block[lane] = at / kBlockBytes + 1;
                targets[lane] = {message.from + at, message.to + at, message.length - at, index};
                ++lane;
            }
            ++cursor.message;
            cursor.at = 0;
        }
        return lane;
    }
    [[gnu::always_inline]] static void idle(Lanes<V>& lanes, int lane) {
        for (; lane < kLanes; ++lane) lanes.message[lane] = lanes.block[lane] = 0;
    }

    // The first pass: the Poly1305 keys, and keystream for the first data blocks into `waiting`.
    static void begin(Group& group, Cursor& cursor) {
        Lanes<V> lanes;
        for (int i = 0; i < group.count; ++i) {
            lanes.message[i] = static_cast<std::uint32_t>(i);
            lanes.block[i] = 0;
        }
        const int used = fill(group, cursor, lanes, group.waiting_for, group.count, kLanes);
        group.waiting_end = used;
        idle(lanes, used);
        std::size_t blocks = 0;
        for (int i = 0; i < group.count; ++i)
            blocks += 1 + (group.messages[i].length + kBlockBytes - 1) / kBlockBytes;
        if (blocks <= kFlatLanes) return begin_flat(group, lanes, used);
        spread_keys(group);
        U32 x[16];
        ChaCha::tall(x, group.keys, lanes);
        for (int w = 0; w < 8; ++w) V::store32(group.poly_words[w], x[w]);
        if (used == group.count) return;
        ChaCha::to_blocks(x);
        for (int i = 0; i < kLanes; ++i)
            for (int q = 0; q < ChaCha::kVectorsPerBlock; ++q)
                V::store_bytes(group.waiting[i] + q * 4 * kLanes, x[q * kLanes + i]);
    }

    static void begin_flat(Group& group, const Lanes<V>& lanes, int used) {
        flat(&group.waiting[0][0], group.keys, lanes, used);
        for (int i = 0; i < group.count; ++i) {
            std::uint32_t words[8];
            __builtin_memcpy(words, group.waiting[i], 32);
            for (int w = 0; w < 8; ++w) group.poly_words[w][i] = words[w];
        }
    }
    static void flat(std::byte* out, const Keys& keys, const Lanes<V>& lanes, int used) {
        if (used <= ChaCha::kFlatBlocks)
            ChaCha::template flat<1>(out, keys, lanes);
        else
            ChaCha::template flat<2>(out, keys, lanes);
    }

    // What is left to encipher.
    static void encipher(Group& group, Cursor& cursor) {
        for (int i = group.count; i < group.waiting_end; ++i) apply(group.waiting_for[i], group.waiting[i]);
        Lanes<V> lanes;
        Target targets[kLanes];
        for (;;) {
            const int used = fill(group, cursor, lanes, targets, 0, kLanes);
            if (used == 0) return;
            idle(lanes, used);
            if (used <= kFlatLanes) {
                flat(&group.waiting[0][0], group.keys, lanes, used);
                for (int i = 0; i < used; ++i) apply(targets[i], group.waiting[i]);
                return;
            }
            for (int i = used; i < kLanes; ++i) targets[i].bytes = 0;
            tall_pass(group.keys, lanes, targets);
        }
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
    static void tall_pass(const Keys& keys, const Lanes<V>& lanes, const Target* targets) {
        U32 x[16];
        ChaCha::tall(x, keys, lanes);
        ChaCha::to_blocks(x);
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

    // The tags of all messages. `text` is where the ciphertext of message i is.
    template <class Text>
    [[gnu::always_inline]] static void authenticate(Group& group, Text text) {
        int i = 0;
        for (; group.count - i >= V::kMinimumForLanes; i += kWide) {
            typename Poly::Messages messages;
            messages.words = &group.poly_words[0][i];
            messages.stride = kLanes;
            for (int lane = 0; lane < kWide; ++lane) {
                const int member = i + lane < group.count ? i + lane : i;
                messages.data[lane] = text(member);
                messages.length[lane] = group.messages[member].length;
            }
            std::uint64_t tags[2][kWide];
            Poly::mac(messages, group.powers, tags);
            for (int lane = 0; lane < kWide && i + lane < group.count; ++lane) {
                group.tags[i + lane][0] = tags[0][lane];
                group.tags[i + lane][1] = tags[1][lane];
            }
        }
        for (; i < group.count; ++i) authenticate_one(group, i, text(i));
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
