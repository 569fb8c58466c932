#include "control/api/budget.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace vern::api
