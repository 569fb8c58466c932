#include "crypto/secret_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "crypto/secret.h"

namespace vern {
namespace {

// The VmFlags line of /proc/self/smaps for the mapping that `address` is in; empty if it is in none.
std::string flags_at(const void* address) {
    std::ifstream maps("/proc/self/smaps");
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    bool inside = false;
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t begin = 0, end = 0;
        char dash = 0;
        std::istringstream words(line);
        if (words >> std::hex >> begin >> dash >> end && dash == '-')
            inside = begin <= wanted && wanted < end;
        if (inside && line.starts_with("VmFlags:")) return line + " ";
    }
    return {};
}

bool all_zero(const void* memory, std::size_t length) {
    return sodium_is_zero(static_cast<const unsigned char*>(memory), length) != 0;
}

TEST(SecretPool, GivesZeroedAlignedDistinctSlotsUpToItsLimit) {
    constexpr std::size_t kLimit = 3000;
    SecretPool pool(100, kLimit);
    std::set<std::byte*> slots;
    for (std::size_t i = 0; i < kLimit; ++i) {
        auto* slot = static_cast<std::byte*>(pool.take());
        ASSERT_NE(slot, nullptr);
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(slot) % 64, 0u);
        ASSERT_TRUE(all_zero(slot, 128));
        std::fill_n(slot, 128, std::byte{0xee});
        const auto [at, fresh] = slots.insert(slot);
        ASSERT_TRUE(fresh);
        if (at != slots.begin()) {
            ASSERT_GE(slot - *std::prev(at), 128);
        }
        if (std::next(at) != slots.end()) {
            ASSERT_GE(*std::next(at) - slot, 128);
        }
    }
    EXPECT_EQ(pool.in_use(), kLimit);
    EXPECT_EQ(pool.take(), nullptr);
    pool.give_back(*slots.begin());
    EXPECT_EQ(pool.in_use(), kLimit - 1);
    EXPECT_EQ(pool.take(), *slots.begin());
    for (std::byte* slot : slots) pool.give_back(slot);
    EXPECT_EQ(pool.in_use(), 0u);
}

TEST(SecretPool, WhatIsReservedIsThere) {
    constexpr std::size_t kLimit = 5000;
    SecretPool pool(1024, kLimit);
    EXPECT_FALSE(pool.reserve(kLimit + 1));
    EXPECT_TRUE(pool.reserve(0));
    ASSERT_TRUE(pool.reserve(kLimit));
    EXPECT_EQ(pool.in_use(), 0u);
    std::vector<void*> slots;
    for (std::size_t i = 0; i < kLimit; ++i) slots.push_back(pool.take());
    EXPECT_EQ(std::count(slots.begin(), slots.end(), nullptr), 0);
    EXPECT_FALSE(pool.reserve(1));
    pool.give_back(slots.back());
    EXPECT_TRUE(pool.reserve(1));
    slots.pop_back();
    for (void* slot : slots) pool.give_back(slot);
}

TEST(SecretPool, NothingToGiveWithALimitOfZero) {
    SecretPool pool(64, 0);
    EXPECT_EQ(pool.take(), nullptr);
}

TEST(SecretPool, WipesWhatIsGivenBack) {
    SecretPool pool(256, 4);
    auto* slot = static_cast<std::byte*>(pool.take());
    std::fill_n(slot, 256, std::byte{0x5a});
    pool.give_back(slot);
    // The first word may be the pool's own link.
    EXPECT_TRUE(all_zero(slot + sizeof(void*), 256 - sizeof(void*)));
    EXPECT_EQ(pool.take(), slot);
    EXPECT_TRUE(all_zero(slot, 256));
    pool.give_back(slot);
}

TEST(SecretPool, MakesAndDestroysObjects) {
    struct Session {
        explicit Session(int number_, bool* gone_) : number(number_), gone(gone_) {}
        ~Session() { *gone = true; }
        int number;
        bool* gone;
    };
    SecretPool pool(sizeof(Session), 1);
    bool gone = false;
    auto* session = pool.make<Session>(7, &gone);
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(session->number, 7);
    EXPECT_EQ(pool.make<Session>(8, &gone), nullptr);
    pool.destroy(session);
    EXPECT_TRUE(gone);
    EXPECT_EQ(pool.in_use(), 0u);
    pool.destroy(static_cast<Session*>(nullptr));
}

TEST(SecretPool, SlotsLargerThanAChunk) {
    SecretPool pool(100'000, 2);
    void* a = pool.take();
    void* b = pool.take();
    ASSERT_TRUE(a && b);
    EXPECT_TRUE(all_zero(a, 100'000));
    EXPECT_EQ(pool.take(), nullptr);
    pool.give_back(a);
    pool.give_back(b);
}

TEST(SecretPool, IsLeftOutOfCoreDumpsAndWipedInAFork) {
    SecretPool pool(64, 5000);
    std::set<void*> slots;
    for (int i = 0; i < 5000; ++i) slots.insert(pool.take());
    for (void* slot : {*slots.begin(), *slots.rbegin()}) {
        const std::string flags = flags_at(slot);
        EXPECT_NE(flags.find(" dd "), std::string::npos) << flags;
        EXPECT_NE(flags.find(" wf "), std::string::npos) << flags;
    }
    EXPECT_EQ(flags_at(&pool).find(" dd "), std::string::npos);

    auto* secret = static_cast<std::byte*>(*slots.begin());
    std::fill_n(secret, 64, std::byte{0x5a});
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(all_zero(secret, 64) ? 0 : 1);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT_FALSE(all_zero(secret, 64));
    for (void* slot : slots) pool.give_back(slot);
}

TEST(SecretPoolDeathTest, GuardPagesEndTheChunks) {
    ::testing::FLAGS_gtest_death_test_style = "threadsafe";
    SecretPool pool(4096, 16);  // one chunk of exactly 64 KiB
    std::set<std::byte*> slots;
    while (void* slot = pool.take()) slots.insert(static_cast<std::byte*>(slot));
    ASSERT_EQ(slots.size(), 16u);
    EXPECT_DEATH(*(*slots.rbegin() + 4096) = std::byte{1}, "");
    EXPECT_DEATH(*(*slots.begin() - 1) = std::byte{1}, "");
    for (std::byte* slot : slots) pool.give_back(slot);
}

}  // namespace
}  // namespace vern
