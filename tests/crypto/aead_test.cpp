#include "crypto/aead.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "aead_emulated.h"
#include "crypto/aead_implementations.h"
#include "guarded.h"
#include "vectors.h"

namespace vern::aead {
namespace {

using test::Bytes;

constexpr std::uint32_t kLongest = 2100;
constexpr std::byte kCanary{0xa5};

std::vector<const Implementation*> usable() {
    std::vector<const Implementation*> result;
    for (const Implementation* one : implementations())
        if (one->supported()) result.push_back(one);
    return result;
}

TEST(Aead, ImplementationsHaveNamesAndAnOrder) {
    ASSERT_GE(implementations().size(), 2u);
    std::vector<std::string_view> names;
    for (const Implementation* one : implementations()) {
        EXPECT_FALSE(one->name.empty() || one->description.empty());
        EXPECT_EQ(std::count(names.begin(), names.end(), one->name), 0);
        names.push_back(one->name);
        EXPECT_EQ(find(one->name), one->supported() ? one : nullptr);
    }
    EXPECT_EQ(find("no such thing"), nullptr);
    EXPECT_EQ(find(""), nullptr);
    EXPECT_EQ(&best(), usable().front());
    EXPECT_NE(find("openssl"), nullptr);
    EXPECT_NE(find("libsodium"), nullptr);
}

// And the wide kernels, whatever this host can run.
std::vector<const Implementation*> testable() {
    auto result = usable();
    result.insert(result.end(), {&kEmulatedAvx512IfmaX2, &kEmulatedAvx512Ifma, &kEmulatedAvx512,
                                 &kEmulatedAvx2, &kEmulatedNeon});
    return result;
}

class AeadEach : public ::testing::TestWithParam<const Implementation*> {
  protected:
    const Implementation& implementation() const { return *GetParam(); }
};

// Every byte of a message of this layer is fixed by the reference: libsodium's one-shot function.
Bytes reference(const std::byte* key, std::uint64_t counter, std::span<const std::byte> plain) {
    Bytes sealed(plain.size() + kTagBytes);
    chacha20poly1305_seal(sealed, KeyBytes(key, 32), nonce_of(counter), {}, plain);
    return sealed;
}

TEST(Aead, NonceIsZeroThenTheLittleEndianCounter) {
    EXPECT_EQ(test::hex(nonce_of(0x0102030405060708)), "000000000807060504030201");
}

TEST_P(AeadEach, KnownAnswerFromGo) {
    const auto file = test::vectors("noise_ikpsk2.json");
    for (const auto& handshake : file["handshakes"]) {
        const Bytes key = test::from_hex(handshake["initiator_sending"]);
        Bytes sealed = test::from_hex(handshake["data_counter_7"]);
        const auto length = static_cast<std::uint32_t>(sealed.size() - kTagBytes);
        OpenJob job{key.data(), 7, sealed.data(), length, false};
        implementation().open({&job, 1});
        ASSERT_TRUE(job.authentic);
        EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(sealed.data()), length),
                  "good news travels far");
        const SealJob again{key.data(), 7, sealed.data(), sealed.data(), length};
        implementation().seal({&again, 1});
        EXPECT_EQ(test::hex(sealed), handshake["data_counter_7"].get<std::string>());
    }
}

// The trains' nonce has four zero bytes and no associated data. Ten Wycheproof vectors have such a nonce; all
// have associated data, which only goes into the tag: so their ciphertext is checked here, and the tags by
// the rest of the suite in handshake_aead_test.cpp.
TEST_P(AeadEach, WycheproofCiphertexts) {
    int count = 0;
    const auto file = test::vectors("wycheproof_chacha20_poly1305.json");
    for (const auto& group : file["testGroups"])
        for (const auto& test : group["tests"]) {
            const Bytes nonce = test::from_hex(test["iv"]);
            if (nonce.size() != 12 ||
                !std::all_of(nonce.begin(), nonce.begin() + 4, [](std::byte b) { return b == std::byte{0}; }))
                continue;
            std::uint64_t counter = 0;
            for (std::size_t i = 12; i-- > 4;)
                counter = counter << 8 | std::to_integer<std::uint64_t>(nonce[i]);
            const Bytes key = test::from_hex(test["key"]), plain = test::from_hex(test["msg"]),
                        expected = test::from_hex(test["ct"]);
            ASSERT_FALSE(plain.empty());
            Bytes sealed(plain.size() + kTagBytes);
            const SealJob job{key.data(), counter, plain.data(), sealed.data(),
                              static_cast<std::uint32_t>(plain.size())};
            implementation().seal({&job, 1});
            EXPECT_TRUE(std::equal(expected.begin(), expected.end(), sealed.begin())) << test["tcId"];
            EXPECT_EQ(sealed, reference(key.data(), counter, plain)) << test["tcId"];
            ++count;
        }
    EXPECT_EQ(count, 10);
}

