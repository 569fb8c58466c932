// When what was bound and what has ended is in force and on the disk, and what of it is tried again.
#include "identities_fixture.h"

namespace vern::identity {
namespace {

using namespace vern::identity::test;
using std::chrono::milliseconds;

class IdentitiesSettleTest : public IdentitiesTest {
  protected:
    // Another person's proof, of the same peer.
    Verdict<Binding> present_other() {
        const std::string before = std::exchange(user_, workshop().key("ed25519", "-identities-other"));
        certify();
        auto bound = present(statement(nonce()));
        user_ = before;
        return bound;
    }
    Verdict<Binding> hand_in() {
        const std::string text = encode_statement(statement());
        return identities->add_ssh(text, signed_text(text), "uid 0");
    }
    // What waits is done by then.
    void tick_after(milliseconds time) {
        peers.clock.boot += time;
        identities->tick();
    }
};

TEST_F(IdentitiesSettleTest, AStalledDiskDelaysNobodyAfterIt) {
    Duration stall{};
    open([&](std::string_view step) {
        if (step == "fsync") peers.clock.boot += stall;
        return 0;
    });
    trust_ca();
    certify();
    stall = seconds(20);
    ASSERT_EQ(code_of(hand_in()), "bound");
    stall = {};
    ASSERT_EQ(code_of(present_other()), "bound");
    EXPECT_TRUE(identities->pending());
    tick_after(milliseconds(500));
    EXPECT_FALSE(identities->pending());
}

// A machine that slept while rules were compiled.
TEST_F(IdentitiesSettleTest, AnEndIsInForceWithinASecondHoweverLongCompilingTook) {
    trust_ca();
    certify();
    slow = seconds(600);
    const auto bound = present(statement(nonce()));
    ASSERT_EQ(code_of(bound), "bound");
    slow = {};
    const int before = changes;
    ASSERT_TRUE(identities->remove(bound->id, "uid 0"));
    ASSERT_TRUE(identities->deadline());
    EXPECT_LE(*identities->deadline(), peers.clock.boot + milliseconds(500));
    tick_after(milliseconds(500));
    EXPECT_EQ(changes, before + 1);
    EXPECT_FALSE(identities->pending());
}

TEST_F(IdentitiesSettleTest, RulesThatCouldNotBeCompiledAreTriedAgain) {
    trust_ca();
    certify();
    const auto bound = present(statement(nonce()));
    ASSERT_EQ(code_of(bound), "bound");
    no_memory = true;
    const int before = changes;
    ASSERT_TRUE(identities->remove(bound->id, "uid 0"));
    EXPECT_EQ(changes, before + 1);
    // Not at once, which would be all the time, but soon.
    identities->tick();
    EXPECT_EQ(changes, before + 1);
    EXPECT_EQ(identities->deadline(), peers.clock.boot + milliseconds(500));
    no_memory = false;
    rules_fit = false;
    tick_after(milliseconds(500));
    EXPECT_EQ(changes, before + 2);
    EXPECT_TRUE(identities->deadline());
    rules_fit = true;
    tick_after(milliseconds(500));
    EXPECT_EQ(changes, before + 3);
    EXPECT_FALSE(identities->pending());
    tick_after(milliseconds(500));
    EXPECT_EQ(changes, before + 3);
}

// A removal that cannot be written has happened, and is written as soon as that is possible: no kill -9 after
// that brings back who was removed.
TEST_F(IdentitiesSettleTest, WhatCannotBeWrittenIsTriedAgain) {
    bool full = false;
    open([&](std::string_view step) { return full && step == "write" ? ENOSPC : 0; });
    trust_ca();
    certify();
    const auto bound = hand_in();
    ASSERT_EQ(code_of(bound), "bound");
    EXPECT_TRUE(identities->on_disk());
    full = true;
    ASSERT_TRUE(identities->remove(bound->id, "uid 0"));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_FALSE(identities->on_disk());
    EXPECT_FALSE(identities->pending());  // nobody waits for a disk
    EXPECT_EQ(identities->deadline(), peers.clock.boot + seconds(5));
    tick_at_end(seconds(5));
    EXPECT_FALSE(identities->on_disk());
    full = false;
    tick_at_end(seconds(5));
    EXPECT_TRUE(identities->on_disk());
    EXPECT_FALSE(identities->deadline());
    full = true;
    open();
    EXPECT_EQ(identities->registry().size(), 0u);
}

// Whose change is settled is told so then, whoever else has come since.
TEST_F(IdentitiesSettleTest, EachBatchIsReleasedWhenItIsSettled) {
    slow = milliseconds(100);
    int released = 0;
    identities->on_settled([&] {
        EXPECT_FALSE(identities->pending());
        ++released;
    });
    trust_ca();
    certify();
    released = 1;
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    EXPECT_TRUE(identities->pending());
    for (int batch = 2; batch < 6; ++batch) {
        EXPECT_EQ(released, batch - 1);
        tick_after(milliseconds(300));
        EXPECT_EQ(released, batch);
        // It came while rules were compiled, and makes this turn end with something pending.
        certify({"-z", std::to_string(batch)});
        ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
        EXPECT_TRUE(identities->pending());
    }
}

TEST_F(IdentitiesSettleTest, WhoIsBoundIsToldOfWhenHeIs) {
    slow = milliseconds(100);
    trust_ca();
    certify();
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    EXPECT_EQ(told.size(), 1u);
    rules_fit = false;
    tick_after(milliseconds(500));
    EXPECT_EQ(told.size(), 1u);
    rules_fit = true;
    tick_after(milliseconds(500));
    ASSERT_EQ(told.size(), 2u);
    EXPECT_EQ(told.back(), "identity.bound alice@laptop");
    // Who ended before is only ever told of as that.
    const auto other = present_other();
    ASSERT_EQ(code_of(other), "bound");
    ASSERT_TRUE(identities->remove(other->id, "uid 0"));
    tick_after(milliseconds(500));
    ASSERT_EQ(told.size(), 3u);
    EXPECT_EQ(told.back(), "identity.ended alice@laptop removed by uid 0");
}

}  // namespace
}  // namespace vern::identity
