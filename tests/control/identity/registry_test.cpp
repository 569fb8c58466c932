#include "control/identity/registry.h"

#include <gtest/gtest.h>

namespace vern::identity {
namespace {

using std::chrono::seconds;
using trust::Identity;
using trust::Refusal;

constexpr trust::UnixSeconds kWall = 1'800'000'000;

policy::ClockPair clocks(std::int64_t boot_s, std::int64_t wall_s) {
    return {WallTime(seconds(wall_s)), Instant(seconds(boot_s))};
}

PublicKey peer(unsigned number) {
    PublicKey key;
    key.bytes[0] = static_cast<std::byte>(number & 0xff);
    key.bytes[1] = static_cast<std::byte>(number >> 8);
    key.bytes[31] = std::byte{1};
    return key;
}

// For a second `ends_s` after the boot of clocks(0, kWall).
Binding binding(unsigned of, const std::string& key, std::int64_t ends_s) {
    Binding one;
    one.peer = peer(of);
    one.identity.key = key;
    one.identity.principals = {"dba"};
    one.ends = one.identity.not_after = kWall + ends_s;
    one.deadline = policy::instant_of(WallTime(seconds(one.ends)), clocks(0, kWall));
    return one;
}

std::vector<std::string> due(Registry& registry, std::int64_t now_s) {
    std::vector<std::string> keys;
    for (const auto& one : registry.end_due(Instant(seconds(now_s))))
        keys.push_back(one.binding.identity.key);
    return keys;
}

TEST(IdentityRegistry, EndsInTheOrderOfTheirEnds) {
    Registry registry;
    EXPECT_FALSE(registry.next_end());
    ASSERT_TRUE(registry.bind(binding(1, "a", 30)));
    ASSERT_TRUE(registry.bind(binding(2, "b", 10)));
    ASSERT_TRUE(registry.bind(binding(1, "c", 20)));
    EXPECT_EQ(registry.next_end(), Instant(seconds(10)));
    EXPECT_EQ(registry.peers(), (policy::PeerSet{peer(1), peer(2)}));
    EXPECT_TRUE(due(registry, 9).empty());
    EXPECT_EQ(due(registry, 20), (std::vector<std::string>{"b", "c"}));
    EXPECT_EQ(registry.of(peer(1)).size(), 1u);
    EXPECT_TRUE(registry.of(peer(2)).empty());
    EXPECT_EQ(due(registry, 30), (std::vector<std::string>{"a"}));
    EXPECT_EQ(registry.size(), 0u);
    EXPECT_FALSE(registry.next_end());
}

TEST(IdentityRegistry, AKeyIsOfOnePeer) {
    Registry registry;
    ASSERT_TRUE(registry.bind(binding(1, "a", 30)));
    const auto second = registry.bind(binding(2, "a", 90));
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Refusal::duplicate);
    EXPECT_EQ(registry.of(peer(1)).size(), 1u);
    EXPECT_TRUE(registry.of(peer(2)).empty());
    Binding other_kind = binding(2, "a", 90);
    other_kind.identity.kind = Identity::Kind::x509;
    EXPECT_TRUE(registry.bind(other_kind));
    EXPECT_EQ(due(registry, 30).size(), 1u);
    EXPECT_TRUE(registry.bind(binding(2, "a", 90)));
}

TEST(IdentityRegistry, TheSamePeerRenews) {
    Registry registry;
    const auto first = registry.bind(binding(1, "a", 30));
    ASSERT_TRUE(first && first->changed);
    const std::uint64_t id = first->binding->id;
    const auto again = registry.bind(binding(1, "a", 60));
    ASSERT_TRUE(again);
    EXPECT_FALSE(again->changed);
    EXPECT_EQ(again->binding->id, id);
    EXPECT_EQ(registry.next_end(), Instant(seconds(60)));
    EXPECT_EQ(registry.size(), 1u);
    Binding other = binding(1, "a", 60);
    other.identity.principals = {"web"};
    EXPECT_TRUE(registry.bind(other)->changed);
}

TEST(IdentityRegistry, Limits) {
    Registry registry;
    for (unsigned i = 0; i < kBindingsPerPeerMax; ++i)
        ASSERT_TRUE(registry.bind(binding(1, std::to_string(i), 30)));
    EXPECT_EQ(registry.bind(binding(1, "more", 30)).error().code, Refusal::limit);
    EXPECT_TRUE(registry.bind(binding(1, "0", 60)));  // renewals are none
    for (unsigned i = kBindingsPerPeerMax; i < kBindingsMax; ++i)
        ASSERT_TRUE(registry.bind(binding(2 + i / 16, std::to_string(i), 30)));
    EXPECT_EQ(registry.bind(binding(5000, "more", 30)).error().code, Refusal::limit);
    EXPECT_EQ(due(registry, 30).size(), kBindingsMax - 1);
}

TEST(IdentityRegistry, ClocksThatAreSetBringEndsNearerOnly) {
    Registry registry;
    ASSERT_TRUE(registry.bind(binding(1, "a", 100)));
    registry.clock_was_set(clocks(10, kWall - 1000));
    EXPECT_EQ(registry.next_end(), Instant(seconds(100)));
    registry.clock_was_set(clocks(10, kWall + 70));
    EXPECT_EQ(registry.next_end(), Instant(seconds(40)));
    registry.clock_was_set(clocks(10, kWall));
    EXPECT_EQ(registry.next_end(), Instant(seconds(40)));
    EXPECT_EQ(due(registry, 40).size(), 1u);
}

// Such an end is beyond what a clock of nanoseconds can say, and must not come round to the past.
TEST(IdentityRegistry, WhatNeverEndsOutlivesClocksThatAreSet) {
    Registry registry;
    for (const trust::UnixSeconds ends : {trust::UnixSeconds{253'402'300'800}, kNever}) {
        Binding forever = binding(1, std::to_string(ends), 0);
        forever.ends = forever.identity.not_after = ends;
        forever.deadline = deadline_of(ends, clocks(0, kWall));
        ASSERT_TRUE(registry.bind(std::move(forever)));
    }
    registry.clock_was_set(clocks(10, kWall + 11));
    EXPECT_TRUE(due(registry, 1'000'000).empty());
    EXPECT_EQ(registry.size(), 2u);
}

TEST(IdentityRegistry, EndsByNumberAndByWhatIsSaid) {
    Registry registry;
    const auto a = registry.bind(binding(1, "a", 100));
    const std::uint64_t id = a->binding->id;
    ASSERT_TRUE(registry.bind(binding(1, "b", 100)));
    const auto gone = registry.end(id, "removed");
    ASSERT_TRUE(gone);
    EXPECT_EQ(gone->binding.identity.key, "a");
    EXPECT_EQ(gone->reason, "removed");
    EXPECT_FALSE(registry.end(id, "removed"));
    EXPECT_EQ(registry.find(id), nullptr);
    ASSERT_TRUE(registry.bind(binding(2, "c", 100)));
    const auto over = registry.prove_again([](Binding& one) -> std::optional<std::string> {
        if (one.identity.key == "b") return "revoked";
        one.identity.principals = {"less"};
        one.deadline = Instant(seconds(7));
        return std::nullopt;
    });
    ASSERT_EQ(over.size(), 1u);
    EXPECT_EQ(over[0].binding.identity.key + over[0].reason, "brevoked");
    EXPECT_EQ(registry.holders().size(), 1u);
    EXPECT_EQ(registry.next_end(), Instant(seconds(7)));
    EXPECT_EQ(due(registry, 7), (std::vector<std::string>{"c"}));
}

}  // namespace
}  // namespace vern::identity