// Where the plaintext is when it is sealed. Parted: its first blocks where it is sealed, the others
// elsewhere.
enum class Place { apart, in_place, parted };

// A train over one arena: messages at random offsets, canaries between them. Of one key, or of three.
struct Train {
    struct Message {
        std::size_t offset;
        std::uint32_t length;
        std::uint32_t front;  // if parted
        std::size_t key;
        std::uint64_t counter;
        Bytes plain;
    };
    std::vector<std::array<std::byte, 32>> keys;
    std::vector<Message> messages;
    Bytes arena;

    Train(test::Noise& noise, std::span<const std::uint32_t> lengths) {
        const std::size_t some_keys = noise.below(2) == 0 ? 1 : 3;
        while (keys.size() < some_keys) keys.push_back(noise.array<32>());
        std::size_t offset = 0;
        for (std::uint32_t length : lengths) {
            offset += 1 + noise.below(67);
            const auto counter =
                noise.below(4) == 0 ? ~std::uint64_t{0} - noise.below(99) : noise.below(1 << 20);
            const auto front = static_cast<std::uint32_t>(noise.below(length / 64 + 1) * 64);
            messages.push_back({offset, length, front, noise.below(keys.size()), counter, Bytes(length)});
            noise.fill(messages.back().plain);
            offset += length + kTagBytes;
        }
        arena.assign(offset + 64, kCanary);
    }
    std::vector<SealJob> seal_jobs(Place place) {
        std::fill(arena.begin(), arena.end(), kCanary);
        std::vector<SealJob> jobs;
        for (const Message& message : messages) {
            std::byte* sealed = arena.data() + message.offset;
            const std::uint32_t there = place == Place::apart    ? 0
                                        : place == Place::parted ? message.front
                                                                 : message.length;
            std::copy_n(message.plain.begin(), there, sealed);
            jobs.push_back({keys[message.key].data(), message.counter,
                            place == Place::in_place ? sealed : message.plain.data() + there, sealed,
                            message.length, place == Place::parted ? there : 0});
        }
        return jobs;
    }
    std::vector<OpenJob> open_jobs() {
        std::vector<OpenJob> jobs;
        for (const Message& message : messages)
            jobs.push_back({keys[message.key].data(), message.counter, arena.data() + message.offset,
                            message.length, false});
        return jobs;
    }
    Bytes expected_arena() const {
        Bytes expected(arena.size(), kCanary);
        for (const Message& message : messages) {
            const Bytes sealed = reference(keys[message.key].data(), message.counter, message.plain);
            std::copy(sealed.begin(), sealed.end(),
                      expected.begin() + static_cast<std::ptrdiff_t>(message.offset));
        }
        return expected;
    }
};

// Every length from 0 to 2100, shuffled and cut into trains of 0 to 40; each train handed to `check`.
template <typename Check>
void for_all_trains(std::uint64_t seed, Check check) {
    test::Noise noise(seed);
    std::vector<std::uint32_t> lengths(kLongest + 1);
    std::iota(lengths.begin(), lengths.end(), 0u);
    for (std::size_t i = lengths.size(); i > 1; --i) std::swap(lengths[i - 1], lengths[noise.below(i)]);
    std::size_t done = 0;
    while (done < lengths.size()) {
        const std::size_t count = std::min<std::size_t>(noise.below(41), lengths.size() - done);
        Train train(noise, std::span(lengths).subspan(done, count));
        check(train, noise);
        if (::testing::Test::HasFatalFailure()) return;
        done += count;
    }
}

TEST_P(AeadEach, SealsAsTheReferenceDoesAtAllLengths) {
    for_all_trains(11, [&](Train& train, test::Noise&) {
        for (Place place : {Place::apart, Place::in_place, Place::parted}) {
            implementation().seal(train.seal_jobs(place));
            ASSERT_TRUE(train.arena == train.expected_arena()) << static_cast<int>(place);
        }
    });
}

TEST_P(AeadEach, OpensWhatTheOthersSealedAtAllLengths) {
    for_all_trains(12, [&](Train& train, test::Noise&) {
        for (const Implementation* other : usable()) {
            other->seal(train.seal_jobs(Place::apart));
            auto jobs = train.open_jobs();
            implementation().open(jobs);
            for (std::size_t i = 0; i < jobs.size(); ++i) {
                ASSERT_TRUE(jobs[i].authentic);
                ASSERT_TRUE(std::equal(train.messages[i].plain.begin(), train.messages[i].plain.end(),
                                       jobs[i].sealed));
            }
        }
    });
}

