// Policies that are applied, tried, replaced and removed, and rules that follow identities.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <bit>
#include <filesystem>
#include <functional>

#include "control_fixture.h"

namespace vern::policy {
namespace {

using nlohmann::json;
using test::ControlTest;
using test::FakePlane;
using test::policy;

TEST_F(ControlTest, WithoutAnyPolicyNothingIsPublishedAndNothingWritten) {
    start();
    EXPECT_EQ(name(), "none");
    EXPECT_EQ(plane->publications, 0);
    EXPECT_FALSE(std::filesystem::exists(directory.path() + "/state"));
    EXPECT_FALSE(control->deadline());
    EXPECT_FALSE(control->counters().has_value());
    EXPECT_EQ(explain("in - tcp 10.0.0.2:1 > 10.0.0.1:22")["verdict"], "allow");
    EXPECT_FALSE(explain("x")["ok"]);
}

// Rules are not what denies it, and not what would let it pass.
TEST_F(ControlTest, ExplainsWhatComesBeforeAllRules) {
    const std::string key(43, 'A');
    const std::string question = "in " + key + "= tcp 10.0.0.2:1 > 10.0.0.1:22";
    const auto reason = [&] { return explain(question).value("reason", ""); };
    start();
    for (const bool with_policy : {false, true}) {
        if (with_policy) apply(policy("a"));
        plane->standing_of = nullptr;
        EXPECT_EQ(explain(question)["known_peer"], false);
        EXPECT_EQ(explain(question)["verdict"], "allow");
        Standing standing{.known = true, .admitted = true, .owner = PublicKey{}};
        plane->standing_of = [&](const Question&) { return standing; };
        EXPECT_EQ(explain(question)["known_peer"], true);
        EXPECT_EQ(explain(question)["verdict"], "allow");
        standing.owner.reset();
        EXPECT_EQ(reason(), "10.0.0.2 is in the allowed IPs of no peer");
        EXPECT_EQ(explain(question)["verdict"], "deny");
        standing.owner.emplace().bytes[0] = std::byte{1};
        EXPECT_EQ(reason(), "10.0.0.2 is in the allowed IPs of " + to_base64(standing.owner->bytes) +
                                ", not of this peer");
        standing = {.known = true, .admitted = false, .owner = PublicKey{}};
        EXPECT_EQ(reason(), "the peer has no session until it has proven who it is");
    }
}

// Whoever asks a policy that only observes: it passes, and it is said that it would not.
TEST_F(ControlTest, ExplainsThatAnObservedPolicyDeniesNothing) {
    start();
    std::string observed = policy("a");
    observed.insert(observed.find("[[rule]]"), "[defaults]\nobserve = true\n");
    ASSERT_TRUE(apply(observed)["ok"]);
    const json unknown = explain("in - tcp 10.0.0.2:1 > 10.0.0.1:23");
    EXPECT_EQ(unknown["verdict"], "allow") << unknown;
    EXPECT_EQ(unknown["observe"], true);
    Explanation& live = plane->explanation.emplace();
    live.allowed = live.would_be = true;
    live.reason = Counter::policy_no_rule;
    const json known = explain("in - tcp 10.0.0.2:1 > 10.0.0.1:23");
    EXPECT_EQ(known["verdict"], "allow") << known;
    EXPECT_EQ(known["observe"], true);
}

TEST_F(ControlTest, AppliedIsPublishedKeptAndLoadedAgain) {
    start();
    const json answer = apply(policy("a"));
    EXPECT_TRUE(answer["ok"]) << answer;
    EXPECT_EQ(answer["rules"], 1);
    EXPECT_EQ(plane->published->rules().rules.size(), 1u);
    EXPECT_EQ(on_disk(), policy("a"));
    struct stat status {};
    ASSERT_EQ(::stat((state() + "/policy.toml").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    start();
    EXPECT_EQ(name(), "a");
    EXPECT_NE(plane->published->generation(), 0u);
}

TEST_F(ControlTest, WhatIsWrongChangesNothing) {
    start();
    apply(policy("a"));
    const int before = plane->publications;
    for (const std::string& wrong : {std::string("version = 1\nx = 1\n"),
                                     policy("b",
                                            "[[test]]\nfrom = \"10.0.0.2\"\nto = \"10.0.0.1\"\nproto = "
                                            "\"tcp\"\nport = 23\nexpect = \"allow\"\n")}) {
        const json answer = apply(wrong);
        EXPECT_FALSE(answer["ok"]);
        EXPECT_TRUE(answer["error"].get<std::string>().starts_with("f:")) << answer;
    }
    EXPECT_EQ(plane->publications, before);
    EXPECT_EQ(on_disk(), policy("a"));
}

TEST_F(ControlTest, TheTrialEndsAtItsTime) {
    start();
    apply(policy("a"));
    EXPECT_EQ(apply(policy("b"), 60)["pending_s"], 60);
    EXPECT_EQ(name(), "b");
    EXPECT_EQ(on_disk(), policy("a"));
    EXPECT_EQ(control->apply(policy("c"), "f", {}, "uid 0").error().why, Refused::Why::state);
    plane->pass(std::chrono::seconds(59));
    control->tick();
    EXPECT_EQ(name(), "b");
    plane->pass(std::chrono::seconds(1));
    EXPECT_LE(*control->deadline(), plane->clock.boot);
    control->tick();
    EXPECT_EQ(name(), "a");
    EXPECT_FALSE(control->deadline());
    EXPECT_FALSE(confirm()["ok"]);
    EXPECT_FALSE(std::filesystem::exists(state() + "/pending.toml"));
}

TEST_F(ControlTest, ConfirmedItStays) {
    start();
    apply(policy("a"));
    apply(policy("b"), 60);
    EXPECT_TRUE(confirm()["ok"]);
    plane->pass(std::chrono::hours(1));
    control->tick();
    EXPECT_EQ(name(), "b");
    EXPECT_EQ(on_disk(), policy("b"));
    EXPECT_TRUE(rollback()["ok"]);
    EXPECT_EQ(name(), "a");
    EXPECT_EQ(on_disk(), policy("a"));
    EXPECT_TRUE(rollback()["ok"]);
    EXPECT_EQ(name(), "b");
}

TEST_F(ControlTest, TheFirstTrialGoesBackToNoPolicyAtAll) {
    start();
    EXPECT_FALSE(rollback()["ok"]);
    apply(policy("a"), 60);
    EXPECT_TRUE(rollback()["ok"]);
    EXPECT_EQ(name(), "none");
    EXPECT_EQ(plane->published, nullptr);
    start();
    EXPECT_EQ(name(), "none");
}

TEST_F(ControlTest, ARestartDropsTheTrial) {
    start();
    apply(policy("a"));
    apply(policy("b"), 60);
    start();
    EXPECT_EQ(name(), "a");
    EXPECT_FALSE(std::filesystem::exists(state() + "/pending.toml"));
    EXPECT_FALSE(control->deadline());
}

TEST_F(ControlTest, WithoutMemoryForFlowsNothingChanges) {
    start();
    plane->refuse = true;
    EXPECT_FALSE(apply(policy("a"))["ok"]);
    EXPECT_FALSE(apply(policy("a"), 60)["ok"]);
    plane->refuse = false;
    EXPECT_EQ(name(), "none");
    EXPECT_FALSE(control->deadline());
    start();
    EXPECT_EQ(name(), "none");
}

TEST_F(ControlTest, WhatHasEndedStaysEnded) {
    start();
    apply(
        "version = 1\n[[rule]]\nid = \"r\"\nin = {}\nallow = [\"tcp/22\"]\nexpires = 2027-01-15T08:10:00Z\n");  // 600 s after the clock
    const auto expires = [&] { return *plane->published->rules().rules[0].expires; };
    const Instant end = plane->clock.boot + std::chrono::seconds(600);
    EXPECT_EQ(expires(), end);
    plane->clock.wall -= std::chrono::hours(5);
    control->clock_was_set();
    EXPECT_EQ(expires(), end);
    plane->clock.wall += std::chrono::hours(5) + std::chrono::seconds(500);
    control->clock_was_set();
    EXPECT_EQ(expires(), end - std::chrono::seconds(500));
    plane->clock.wall -= std::chrono::hours(5);
    control->clock_was_set();
    EXPECT_EQ(expires(), end - std::chrono::seconds(500));
    // Nor does a trial that ends give time back.
    apply(policy("b"), 60);
    plane->pass(std::chrono::seconds(60));
    control->tick();
    EXPECT_EQ(expires(), end - std::chrono::seconds(500));
}

TEST_F(ControlTest, CheckAndDiffChangeNothing) {
    start();
    EXPECT_TRUE(told(control->diff(policy("a"), "f"))["none_before"]);
    apply(policy("a"));
    const int before = plane->publications;
    EXPECT_EQ(told(control->check(policy("b"), "f"))["rules"], 1);
    const auto wrong = control->check("version = 1\nx = 1\n", "f");
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().why, Refused::Why::wrong);
    EXPECT_TRUE(wrong.error().message.starts_with("f:2:1: "));
    const json found =
        told(control->diff(policy("a", "[[rule]]\nid = \"s\"\nin = {}\ndeny = [\"tcp/23\"]\n"), "f"));
    EXPECT_EQ(found["added"], json::array({"s"}));
    EXPECT_FALSE(found["none_before"]);
    EXPECT_FALSE(control->diff("version = 2\n", "f"));
    EXPECT_EQ(plane->publications, before);
    EXPECT_EQ(on_disk(), policy("a"));
}

TEST_F(ControlTest, RulesFollowWhatIsProven) {
    PublicKey ada;
    ada.bytes[0] = std::byte{7};
    trust::Identity dba;
    dba.principals = {"dba"};
    std::vector<Holder> holders;
    plane = std::make_unique<FakePlane>();
    control = std::make_unique<Control>(Store(state()), *plane);
    control->use_identities([&] { return holders; });
    ASSERT_TRUE(control->start(""));
    apply(policy("plain"));
    const int publications = plane->publications;
    control->identities_changed();
    EXPECT_EQ(plane->publications, publications);  // nothing in it depends on them
    apply(
        "version = 1\nrequire_identity = true\n[[rule]]\nid = \"ssh\"\nin = { from = [\"ssh:principal=dba\"] "
        "}\n"
        "allow = [\"tcp/22\"]\n");
    EXPECT_TRUE(plane->published->rules().peer_sets.at(0).empty());
    EXPECT_FALSE(plane->admission.admits(ada));
    const auto generation = plane->published->generation();
    holders = {{ada, &dba}};
    control->identities_changed();
    EXPECT_GT(plane->published->generation(), generation);
    EXPECT_EQ(plane->published->rules().peer_sets.at(0), PeerSet{ada});
    EXPECT_TRUE(plane->admission.admits(ada));
    holders.clear();
    plane->refuse = true;
    EXPECT_FALSE(control->identities_changed());
    EXPECT_EQ(plane->published->rules().peer_sets.at(0), PeerSet{ada});
    plane->refuse = false;
    EXPECT_TRUE(control->identities_changed());
    EXPECT_TRUE(plane->published->rules().peer_sets.at(0).empty());
    EXPECT_FALSE(plane->admission.admits(ada));
    rollback();
    EXPECT_TRUE(plane->admission.admits(ada));
}

// So that a clock that is set back before a rollback does not revive what had expired.
TEST_F(ControlTest, WhatWasReplacedOrRemovedKnowsWhenThatWas) {
    const auto now = std::filesystem::file_time_type::clock::now();
    const auto old = [&] {
        std::filesystem::last_write_time(state() + "/policy.toml", now - std::chrono::hours(24));
    };
    const auto noted = [&] {
        return std::filesystem::last_write_time(state() + "/previous.toml") > now - std::chrono::hours(1);
    };
    start();
    apply(policy("first"));
    old();
    apply(policy("second"));
    EXPECT_TRUE(noted());
    old();
    EXPECT_TRUE(remove()["ok"]);
    EXPECT_TRUE(noted());
}

TEST_F(ControlTest, EveryChangeIsTold) {
    start();
    struct Observer final : PolicyObserver {
        std::vector<std::string> heard;
        void policy_event(const PolicyEvent& event) override {
            heard.push_back(std::string(name_of(event.kind)) + " " + event.name + " by " + event.who);
        }
    } observer;
    control->observe(&observer);
    apply(policy("a"));
    apply(policy("b"), 60);
    confirm();
    rollback();
    apply(policy("c"), 60);
    apply(policy("d"));  // not while one is on trial
    plane->pass(std::chrono::seconds(60));
    control->tick();
    apply("nothing");
    remove();
    EXPECT_EQ(
        observer.heard,
        (std::vector<std::string>{
            "policy.loaded a by uid 0", "policy.loaded b by uid 0", "policy.confirmed b by uid 0",
            "policy.rolled-back a by uid 0", "policy.loaded c by uid 0", "policy.refused c by uid 0",
            "policy.rolled-back a by the clock", "policy.refused a by uid 0", "policy.removed  by uid 0"}));
}

// A list of prefixes in TOML.
std::string listed(unsigned count, const std::function<std::string(unsigned)>& prefix) {
    std::string out;
    for (unsigned i = 0; i < count; ++i) out += (i == 0 ? "[\"" : ", \"") + prefix(i) + "\"";
    return out + "]";
}

TEST_F(ControlTest, RoomForRulesIsAskedForBeforeAnybodyHasTheirIdentity) {
    start();
    const std::string many =
        listed(1500, [](unsigned i) { return fmt::format("10.7.{}.{}", i / 256, i % 256); });
    const json answer = apply(policy("a", "[[rule]]\nid = \"big\"\nin = { from = " + many + ", to = " + many +
                                              ", peers = [\"ssh:principal=dba\"] }\nallow = [\"tcp/80\"]\n"));
    EXPECT_FALSE(answer["ok"]);
    EXPECT_NE(answer["error"].get<std::string>().find("table entries"), std::string::npos) << answer;
}

// Each in four of thirteen groups, hardly two in the same ones, rules of many lengths of prefixes.
TEST_F(ControlTest, ACrowdOfIdentitiesIsDeniedAndNobodyElse) {
    constexpr unsigned kGroups = 13, kAtOnce = 4;
    std::vector<trust::Identity> identities;
    for (unsigned set = 0; set < 1U << kGroups; ++set) {
        if (std::popcount(set) != kAtOnce) continue;
        auto& identity = identities.emplace_back();
        for (unsigned group = 0; group < kGroups; ++group)
            if ((set >> group & 1) != 0) identity.principals.push_back("p" + std::to_string(group));
    }
    std::vector<Holder> holders;
    start();
    control->use_identities([&] { return holders; });
    const std::string lengths = listed(32, [](unsigned i) { return fmt::format("0.0.0.0/{}", i + 1); });
    std::string rules;
    for (unsigned group = 0; group < kGroups; ++group)
        rules += fmt::format(
            "[[rule]]\nid = \"g{}\"\nin = {{ from = {}, to = {}, peers = [\"ssh:principal=p{}\"] }}\nallow = "
            "[\"tcp/80\"]\n",
            group, lengths, lengths, group);
    ASSERT_TRUE(apply(policy("a", rules))["ok"]);
    for (std::size_t i = 0; i < identities.size(); ++i)
        holders.push_back({PublicKey{{std::byte(i), std::byte(i >> 8), std::byte{1}}}, &identities[i]});
    control->identities_changed();
    EXPECT_EQ(name(), "a");
    EXPECT_EQ(plane->published->rules().rules.size(), kGroups + 1);
    EXPECT_FALSE(plane->published->crowded().empty());
    EXPECT_LT(plane->published->crowded().size(), holders.size() / 2);
    holders.clear();
    control->identities_changed();
    EXPECT_TRUE(plane->published->crowded().empty());
}

}  // namespace
}  // namespace vern::policy
