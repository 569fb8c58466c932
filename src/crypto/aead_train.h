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
// is still in the first cache when the other wants it. With a V that has Poly1305 beside ChaCha20, parts are
// smaller, and each is authenticated while another one, be it of the next group, is enciphered or deciphered.
// A V that does several passes at once has them all laid out before the first begins. What the first pass
// computed beyond the Poly1305 keys waits in a buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "crypto/aead.h"
#include "crypto/aead_groups.h"
#include "crypto/aead_secrets.h"
#include "crypto/aead_short.h"
#include "crypto/chacha20_lanes.h"
#include "crypto/poly1305_along.h"
#include "crypto/poly1305_lanes.h"
#include "crypto/poly1305_scalar.h"

namespace vern::aead {
namespace {

// Poly1305 beside ChaCha20, of a V that has it.
template <class V>
struct BesideOf : std::type_identity<Nothing> {};
template <class V>
requires requires { typename V::Beside; }
struct BesideOf<V> : std::type_identity<typename V::Beside> {};

// Poly1305 of a long message by itself: of its blocks in lanes, unless V has something better.
template <class V, class F>
struct AlongOf : std::type_identity<Poly1305Along<F>> {};
template <class V, class F>
requires requires { typename V::Along; }
struct AlongOf<V, F> : std::type_identity<typename V::Along> {};

// V: the vector type. F: the field of its Poly1305.
template <class V, class F>
class Train {
    static constexpr int kLanes = V::kLanes;
    static constexpr int kWide = V::kWide;
    static constexpr int kFlatLanes = V::kLanes / 2;  // blocks that a double flat pass computes
    using ChaCha = ChaCha20<V>;
    using U32 = typename V::U32;
    using Poly = Poly1305Lanes<F>;
    using Along = typename AlongOf<V, F>::type;
    using Beside = typename BesideOf<V>::type;
    static constexpr bool kHasBeside = !std::is_same_v<Beside, Nothing>;
    // Several, of a V that is better off with them than with one after the other.
    static constexpr int kPassesAtOnce = [] {
        if constexpr (requires { V::kPassesAtOnce; })
            return V::kPassesAtOnce;
        else
            return 1;
    }();
    static_assert(kPassesAtOnce == 1 || !kHasBeside, "nobody would do what is beside");

    struct Message {
        const std::byte* from;
        std::byte* to;
        std::uint32_t length;
        std::uint32_t front = 0;  // so many bytes, whole blocks, are at `to` already
    };

    // A block that is not whole is computed in `whole[lane]`, so that a pass itself has no cases.
    struct Edge {
        int lane;
        std::uint32_t bytes;
        std::byte* to;
    };

    // Which block each lane of a pass computes, where its bytes come from and where they go.
    struct Pass {
        Lanes<V> lanes;
        const std::byte* from[2 * kLanes];  // the second half: see take_vector()
        std::byte* to[2 * kLanes];
        int begin, end;  // the lanes that have a block of some message's data
        int edges;
        Edge edge[kLanes];
        alignas(64) std::byte whole[kLanes][kBlockBytes];  // secret, wiped when it has been used
    };

    struct Group {
        int count = 0;
        Message messages[kLanes];
        // The next block that has no lane yet.
        int message;
        std::uint32_t at;
        // The first pass has the Poly1305 keys, too; its data blocks wait. The others come by turns, and one
        // is laid out that has not run yet.
        Pass first;
        Pass passes[kPassesAtOnce + 1];
        int turn;
        struct {
            Keys keys;
            std::uint64_t tags[kLanes][2];                    // the right ones of what was forged
            alignas(64) std::uint32_t poly_words[8][kLanes];  // r and s of each message
            alignas(64) std::byte waiting[kLanes][kBlockBytes];
        } secret;  // wiped at the end of the call
    };

  public:
    static void seal(const SealJob* jobs, std::size_t count) noexcept {
        if (is_short(jobs, count)) return ShortMessage::seal(*jobs);
        seal_train(jobs, count);
    }
    static void open(OpenJob* jobs, std::size_t count) noexcept {
        if (is_short(jobs, count)) return ShortMessage::open(*jobs);
        open_train(jobs, count);
    }