TEST_P(AeadEach, OneBadMessageIsWipedAndTheOthersPass) {
    for_all_trains(13, [&](Train& train, test::Noise& noise) {
        if (train.messages.empty()) return;
        train.arena = train.expected_arena();
        const std::size_t bad = noise.below(train.messages.size());
        const Train::Message& victim = train.messages[bad];
        const std::size_t at = victim.offset + noise.below(victim.length + kTagBytes);
        train.arena[at] ^= static_cast<std::byte>(1u << noise.below(8));
        auto jobs = train.open_jobs();
        for (OpenJob& job : jobs) job.authentic = noise.below(2) != 0;
        implementation().open(jobs);
        for (std::size_t i = 0; i < jobs.size(); ++i) {
            ASSERT_EQ(jobs[i].authentic, i != bad);
            const Bytes expected = i == bad ? Bytes(jobs[i].length) : train.messages[i].plain;
            ASSERT_TRUE(std::equal(expected.begin(), expected.end(), jobs[i].sealed));
        }
        // Between and behind the messages nothing changed.
        Bytes outside = train.arena, before = train.expected_arena();
        for (const Train::Message& message : train.messages)
            for (Bytes* bytes : {&outside, &before})
                std::fill_n(bytes->begin() + static_cast<std::ptrdiff_t>(message.offset),
                            message.length + kTagBytes, kCanary);
        ASSERT_TRUE(outside == before);
    });
}

TEST_P(AeadEach, EveryBitOfAMessageCounts) {
    test::Noise noise(14);
    const auto key = noise.array<32>();
    for (std::size_t length : {0u, 1u, 16u, 63u, 64u, 80u}) {
        Bytes plain(length);
        noise.fill(plain);
        const Bytes sealed = reference(key.data(), 5, plain);
        for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
            Bytes copy = sealed;
            copy[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
            OpenJob job{key.data(), 5, copy.data(), static_cast<std::uint32_t>(length), true};
            implementation().open({&job, 1});
            ASSERT_FALSE(job.authentic) << bit;
            ASSERT_TRUE(std::all_of(copy.begin(), copy.begin() + static_cast<std::ptrdiff_t>(length),
                                    [](std::byte b) { return b == std::byte{0}; }));
        }
    }
}

TEST_P(AeadEach, WrongCounterOrKeyIsRefused) {
    test::Noise noise(15);
    const auto key = noise.array<32>();
    auto other_key = key;
    other_key[31] ^= std::byte{1};
    Bytes plain(100);
    for (const auto& [used, counter] : {std::pair{&key, 6ull},
                                        {&key, 5ull + (1ull << 32)},
                                        {&key, 5ull + (1ull << 63)},
                                        {&other_key, 5ull}}) {
        Bytes sealed = reference(key.data(), 5, plain);
        OpenJob job{used->data(), counter, sealed.data(), 100, true};
        implementation().open({&job, 1});
        EXPECT_FALSE(job.authentic) << counter;
    }
}

// A key buffer that is filled anew between two calls must be read anew, though its address is the same.
TEST_P(AeadEach, KeysAreReadAtEveryCall) {
    test::Noise noise(16);
    auto key = noise.array<32>();
    const Bytes plain(50);
    for (int i = 0; i < 3; ++i) {
        noise.fill(key);
        Bytes sealed(66);
        const SealJob seal{key.data(), 1, plain.data(), sealed.data(), 50};
        implementation().seal({&seal, 1});
        ASSERT_EQ(sealed, reference(key.data(), 1, plain));
        OpenJob open{key.data(), 1, sealed.data(), 50, false};
        implementation().open({&open, 1});
        ASSERT_TRUE(open.authentic);
    }
}

