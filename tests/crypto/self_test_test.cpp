#include "crypto/self_test.h"

#include <gtest/gtest.h>

namespace vern {
namespace {

TEST(SelfTest, EveryImplementationPasses) {
    for (const auto* implementation : aead::implementations()) {
        if (!implementation->supported()) continue;
        const auto result = self_test(*implementation);
        EXPECT_TRUE(result) << implementation->name << ": " << result.error().message;
    }
}

// One that computes wrongly in one way each.
const aead::Implementation& right() { return *aead::find("portable"); }
bool always() noexcept { return true; }

void expect_refused(const aead::Implementation& broken) {
    const auto result = self_test(broken);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message.find("\"broken\""), std::string::npos) << result.error().message;
}

TEST(SelfTest, OneByteWrongInOneMessageIsFound) {
    expect_refused({"broken", "", always,
                    [](std::span<const aead::SealJob> train) noexcept {
                        right().seal(train);
                        train.back().sealed[0] ^= std::byte{1};
                    },
                    [](std::span<aead::OpenJob> train) noexcept { right().open(train); }});
}

TEST(SelfTest, TagsThatAreNotLookedAtAreFound) {
    expect_refused({"broken", "", always,
                    [](std::span<const aead::SealJob> train) noexcept { right().seal(train); },
                    [](std::span<aead::OpenJob> train) noexcept {
                        right().open(train);
                        for (auto& job : train) job.authentic = true;
                    }});
}

TEST(SelfTest, AnOpeningThatLeavesTheCiphertextIsFound) {
    expect_refused({"broken", "", always,
                    [](std::span<const aead::SealJob> train) noexcept { right().seal(train); },
                    [](std::span<aead::OpenJob> train) noexcept {
                        right().open(train.first(train.size() - 1));
                        train.back().authentic = true;
                    }});
}

}  // namespace
}  // namespace vern