  private:
    static bool is_short(const SealJob* jobs, std::size_t count) {
        return count == 1 && jobs->length <= ShortMessage::kBytesMax && jobs->front == 0;
    }
    static bool is_short(const OpenJob* jobs, std::size_t count) {
        return count == 1 && jobs->length <= ShortMessage::kBytesMax;
    }

    [[gnu::noinline]] static void seal_train(const SealJob* jobs, std::size_t count) noexcept {
        Group group;
        Beside beside;
        for_groups<kLanes>(jobs, count, [&](const std::uint8_t* order, int members, const SealJob* window) {
            group.count = members;
            for (int i = 0; i < members; ++i) {
                const SealJob& job = window[order[i]];
                admit(group, i, job.key, job.counter,
                      {before(job.plain, job.front), job.sealed, job.length, job.front});
            }
            begin(group);
            const bool pays = beside_pays(group);
            for (int part = 0, end; part < members; part = end) {
                end = end_of_part(part, members, pays);
                encipher(
                    group, [&](const Pass& pass) { return message_of(pass, 0) < end; }, end, beside);
                beside.finish();
                const auto tag = [&](int i) { return group.messages[i].to + group.messages[i].length; };
                if (pays) {
                    entrust(beside, group, part, end, tag);
                } else {
                    authenticate(group, part, end);
                    for (int i = part; i < end; ++i)
                        __builtin_memcpy(tag(i), group.secret.tags[i], kTagBytes);
                }
            }
        });
        beside.finish();
        wipe_secrets(&group.secret, sizeof group.secret);
        wipe_left_behind<V::kStackBytes>();
    }

    // What Poly1305 has of the stack, of the kernel that has most.
    static constexpr std::size_t kPolyStackBytes = std::size_t{24} << 10;

    [[gnu::noinline]] static void open_train(OpenJob* jobs, std::size_t count) noexcept {
        // By turns, where a group's first part is authenticated beside the last passes of the group ahead.
        Group groups[kHasBeside ? 2 : 1];
        Group* group = &groups[0];
        Group* undone = nullptr;  // its last part was judged, but is not deciphered
        bool all_authentic = true;
        Beside beside;
        const auto decipher = [&](Group& which, int end) {
            encipher(
                which, [&](const Pass& pass) { return message_of(pass, pass.end - 1) < end; }, end, beside);
        };
        for_groups<kLanes>(jobs, count, [&](const std::uint8_t* order, int members, OpenJob* window) {
            group->count = members;
            for (int i = 0; i < members; ++i) {
                const OpenJob& job = window[order[i]];
                admit(*group, i, job.key, job.counter, {job.sealed, job.sealed, job.length});
            }
            begin(*group);
            const bool pays = beside_pays(*group);
            for (int part = 0, end; part < members; part = end) {
                end = end_of_part(part, members, pays);
                if (pays) entrust(beside, *group, part, end, [&](int i) { return group->secret.tags[i]; });
                if (part > 0)
                    decipher(*group, part);
                else if (undone != nullptr)
                    decipher(*undone, undone->count);
                beside.finish();
                if (!pays) authenticate(*group, part, end);
                for (int i = part; i < end; ++i) {
                    OpenJob& job = window[order[i]];
                    job.authentic = tag_is(group->secret.tags[i], job.sealed + job.length);
                    if (job.authentic) continue;
                    all_authentic = false;
                    refuse(*group, i);
                }
            }
            if constexpr (kHasBeside) {
                undone = group;
                group = group == &groups[0] ? &groups[1] : &groups[0];
            } else {
                decipher(*group, members);
            }
        });
        if (undone != nullptr) decipher(*undone, undone->count);
        for (std::size_t i = 0; i < sizeof groups / sizeof *groups && i * kLanes < count; ++i)
            wipe_secrets(&groups[i].secret, sizeof groups[i].secret);
        // The Poly1305 key of what was refused is good for what the peer may yet send under that counter.
        if (!all_authentic) return wipe_left_behind<kPolyStackBytes>();
        wipe_left_behind<V::kStackBytes>();
    }