TEST_P(AeadEach, NeverTouchesWhatIsOutside) {
    test::Noise noise(17);
    const test::Guarded sealed_pages(kLongest + kTagBytes), plain_pages(kLongest), key_pages(32);
    noise.fill(key_pages.all());
    for (std::uint32_t length = 0; length <= kLongest; ++length)
        for (bool rear : {false, true}) {
            const auto place = [&](const test::Guarded& pages, std::size_t bytes) {
                return rear ? pages.at_rear(bytes) : pages.at_front(bytes);
            };
            const auto plain = place(plain_pages, length), sealed = place(sealed_pages, length + kTagBytes);
            const auto key = place(key_pages, 32);
            noise.fill(plain.first(std::min<std::size_t>(length, 8)));
            const SealJob seal{key.data(), length, plain.data(), sealed.data(), length};
            implementation().seal({&seal, 1});
            OpenJob open{key.data(), length, sealed.data(), length, false};
            implementation().open({&open, 1});
            ASSERT_TRUE(open.authentic) << length;
            ASSERT_TRUE(std::equal(plain.begin(), plain.end(), sealed.begin())) << length;
            if (length < 64) continue;
            // Its plaintext is where it is sealed now, of which the rear is not to be read.
            const auto rest = place(plain_pages, length - 64);
            const SealJob parted{key.data(), length, rest.data(), sealed.data(), length, 64};
            implementation().seal({&parted, 1});
            implementation().open({&open, 1});
            ASSERT_TRUE(open.authentic) << length;
            ASSERT_TRUE(std::equal(rest.begin(), rest.end(), sealed.begin() + 64)) << length;
        }
}

// A message of a train, whichever it is, between guard pages.
TEST_P(AeadEach, TrainsNeverTouchWhatIsOutside) {
    constexpr std::size_t kMessages = 9, kSlot = kLongest + kTagBytes;
    test::Noise noise(19);
    const test::Guarded sealed_pages(kSlot), plain_pages(kLongest);
    const auto key = noise.array<32>();
    Bytes sealed_slots(kMessages * kSlot), plain_slots(kMessages * kSlot);
    noise.fill(plain_slots);
    for (std::uint32_t length = 0; length <= kLongest;
         length += static_cast<std::uint32_t>(1 + noise.below(19)))
        for (bool rear : {false, true}) {
            const auto place = [&](const test::Guarded& pages, std::size_t bytes) {
                return rear ? pages.at_rear(bytes) : pages.at_front(bytes);
            };
            const auto plain = place(plain_pages, length), sealed = place(sealed_pages, length + kTagBytes);
            noise.fill(plain);
            std::vector<SealJob> seals;
            std::vector<OpenJob> opens;
            const std::size_t guarded = noise.below(kMessages);
            for (std::size_t i = 0; i < kMessages; ++i) {
                std::byte* const to = i == guarded ? sealed.data() : &sealed_slots[i * kSlot];
                seals.push_back(
                    {key.data(), i, i == guarded ? plain.data() : &plain_slots[i * kSlot], to, length});
                opens.push_back({key.data(), i, to, length, false});
            }
            implementation().seal(seals);
            implementation().open(opens);
            for (std::size_t i = 0; i < kMessages; ++i) {
                ASSERT_TRUE(opens[i].authentic) << length;
                ASSERT_TRUE(std::equal(seals[i].plain, seals[i].plain + length, opens[i].sealed)) << length;
            }
        }
}

TEST_P(AeadEach, LargestMessageAndEmptyTrain) {
    implementation().seal({});
    implementation().open({});
    test::Noise noise(18);
    const auto key = noise.array<32>();
    Bytes plain(65535);
    noise.fill(plain);
    Bytes sealed(plain.size() + kTagBytes);
    const SealJob seal{key.data(), 9, plain.data(), sealed.data(), 65535};
    implementation().seal({&seal, 1});
    ASSERT_EQ(sealed, reference(key.data(), 9, plain));
    OpenJob open{key.data(), 9, sealed.data(), 65535, false};
    implementation().open({&open, 1});
    EXPECT_TRUE(open.authentic);
}

TEST_P(AeadEach, ThreadsDoNotDisturbEachOther) {
    std::array<bool, 4> good{};
    {
        std::array<std::jthread, 4> threads;
        for (std::size_t t = 0; t < threads.size(); ++t)
            threads[t] = std::jthread([this, t, &good] {
                test::Noise noise(100 + t);
                const auto key = noise.array<32>();
                bool all = true;
                for (std::uint64_t i = 0; i < 500; ++i) {
                    Bytes plain(noise.below(300)), sealed(plain.size() + kTagBytes);
                    noise.fill(plain);
                    const auto length = static_cast<std::uint32_t>(plain.size());
                    const SealJob seal{key.data(), i, plain.data(), sealed.data(), length};
                    implementation().seal({&seal, 1});
                    all = all && sealed == reference(key.data(), i, plain);
                    OpenJob open{key.data(), i, sealed.data(), length, false};
                    implementation().open({&open, 1});
                    all = all && open.authentic;
                }
                good[t] = all;
            });
    }
    EXPECT_EQ(std::count(good.begin(), good.end(), true), 4);
}

INSTANTIATE_TEST_SUITE_P(All, AeadEach, ::testing::ValuesIn(testable()),
                         [](const auto& one) { return std::string(one.param->name); });

}  // namespace
}  // namespace vern::aead
