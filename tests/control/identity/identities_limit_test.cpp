// Until when the data plane trusts the rules about a peer: a moment longer than they ought to take to say
// that one of its identities is over.
#include "identities_fixture.h"

namespace vern::identity {
namespace {

using namespace vern::identity::test;
using std::chrono::milliseconds;

constexpr milliseconds kLate{250};

class IdentitiesLimitTest : public IdentitiesTest {
  protected:
    void SetUp() override {
        IdentitiesTest::SetUp();
        if (IsSkipped()) return;
        trust_ca();
        certify();
    }
    Verdict<Binding> bound_for(seconds time) {
        auto bound = present(statement(nonce(), kNow + time.count()));
        EXPECT_EQ(code_of(bound), "bound");
        return bound;
    }
    Instant in(Duration time) const { return start_ + time; }
    Instant until() { return peers.until.at(kLaptop); }

  private:
    const Instant start_ = peers.clock.boot;
};

TEST_F(IdentitiesLimitTest, IsTheEndOfWhatIsBoundAndMovesWithIt) {
    bound_for(seconds(100));
    EXPECT_EQ(until(), in(seconds(100) + kLate));
    EXPECT_FALSE(peers.until.contains(kOther));
    bound_for(seconds(3000));  // renewed
    EXPECT_EQ(until(), in(seconds(3000) + kLate));
    identities->set_longest(seconds(50));
    EXPECT_EQ(until(), in(seconds(50) + kLate));
    peers.clock.wall += seconds(30);
    identities->clock_was_set();
    EXPECT_EQ(until(), in(seconds(20) + kLate));
}

TEST_F(IdentitiesLimitTest, IsTheSoonestOfSeveralEnds) {
    bound_for(seconds(100));
    user_ = workshop().key("ed25519", "-identities-other");
    certify();
    bound_for(seconds(40));
    EXPECT_EQ(until(), in(seconds(40) + kLate));
    tick_at_end(seconds(40));
    EXPECT_EQ(until(), in(seconds(100) + kLate));
}

TEST_F(IdentitiesLimitTest, IsGoneWhenTheRulesSayThatItIsOver) {
    bound_for(seconds(100));
    tick_at_end(seconds(100));
    EXPECT_EQ(until(), Instant::max());
    const auto again = bound_for(seconds(500));
    ASSERT_TRUE(identities->remove(again->id, "uid 0"));
    EXPECT_EQ(until(), Instant::max());
}

TEST_F(IdentitiesLimitTest, HoldsAsLongAsRulesCannotBeCompiled) {
    const auto bound = bound_for(seconds(100));
    rules_fit = false;
    ASSERT_TRUE(identities->remove(bound->id, "uid 0"));
    EXPECT_EQ(until(), in(kLate));
    for (int i = 0; i < 3; ++i) {
        tick_at_end(seconds(1));
        EXPECT_EQ(until(), in(kLate));  // no later for having been tried again
    }
    bound_for(seconds(100));  // by the old rules he would have what he lost
    EXPECT_EQ(until(), in(kLate));
    rules_fit = true;
    tick_at_end(seconds(1));
    EXPECT_EQ(until(), in(seconds(100) + kLate));
}

// Whoever comes back with other names has the old ones until the rules say so, and they might never.
TEST_F(IdentitiesLimitTest, IsNoLaterForOneWhoRenewsAsLess) {
    bound_for(seconds(100));
    certify({}, "web");
    rules_fit = false;
    bound_for(seconds(3000));
    EXPECT_EQ(until(), in(seconds(100) + kLate));
    rules_fit = true;
    tick_at_end(seconds(1));
    EXPECT_EQ(until(), in(seconds(3000) + kLate));
}

TEST_F(IdentitiesLimitTest, HoldsForOneWhomOtherTrustMakesLess) {
    bound_for(seconds(100));
    rules_fit = false;
    trust_ca({}, "web");  // the certificate says dba too
    EXPECT_EQ(identities->registry().size(), 1u);
    EXPECT_EQ(until(), in(kLate));
    rules_fit = true;
    tick_at_end(seconds(1));
    EXPECT_EQ(until(), in(seconds(100) + kLate));
}

TEST_F(IdentitiesLimitTest, IsNoLaterForWhoLooksTooLate) {
    bound_for(seconds(100));
    rules_fit = false;
    tick_at_end(seconds(5000));
    EXPECT_EQ(until(), in(seconds(100) + kLate));
}

// The data plane has forgotten what it was told of a peer that it does not have any more.
TEST_F(IdentitiesLimitTest, IsToldAnewWhenPeersHaveChanged) {
    bound_for(seconds(100));
    peers.until.clear();
    identities->peers_changed();
    EXPECT_EQ(until(), in(seconds(100) + kLate));
}

}  // namespace
}  // namespace vern::identity
