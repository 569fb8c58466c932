// How long it lasts what was bound: ends, clocks and restarts.
#include <filesystem>
#include <fstream>

#include "identities_fixture.h"

namespace vern::identity {
namespace {

using namespace vern::identity::test;

TEST_F(IdentitiesTest, ABindingLastsNoLongerThanThePolicySays) {
    trust_ca();
    certify();
    identities->set_longest(seconds(600));
    const auto bound = present(statement(nonce(), kNow + 3600));
    ASSERT_TRUE(bound);
    EXPECT_EQ(bound->ends, kNow + 600);
    // Of what is bound already too, from when it was bound; and the statement counts again without it.
    peers.pass(seconds(100));
    identities->set_longest(seconds(200));
    EXPECT_EQ(identities->registry().find(bound->id)->ends, kNow + 200);
    identities->set_longest(std::nullopt);
    EXPECT_EQ(identities->registry().find(bound->id)->ends, kNow + 3600);
    identities->set_longest(seconds(200));
    tick_at_end(seconds(99));
    EXPECT_EQ(identities->registry().size(), 1u);
    // A renewal is a binding.
    ASSERT_EQ(code_of(present(statement(nonce(), kNow + 3600))), "bound");
    tick_at_end(seconds(199));
    EXPECT_EQ(identities->registry().size(), 1u);
    tick_at_end(seconds(1));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told.back(), "identity.ended alice@laptop expired");
}

// A restart binds nobody anew.
TEST_F(IdentitiesTest, WhatWasHandedInKeepsTheTimeAtWhichItWas) {
    trust_ca();
    certify();
    identities->set_longest(seconds(600));
    const std::string text = encode_statement(statement());
    const std::string signature = signed_text(text);
    ASSERT_EQ(code_of(identities->add_ssh(text, signature, "uid 0")), "bound");
    peers.pass(seconds(500));
    open();
    identities->set_longest(seconds(600));
    ASSERT_EQ(identities->registry().size(), 1u);
    EXPECT_EQ(identities->registry().of(kLaptop).at(0)->ends, kNow + 600);
    peers.pass(seconds(100));
    identities->tick();
    EXPECT_EQ(identities->registry().size(), 0u);
    ASSERT_EQ(code_of(identities->add_ssh(text, signature, "uid 0")), "bound");
}

TEST_F(IdentitiesTest, RenewalKeepsItAliveWhileTheCertificateAllows) {
    trust_ca();
    certify();
    ASSERT_EQ(code_of(present(statement(nonce(), kNow + 60))), "bound");
    identities->tick();
    const int before = changes;
    peers.pass(seconds(50));
    ASSERT_EQ(code_of(present(statement(nonce(), kNow + 110))), "bound");
    identities->tick();
    EXPECT_EQ(changes, before);  // nothing that rules could see
    tick_at_end(seconds(59));
    EXPECT_EQ(identities->registry().size(), 1u);
    tick_at_end(seconds(1));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told[2], "identity.renewed alice@laptop");
}

