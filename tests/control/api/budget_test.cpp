#include "control/api/budget.h"

#include <gtest/gtest.h>

#include "control/api/handshake_budget.h"
#include "control/api/source.h"
#include "control/text.h"

namespace vern::api {
namespace {

using std::chrono::milliseconds;

constexpr Budget::Clock::time_point at(int ms) {
    return Budget::Clock::time_point(std::chrono::hours(1)) + milliseconds(ms);
}

TEST(Budget, ABurstWaitsForNothingAndTheRestInTurn) {
    Budget budget(10, 3);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(budget.take(at(0)), milliseconds(0)) << i;
    for (int i = 1; i <= 5; ++i) EXPECT_EQ(budget.take(at(0)), milliseconds(100) * i) << i;
}

TEST(Budget, WhatWasNotUsedIsNotSavedBeyondABurst) {
    Budget budget(10, 3);
    budget.take(at(0));
    for (int i = 0; i < 3; ++i) EXPECT_EQ(budget.take(at(100'000)), milliseconds(0)) << i;
    EXPECT_EQ(budget.take(at(100'000)), milliseconds(100));
}

TEST(Budget, WhoKeepsToTheRateNeverWaits) {
    Budget budget(10, 1);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(budget.take(at(100 * i)), milliseconds(0)) << i;
}

TEST(Budget, MayBeWithoutLimit) {
    Budget budget(0, 0);
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(budget.take(at(0)), milliseconds(0));
}

TEST(Budget, WhatIsRefusedIsNotBooked) {
    Budget budget(10, 2);
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(budget.take_if_free(at(0))) << i;
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(budget.take_if_free(at(99))) << i;
    EXPECT_TRUE(budget.take_if_free(at(100)));
    EXPECT_FALSE(budget.is_whole(at(299)));
    EXPECT_TRUE(budget.is_whole(at(300)));
}

Limits few_handshakes() {
    Limits limits;
    limits.tls_handshakes_a_second = 10;
    limits.tls_handshakes_at_once = 2;
    return limits;
}

TEST(HandshakeBudget, EachSourceHasItsOwn) {
    const Limits limits = few_handshakes();
    HandshakeBudget budget(limits);
    const std::string one = "192.0.2.1", other = "192.0.2.2";
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(budget.take(one, at(0))) << i;
    EXPECT_FALSE(budget.take(one, at(0)));
    EXPECT_TRUE(budget.take(other, at(0)));
    EXPECT_TRUE(budget.take(one, at(100)));
}

TEST(Source, IsAnAddressOrItsNetwork) {
    EXPECT_EQ(source_network(*parse_address("2001:db8::1")), source_network(*parse_address("2001:db8::2:3")));
    EXPECT_NE(source_network(*parse_address("2001:db8::1")),
              source_network(*parse_address("2001:db8:0:1::1")));
    EXPECT_EQ(source_network(*parse_address("192.0.2.1")), "192.0.2.1");
}

TEST(Source, IsTakenFromTheSocketsBytes) {
    const auto address = [](const char* text) { return address_of(boost::asio::ip::make_address(text)); };
    EXPECT_EQ(address("192.0.2.1"), parse_address("192.0.2.1"));
    EXPECT_EQ(address("::ffff:192.0.2.1"), parse_address("192.0.2.1"));
    EXPECT_EQ(address("2001:db8::1"), parse_address("2001:db8::1"));
    EXPECT_EQ(address("fe80::1%1"), parse_address("fe80::1"));  // its text is none of an address
}

TEST(HandshakeBudget, RemembersSoManySourcesAndForgetsThoseThatRest) {
    const Limits limits = few_handshakes();
    HandshakeBudget budget(limits);
    const auto source = [](std::size_t number) { return std::to_string(number); };
    for (std::size_t i = 0; i < HandshakeBudget::kSourcesMax; ++i) EXPECT_TRUE(budget.take(source(i), at(0)));
    EXPECT_FALSE(budget.take(source(HandshakeBudget::kSourcesMax), at(99)));
    EXPECT_TRUE(budget.take(source(0), at(99)));  // who is known already keeps his own
    // Those that rest are looked for from time to time, and not for each who comes.
    EXPECT_FALSE(budget.take(source(HandshakeBudget::kSourcesMax), at(198)));
    EXPECT_TRUE(budget.take(source(HandshakeBudget::kSourcesMax), at(199)));
}

}  // namespace
}  // namespace vern::api