    // Whether the group is authenticated beside ChaCha20: not if its messages are so short that they are
    // better off in lanes, nor if there is no other message to encipher meanwhile.
    static bool beside_pays(const Group& group) {
        if constexpr (kHasBeside)
            return group.count > 1 && group.messages[group.count / 2].length >= V::kBesideFromBytes;
        return false;
    }
    static int end_of_part(int part, int members, bool pays) {
        int end = part + kWide;
        if constexpr (kHasBeside)
            if (pays) end = part + Beside::kMessages;
        return end < members ? end : members;
    }
    // The messages from `part` to `end` are authenticated by the end of the next beside.finish(). One that is
    // there alone is given twice.
    template <class Tag>
    static void entrust(Beside& beside, const Group& group, int part, int end, Tag tag) {
        if constexpr (kHasBeside)
            for (int which = 0; which < Beside::kMessages; ++which) {
                const int i = part + which < end ? part + which : part;
                const Message& message = group.messages[i];
                beside.start(which, message.to, message.length,
                             {poly_word(group, i, 0), poly_word(group, i, 1), poly_word(group, i, 2),
                              poly_word(group, i, 3)},
                             tag(i));
            }
    }
    // Word w of r and s.
    static std::uint64_t poly_word(const Group& group, int i, int w) {
        return group.secret.poly_words[2 * w][i] |
               static_cast<std::uint64_t>(group.secret.poly_words[2 * w + 1][i]) << 32;
    }

    [[gnu::always_inline]] static void admit(Group& group, int i, const std::byte* key, std::uint64_t counter,
                                             const Message& message) {
        group.messages[i] = message;
        group.secret.keys.raw[i] = key;
        group.secret.keys.counter[0][i] = static_cast<std::uint32_t>(counter);
        group.secret.keys.counter[1][i] = static_cast<std::uint32_t>(counter >> 32);
    }

    // As a number: there need not be anything there.
    static const std::byte* before(const std::byte* at, std::uint32_t bytes) {
        return reinterpret_cast<const std::byte*>(reinterpret_cast<std::uintptr_t>(at) - bytes);
    }
    static int message_of(const Pass& pass, int lane) { return static_cast<int>(pass.lanes.message[lane]); }

    // Gives the lanes from `begin` on to the next blocks of data.
    [[gnu::always_inline]] static void fill(Group& group, Pass& pass, int begin) {
        int lane = begin, index = group.message;
        std::uint32_t at = group.at;
        pass.edges = 0;
        for (; index < group.count; ++index, at = 0) {
            const Message message = group.messages[index];
            const int first_lane = lane;
            const std::uint32_t first_at = at;
            // A message that was refused has no length any more, but may have had blocks.
            const std::uint32_t left = at < message.length ? message.length - at : 0;
            const auto whole = static_cast<int>(left / kBlockBytes);
            const int count = whole < kLanes - lane ? whole : kLanes - lane;
            if (count > 1)
                take_vector(pass, lane, message, index, at);
            else if (count == 1)
                take(pass, lane, message, index, at);
            lane += count;
            at += static_cast<std::uint32_t>(count) * kBlockBytes;
            if (first_at < message.front) [[unlikely]]
                in_place(pass, first_lane, lane, message.front - first_at);
            if (lane == kLanes) break;
            if (at < message.length) {
                take(pass, lane, message, index, at);
                put_aside(pass, lane++, message.length - at);
            }
        }
        group.message = index;
        group.at = at;
        pass.begin = begin;
        pass.end = lane;
        for (; lane < kLanes; ++lane) {
            pass.lanes.message[lane] = pass.lanes.block[lane] = 0;
            pass.from[lane] = pass.to[lane] = pass.whole[lane];
        }
    }
    // The first `bytes` of what these lanes have are where they are sealed. In a function of its own, and
    // called from where it is out of the way: in the loop above it costs 2 % also where no message has any.
    [[gnu::noinline]] static void in_place(Pass& pass, int lane, int end, std::uint32_t bytes) {
        for (std::uint32_t at = 0; at < bytes && lane < end; at += kBlockBytes, ++lane)
            pass.from[lane] = pass.to[lane];
    }
    // The lane computes the block of the message that is `at` bytes into it.
    [[gnu::always_inline]] static void take(Pass& pass, int lane, const Message& message, int index,
                                            std::uint32_t at) {
        pass.lanes.message[lane] = static_cast<std::uint32_t>(index);
        pass.lanes.block[lane] = at / kBlockBytes + 1;
        pass.from[lane] = message.from + at;
        pass.to[lane] = message.to + at;
    }
    // As many lanes as there are in a vector take the blocks from there on, whether the message has so many
    // or not: what is too much is written over.
    [[gnu::always_inline]] static void take_vector(Pass& pass, int lane, const Message& message, int index,
                                                   std::uint32_t at) {
        V::store32(pass.lanes.message + lane, V::set32(static_cast<std::uint32_t>(index)));
        V::store32(pass.lanes.block + lane,
                   V::add32(V::set32(at / kBlockBytes + 1), V::load32(kSteps.of_block)));
        for (int i = 0; i < kLanes; i += kWide) {
            const std::uint32_t next = at + static_cast<std::uint32_t>(i) * kBlockBytes;
            put_addresses(pass.from + lane + i, message.from, next);
            put_addresses(pass.to + lane + i, message.to, next);
        }
    }
    // Of the blocks from there on; they are numbers, since not all of them need be the message's.
    template <class Byte>
    [[gnu::always_inline]] static void put_addresses(Byte** to, Byte* message, std::uint32_t at) {
        static_assert(sizeof message == sizeof(std::uint64_t));
        const typename V::U64 addresses =
            V::add64(V::set64(reinterpret_cast<std::uint64_t>(message) + at), V::load64(kSteps.of_address));
        __builtin_memcpy(to, &addresses, sizeof addresses);
    }
    struct Steps {
        alignas(64) std::uint32_t of_block[kLanes];
        alignas(64) std::uint64_t of_address[kWide];
    };
    static constexpr Steps kSteps = [] {
        Steps steps{};
        for (std::uint32_t i = 0; i < kLanes; ++i) steps.of_block[i] = i;
        for (std::uint64_t i = 0; i < kWide; ++i) steps.of_address[i] = i * kBlockBytes;
        return steps;
    }();
    // The block of a lane that is not whole.
    [[gnu::always_inline]] static void put_aside(Pass& pass, int lane, std::uint32_t bytes) {
        std::byte* const whole = pass.whole[lane];
        pass.edge[pass.edges++] = {lane, bytes, pass.to[lane]};
        copy(whole, pass.from[lane], bytes);
        pass.from[lane] = pass.to[lane] = whole;
    }
    // Of a block: up to kBlockBytes are read, all of it is written.
    [[gnu::always_inline]] static void copy(std::byte* whole, const std::byte* from, std::uint32_t bytes) {
        for (std::uint32_t at = 0; at < kBlockBytes; at += 4 * kLanes) {
            const std::uint32_t left = bytes > at ? bytes - at : 0;
            V::store_bytes(whole + at,
                           V::load_bytes(from + (left ? at : 0), left < 4 * kLanes ? left : 4 * kLanes));
        }
    }