TEST_F(IdentitiesTest, AClockSetBackRevivesNothing) {
    trust_ca();
    certify({"-V", "0x3b9aca00:0x59682f64"});  // kNow + 100
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    tick_at_end(seconds(60));
    peers.clock.wall -= seconds(10'000);
    identities->clock_was_set();
    tick_at_end(seconds(39));
    EXPECT_EQ(identities->registry().size(), 1u);
    tick_at_end(seconds(1));
    EXPECT_EQ(identities->registry().size(), 0u);
    tick_at_end(seconds(0));
    // Nor after a restart.
    peers.clock.wall = WallTime(seconds(kNow + 101));
    identities->tick();
    peers.clock.wall = WallTime(seconds(kNow));
    open();
    EXPECT_EQ(code_of(present(statement(nonce(), kNow + 3600))), "expired");
    // Set forward it comes at once.
    certify();
    ASSERT_EQ(code_of(present(statement(nonce(), kNow + 3600))), "bound");
    peers.clock.wall = WallTime(seconds(kNow + 3600));
    identities->clock_was_set();
    identities->tick();
    EXPECT_EQ(identities->registry().size(), 0u);
}

// Whatever ends the process: not at once, so as not to write at each of many ends, but soon.
TEST_F(IdentitiesTest, ThatSomethingHasEndedIsSoonOnDisk) {
    trust_ca();
    certify({"-V", "0x3b9aca00:0x59682f0a"});  // kNow + 10
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");
    const auto kept = [this] {
        return nlohmann::json::parse(read_file(state.path() + "/wg0/identities.json"))["latest"];
    };
    tick_at_end(seconds(10));
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(kept(), kNow);
    EXPECT_EQ(identities->deadline(), peers.clock.boot + seconds(50));
    tick_at_end(seconds(50));
    EXPECT_EQ(kept(), kNow + 60);
    EXPECT_FALSE(identities->deadline());
}

TEST_F(IdentitiesTest, WhatWasHandedInOutlivesARestart) {
    trust_ca();
    certify();
    const std::string text = encode_statement(statement());
    const std::string signature = signed_text(text);
    ASSERT_EQ(code_of(identities->add_ssh(text, signature, "uid 0")), "bound");
    ASSERT_EQ(code_of(present(statement(nonce()))), "bound");  // the same key: now it came through the tunnel
    const auto again = identities->add_ssh(text, signature, "uid 0");
    ASSERT_EQ(code_of(again), "bound");
    // After a start there are neither key nor peers.
    peers.own.reset();
    peers.known.clear();
    EXPECT_TRUE(open().empty());
    EXPECT_EQ(identities->store().entries().size(), 1u);
    EXPECT_EQ(identities->registry().size(), 0u);
    peers.own = kDaemon;
    identities->peers_changed();
    EXPECT_EQ(identities->registry().size(), 0u);
    peers.known = {kLaptop};
    identities->peers_changed();
    ASSERT_EQ(identities->registry().size(), 1u);
    EXPECT_EQ(identities->registry().of(kLaptop).at(0)->means, Means::statement_ssh);
    // A peer that is removed takes its identities along, and gets them back.
    peers.known.clear();
    identities->peers_changed();
    EXPECT_EQ(identities->registry().size(), 0u);
    EXPECT_EQ(told.back(), "identity.ended alice@laptop peer-removed");
    peers.known = {kLaptop};
    identities->peers_changed();
    ASSERT_EQ(identities->registry().size(), 1u);
    // Removed by somebody, it stays away.
    EXPECT_TRUE(identities->remove(identities->registry().of(kLaptop).at(0)->id, "uid 0"));
    EXPECT_FALSE(identities->remove(4711, "uid 0"));
    open();
    identities->peers_changed();
    EXPECT_EQ(identities->registry().size(), 0u);
}

// It is not known then who is trusted, which refuses nobody for good.
TEST_F(IdentitiesTest, WhatWasHandedInOutlivesAFileOfTrustThatCannotBeRead) {
    trust_ca();
    certify();
    const std::string text = encode_statement(statement());
    ASSERT_EQ(code_of(identities->add_ssh(text, signed_text(text), "uid 0")), "bound");
    identities.reset();
    const std::string file = state.path() + "/wg0/trust.json", good = read_file(file);
    std::ofstream(file) << good.substr(0, good.size() / 2);
    told.clear();
    EXPECT_EQ(open().size(), 1u);
    EXPECT_EQ(identities->registry().size(), 0u);
    identities->peers_changed();
    identities->tick();
    EXPECT_EQ(told, std::vector<std::string>{}) << "nobody is refused";
    identities.reset();
    std::ofstream(file) << good;
    EXPECT_TRUE(open().empty());
    EXPECT_EQ(identities->registry().size(), 1u);
}

TEST_F(IdentitiesTest, AFileOfWhatWasHandedInThatIsNotOneIsSetAside) {
    std::filesystem::create_directories(state.path() + "/wg0");
    const std::string file = state.path() + "/wg0/identities.json";
    std::ofstream(file) << "{\"handed_in\":3}";
    EXPECT_EQ(open().size(), 1u);
    trust_ca();
    EXPECT_EQ(read_file(state.path() + "/wg0/identities.broken.json"), "{\"handed_in\":3}");
    EXPECT_NE(read_file(file).find("\"handed_in\":[]"), std::string::npos);
}

// A peer that must have an identity for a session could not come through the tunnel after a restart.
TEST_F(IdentitiesTest, WhatWasHandedInOutlivesARenewalThroughTheTunnel) {
    trust_ca();
    certify();
    const std::string text = encode_statement(statement());
    ASSERT_EQ(code_of(identities->add_ssh(text, signed_text(text), "uid 0")), "bound");
    const auto renewed = present(statement(nonce()));
    ASSERT_EQ(code_of(renewed), "bound");
    EXPECT_EQ(renewed->means, Means::tunnel_ssh);
    EXPECT_TRUE(open().empty());
    ASSERT_EQ(identities->registry().size(), 1u);
    EXPECT_EQ(identities->registry().of(kLaptop).at(0)->means, Means::statement_ssh);
}

// Nothing of it is left on the disk that could come back after a removal and kill -9.
TEST_F(IdentitiesTest, WhatIsRemovedAfterARenewalThroughTheTunnelStaysAway) {
    bool dead = false;
    open([&](std::string_view) { return dead ? EIO : 0; });
    trust_ca();
    certify();
    const std::string text = encode_statement(statement());
    const auto handed_in = identities->add_ssh(text, signed_text(text), "uid 0");
    ASSERT_EQ(code_of(handed_in), "bound");
    const auto renewed = present(statement(nonce()));
    ASSERT_EQ(code_of(renewed), "bound");
    EXPECT_EQ(renewed->id, handed_in->id);
    EXPECT_FALSE(identities->pending());
    ASSERT_TRUE(identities->remove(renewed->id, "uid 0"));
    dead = true;  // nothing is written in the end
    open();
    EXPECT_EQ(identities->registry().size(), 0u);
}

TEST_F(IdentitiesTest, AStatementHandedInForNobodyHere) {
    trust_ca();
    certify();
    Statement said = statement();
    said.wg = key_number(9);
    const std::string text = encode_statement(said);
    EXPECT_EQ(code_of(identities->add_ssh(text, signed_text(text), "uid 0")), "no-peer");
    peers.own = kOther;  // a new private key: statements were for the old one
    ASSERT_EQ(code_of(identities->add_ssh(text, signed_text(text), "uid 0")), "audience");
}

}  // namespace
}  // namespace vern::identity