    // The first pass: the Poly1305 keys, and keystream for the first data blocks into `waiting`. What has
    // secrets in vectors is in functions of its own, for what they put away on the stack to be where it is
    // wiped.
    [[gnu::noinline]] static void begin(Group& group) {
        Pass& pass = group.first;
        for (int i = 0; i < group.count; ++i) {
            pass.lanes.message[i] = static_cast<std::uint32_t>(i);
            pass.lanes.block[i] = 0;
        }
        group.message = 0;
        group.at = 0;
        fill(group, pass, group.count);
        group.turn = 0;
        fill(group, group.passes[0], 0);
        if (pass.end <= kFlatLanes) return begin_flat(group, pass);
        ChaCha::spread_keys(group.secret.keys, group.count);
        U32 x[16];
        ChaCha::tall(x, group.secret.keys, pass.lanes);
        for (int w = 0; w < 8; ++w) V::store32(group.secret.poly_words[w], x[w]);
        if (pass.end > group.count) {
            ChaCha::to_blocks(x);
            for (int i = 0; i < kLanes; ++i)
                for (int q = 0; q < ChaCha::kVectorsPerBlock; ++q)
                    V::store_bytes(group.secret.waiting[i] + q * 4 * kLanes, x[q * kLanes + i]);
        }
    }

    static void begin_flat(Group& group, const Pass& pass) {
        flat(group, pass);
        for (int i = 0; i < group.count; ++i) {
            std::uint32_t words[8];
            __builtin_memcpy(words, group.secret.waiting[i], 32);
            for (int w = 0; w < 8; ++w) group.secret.poly_words[w][i] = words[w];
            wipe_secrets(words, sizeof words);
        }
    }
    static void flat(Group& group, const Pass& pass) {
        if (pass.end <= ChaCha::kFlatBlocks)
            ChaCha::template flat<1>(&group.secret.waiting[0][0], group.secret.keys, pass.lanes);
        else
            ChaCha::template flat<2>(&group.secret.waiting[0][0], group.secret.keys, pass.lanes);
    }

    // Does what waits for the messages before `end`, and the passes that are `wanted`. Which blocks a pass
    // has is written down before the one ahead of it runs: a vector of words that were stored one by one can
    // only be loaded once all of them have left the store buffer.
    template <class Wanted>
    [[gnu::noinline]] static void encipher(Group& group, Wanted wanted, int end, Beside& beside) {
        Pass& first = group.first;
        int waited = first.begin;
        while (waited < first.end && message_of(first, waited) < end) ++waited;
        apply(first, waited, group.secret.waiting);
        for (;;) {
            int count = 0;
            for (; count < kPassesAtOnce; ++count) {
                const Pass& pass = coming(group, count);
                if (pass.end == 0 || !wanted(pass)) break;
                fill(group, coming(group, count + 1), 0);
            }
            if (count == 0) return;
            for (int done = run(group, count); done < count; ++done) {
                Pass& pass = coming(group, done);
                if (pass.end <= kFlatLanes) {
                    flat(group, pass);
                    apply(pass, pass.end, group.secret.waiting);
                } else {
                    tall_pass(group.secret.keys, pass, beside);
                }
            }
            group.turn = (group.turn + count) % (kPassesAtOnce + 1);
        }
    }
    // The passes that have not run yet, the next one first.
    [[gnu::always_inline]] static Pass& coming(Group& group, int which) {
        return group.passes[(group.turn + which) % (kPassesAtOnce + 1)];
    }
    // Of the next `count` passes, does those that V does at once: none or all, but for a last one that is
    // flat. How many they were.
    [[gnu::always_inline]] static int run(Group& group, int count) {
        if constexpr (kPassesAtOnce > 1) {
            static_assert(V::kPassesFrom > 1);
            if (coming(group, count - 1).end <= kFlatLanes) --count;
            if (count < V::kPassesFrom) return 0;
            Pass* passes[kPassesAtOnce];
            for (int i = 0; i < count; ++i) {
                passes[i] = &coming(group, i);
                ChaCha::look_up(group.secret.keys, passes[i]->lanes);
            }
            V::run(group.secret.keys, passes, count);
            for (int i = 0; i < count; ++i) finish_tall(group.secret.keys, *passes[i]);
            return count;
        }
        return 0;
    }
    // Keystream onto the blocks in the lanes before `end` that have not had it.
    static void apply(Pass& pass, int end, const std::byte (&stream)[kLanes][kBlockBytes]) {
        for (int lane = pass.begin; lane < end; ++lane)
            for (std::uint32_t at = 0; at < kBlockBytes; at += 4 * kLanes)
                V::store_bytes(pass.to[lane] + at, V::xor32(V::load_bytes(pass.from[lane] + at),
                                                            V::load_bytes(&stream[lane][at])));
        pass.begin = end;
        finish(pass);
    }
    // What was computed on the side goes where it belongs.
    static void finish(Pass& pass) {
        for (int i = 0; i < pass.edges; ++i) {
            Edge& edge = pass.edge[i];
            if (edge.lane >= pass.begin) continue;
            for (std::uint32_t at = 0; at < edge.bytes; at += 4 * kLanes) {
                const std::uint32_t left = edge.bytes - at;
                V::store_bytes(edge.to + at, V::load_bytes(pass.whole[edge.lane] + at),
                               left < 4 * kLanes ? left : 4 * kLanes);
            }
            edge.bytes = 0;
            wipe_secrets(pass.whole[edge.lane], kBlockBytes);
        }
    }
    // Wiped, and what is already lined up for it dropped: computed aside, where the keystream is wiped, too.
    static void refuse(Group& group, int index) {
        Message& message = group.messages[index];
        __builtin_memset(message.to, 0, message.length);
        message.length = 0;
        for (Pass* pass : {&group.first, &coming(group, 0)}) {
            for (int lane = pass->begin; lane < pass->end; ++lane)
                if (message_of(*pass, lane) == index && pass->to[lane] != pass->whole[lane])
                    put_aside(*pass, lane, 0);
            for (int i = 0; i < pass->edges; ++i)
                if (message_of(*pass, pass->edge[i].lane) == index) pass->edge[i].bytes = 0;
        }
    }
    // Of a pass: vector q of lane i's block is `at` bytes into it.
    template <class Each>
    [[gnu::always_inline]] static void each_vector(Each each) {
        for (int i = 0; i < kLanes; ++i)
            for (int q = 0; q < ChaCha::kVectorsPerBlock; ++q)
                each(i, q, static_cast<std::uint32_t>(q * 4 * kLanes));
    }
    [[gnu::always_inline]] static void tall_pass(Keys& keys, Pass& pass, Beside& beside) {
        U32 x[16];
        ChaCha::rounds(x, keys, pass.lanes, beside);
        const auto start = [&](int i) __attribute__((always_inline)) {
            return ChaCha::start_word(keys, pass.lanes, i);
        };
        if constexpr (requires { V::apply_rounds(x, start, pass.from, pass.to); }) {
            V::apply_rounds(x, start, pass.from, pass.to);
        } else {
            for (int i = 0; i < 16; ++i) x[i] = V::add32(x[i], start(i));
            ChaCha::to_blocks(x);
            // All are loaded before the first is stored: measured a little faster than by turns.
            each_vector([&](int i, int q, std::uint32_t at) __attribute__((always_inline)) {
                U32& block = x[q * kLanes + i];
                block = V::xor32(V::load_bytes(pass.from[i] + at), block);
            });
            each_vector([&](int i, int q, std::uint32_t at) __attribute__((always_inline)) {
                V::store_bytes(pass.to[i] + at, x[q * kLanes + i]);
            });
        }
        finish_tall(keys, pass);
    }
    [[gnu::always_inline]] static void finish_tall(const Keys& keys, Pass& pass) {
        ChaCha::forget(keys, pass.lanes);
        for (int lane = pass.end; lane < kLanes; ++lane) wipe_secrets(pass.whole[lane], kBlockBytes);
        pass.begin = pass.end;
        finish(pass);
    }

    // The tags of the messages from `i` to `end`, at most kWide.
    [[gnu::noinline]] static void authenticate(Group& group, int i, int end) {
        if (end - i < V::kMinimumForLanes) {
            for (; i < end; ++i) authenticate_one(group, i, group.messages[i].to);
            return;
        }
        const int members = end - i;
        typename Poly::Messages messages;
        messages.words = &group.secret.poly_words[0][i];
        messages.stride = kLanes;
        for (int lane = 0; lane < kWide; ++lane) {
            const Message& message = group.messages[i + (lane < members ? lane : 0)];
            messages.data[lane] = message.to;
            messages.length[lane] = message.length;
        }
        std::uint64_t tags[2][kWide];
        typename Poly::Powers powers;
        Poly::mac(messages, powers, tags);
        wipe_secrets(&powers, sizeof powers);
        for (int lane = 0; lane < members; ++lane) {
            group.secret.tags[i + lane][0] = tags[0][lane];
            group.secret.tags[i + lane][1] = tags[1][lane];
        }
    }

    [[gnu::noinline]] static void authenticate_one(Group& group, int i, const std::byte* text) {
        const auto word = [&](int w) { return poly_word(group, i, w); };
        if (group.messages[i].length >= V::kAlongFromBytes) {
            typename Along::Key key = {{word(0), word(1)}, {word(2), word(3)}};
            typename Along::Powers powers;
            Along::mac(text, group.messages[i].length, key, powers, group.secret.tags[i]);
            wipe_secrets(&key, sizeof key);
            return wipe_secrets(&powers, sizeof powers);
        }
        Poly1305Scalar poly;
        poly.start(word(0), word(1));
        const std::byte* const end = text + group.messages[i].length;
        for (; end - text >= 16; text += 16) poly.block(text);
        if (end != text) poly.last_bytes(text, static_cast<std::size_t>(end - text));
        poly.block(0, group.messages[i].length);
        poly.finish(word(2), word(3), group.secret.tags[i][0], group.secret.tags[i][1]);
    }

    // In constant time. That the answer is no secret is the point of asking.
    [[gnu::always_inline]] static bool tag_is(const std::uint64_t (&tag)[2], const std::byte* claimed) {
        std::uint64_t other[2];
        __builtin_memcpy(other, claimed, kTagBytes);
        return declassified(((tag[0] ^ other[0]) | (tag[1] ^ other[1])) == 0);
    }
};

}  // namespace
}  // namespace vern::aead
