#include "control/policy/control.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <filesystem>
#include <fstream>
#include <functional>

#include "../temporary_directory.h"
#include "control/log.h"
#include "fake_plane.h"

namespace vern::policy {
namespace {

using nlohmann::json;
using test::FakePlane;
using vern::test::read_file;
using vern::test::TemporaryDirectory;

std::string policy(const std::string& name, const std::string& more = "") {
    return "version = 1\nname = \"" + name + "\"\n[[rule]]\nid = \"r\"\nin = {}\nallow = [\"tcp/22\"]\n" +
           more;
}

class ControlTest : public testing::Test {
  protected:
    ControlTest() { set_log_level(LogLevel::silent); }

    std::string state() const { return directory.path() + "/state/wg0"; }
    void start(const std::string& first = "", StateDirectory::StepHook hook = nullptr) {
        control.reset();
        plane = std::make_unique<FakePlane>();
        control = std::make_unique<Control>(Store(state(), std::move(hook)), *plane);
        ASSERT_TRUE(control->start(first));
    }
    static json told(const Outcome<json>& outcome) {
        json answer = outcome ? *outcome : json{{"error", outcome.error().message}};
        answer["ok"] = outcome.has_value();
        return answer;
    }
    json apply(const std::string& text, int confirm_s = 0) {
        return told(control->apply(text, "f", std::chrono::seconds(confirm_s), "uid 0"));
    }
    json confirm() { return told(control->confirm("uid 0")); }
    json rollback() { return told(control->rollback("uid 0")); }
    json remove() { return told(control->remove("uid 0")); }
    json explain(const std::string& question) { return told(control->explain(question)); }
    std::string name() { return control->summary().value("name", control->summary().value("state", "")); }
    std::string on_disk() const { return read_file(state() + "/policy.toml"); }

    TemporaryDirectory directory;
    std::unique_ptr<FakePlane> plane;
    std::unique_ptr<Control> control;
};

TEST_F(ControlTest, WithoutAnyPolicyNothingIsPublishedAndNothingWritten) {
    start();
    EXPECT_EQ(name(), "none");
    EXPECT_EQ(plane->publications, 0);
    EXPECT_FALSE(std::filesystem::exists(directory.path() + "/state"));
    EXPECT_FALSE(control->deadline());
    EXPECT_FALSE(control->counters().has_value());
    EXPECT_EQ(explain("x")["verdict"], "allow");
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

TEST_F(ControlTest, WhatCannotBeLoadedDeniesEverythingAlsoAfterATrial) {
    start();
    apply(policy("a"));
    std::filesystem::resize_file(state() + "/policy.toml", 30);
    start();
    EXPECT_EQ(name(), "failed");
    ASSERT_NE(plane->published, nullptr);
    EXPECT_TRUE(plane->published->rules().rules.empty());
    EXPECT_EQ(explain("in - tcp 10.0.0.2:1 > 10.0.0.1:22")["verdict"], "deny");
    apply(policy("b"), 60);
    EXPECT_EQ(name(), "b");
    plane->pass(std::chrono::seconds(60));
    control->tick();
    EXPECT_EQ(name(), "failed");
    EXPECT_TRUE(plane->published->rules().rules.empty());
}

TEST_F(ControlTest, AFileThatCannotBeReadIsNotNoFile) {
    start();
    apply(policy("a"));
    std::filesystem::remove(state() + "/policy.toml");
    std::filesystem::create_directory(state() + "/policy.toml");
    start();
    EXPECT_EQ(name(), "failed");
    start("/nonexistent.toml");
    EXPECT_EQ(name(), "failed");
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

// A disk that fails at any step: nothing has changed in memory, and a restart loads what governed.
TEST_F(ControlTest, FailingStepsOfTheDisk) {
    for (int confirm_s : {0, 60}) {
        for (int failing = 0;; ++failing) {
            std::filesystem::remove_all(directory.path() + "/state");
            int step = 0;
            bool armed = false;
            start("", [&](std::string_view) { return armed && step++ == failing ? ENOSPC : 0; });
            apply(policy("a"));
            armed = true;
            const json answer = apply(policy("b"), confirm_s);
            armed = false;
            if (answer["ok"]) {
                EXPECT_GE(failing, 5);
                break;
            }
            EXPECT_NE(answer["error"].get<std::string>().find("No space left"), std::string::npos);
            EXPECT_EQ(name(), "a") << failing;
            EXPECT_EQ(on_disk(), policy("a")) << failing;
            start();
            EXPECT_EQ(name(), "a") << failing;
        }
    }
    for (int failing = 0; failing < 4; ++failing) {
        std::filesystem::remove_all(directory.path() + "/state");
        int step = 0;
        bool armed = false;
        start("", [&](std::string_view) { return armed && step++ == failing ? EIO : 0; });
        apply(policy("a"));
        apply(policy("b"), 60);
        armed = true;
        EXPECT_FALSE(confirm()["ok"]);
        armed = false;
        EXPECT_EQ(name(), "b");
        EXPECT_TRUE(control->deadline());
        plane->pass(std::chrono::seconds(60));
        control->tick();
        EXPECT_EQ(name(), "a");
        EXPECT_EQ(on_disk(), policy("a")) << failing;
    }
}

// Killed at any step: what loads is wholly the old one or wholly the new.
TEST_F(ControlTest, KilledAtAnyStep) {
    for (const int confirm_s : {0, 60}) {
        bool whole = false;
        for (int fatal = 0; !whole && fatal < 40; ++fatal) {
            std::filesystem::remove_all(directory.path() + "/state");
            start();
            apply(policy("a"));
            control.reset();
            const pid_t child = ::fork();
            if (child == 0) {
                int step = 0;
                start("", [&](std::string_view) {
                    if (step++ == fatal) ::raise(SIGKILL);
                    return 0;
                });
                apply(policy("b"), confirm_s);
                if (confirm_s > 0) confirm();
                ::_exit(0);
            }
            int status = 0;
            ::waitpid(child, &status, 0);
            whole = WIFEXITED(status);
            start();
            EXPECT_TRUE(name() == "a" || name() == "b") << fatal << " " << name();
            EXPECT_EQ(on_disk(), policy(name()));
            if (whole) {
                EXPECT_EQ(name(), "b");
            }
        }
        EXPECT_TRUE(whole);
    }
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

TEST_F(ControlTest, RemovedItStaysAwayAndCanComeBack) {
    start();
    EXPECT_EQ(remove()["error"], "no policy is in force");
    apply(policy("first"));
    apply(policy("second"), 60);
    EXPECT_FALSE(remove()["ok"]);  // not while one is on trial
    rollback();
    EXPECT_TRUE(remove()["ok"]);
    EXPECT_EQ(name(), "none");
    EXPECT_EQ(plane->published, nullptr);
    EXPECT_FALSE(std::filesystem::exists(state() + "/policy.toml"));
    start();
    EXPECT_EQ(name(), "none");
    EXPECT_TRUE(rollback()["ok"]);
    EXPECT_EQ(name(), "first");
    start();
    EXPECT_EQ(name(), "first");
}

TEST_F(ControlTest, WhatCannotBeLoadedCanBeRemoved) {
    start();
    apply(policy("first"));
    std::ofstream(state() + "/policy.toml") << "nothing";
    start();
    EXPECT_EQ(name(), "failed");
    EXPECT_TRUE(remove()["ok"]);
    EXPECT_EQ(name(), "none");
}

// What could not be loaded is no policy to go back to, whatever takes its place.
TEST_F(ControlTest, WhatReplacesABrokenOneLeavesThePreviousOne) {
    const auto break_it = [this] {
        std::ofstream(state() + "/policy.toml") << "nothing";
        start();
        ASSERT_EQ(name(), "failed");
    };
    start();
    apply(policy("first"));
    apply(policy("second"));
    break_it();
    apply(policy("third"));
    EXPECT_EQ(read_file(state() + "/previous.toml"), policy("first"));
    EXPECT_EQ(read_file(state() + "/broken.toml"), "nothing");
    EXPECT_TRUE(rollback()["ok"]);
    EXPECT_EQ(name(), "first");
    // On trial, and confirmed.
    break_it();
    apply(policy("fourth"), 60);
    EXPECT_EQ(on_disk(), "nothing");
    ASSERT_TRUE(control->confirm("uid 0"));
    EXPECT_EQ(on_disk(), policy("fourth"));
    EXPECT_EQ(read_file(state() + "/previous.toml"), policy("third"));
    // By going back itself.
    break_it();
    EXPECT_TRUE(rollback()["ok"]);
    EXPECT_EQ(name(), "third");
    EXPECT_EQ(read_file(state() + "/previous.toml"), policy("third"));
}

// Not for what cannot be loaded: it was never worth going back to.
TEST_F(ControlTest, RollbackAfterARemovalGoesToTheLastGoodOne) {
    start();
    apply(policy("first"));
    apply(policy("second"));
    std::ofstream(state() + "/policy.toml") << "nothing";
    start();
    EXPECT_TRUE(remove()["ok"]);
    EXPECT_EQ(read_file(state() + "/broken.toml"), "nothing");
    EXPECT_TRUE(rollback()["ok"]);
    EXPECT_EQ(name(), "first");
}

// Whatever step fails: everything is still denied, after a restart too.
TEST_F(ControlTest, WhatCannotBeLoadedIsRemovedWhollyOrNotAtAll) {
    int failing = 0;
    for (bool removed = false; !removed; ++failing) {
        std::filesystem::remove_all(directory.path() + "/state");
        start();
        apply(policy("first"));
        std::ofstream(state() + "/policy.toml") << "nothing";
        int step = 0;
        start("", [&](std::string_view) { return step++ == failing ? EIO : 0; });
        removed = remove()["ok"];
        start();
        EXPECT_EQ(name(), removed ? "none" : "failed") << failing;
        EXPECT_EQ(std::filesystem::exists(state() + "/policy.toml"), !removed) << failing;
    }
    EXPECT_GE(failing, 5);
    apply(policy("first"));
    std::ofstream(state() + "/policy.toml") << "nothing";
    start();
    plane->refuse = true;
    EXPECT_FALSE(remove()["ok"]);
    EXPECT_EQ(on_disk(), "nothing");
}

// What was said not to be applied, or not to be confirmed, is not in force after a restart: everything is
// denied as before, whatever step fails, and whatever an earlier time has left.
class OverABrokenOne : public ControlTest {
  protected:
    void begin(int failing) {
        std::filesystem::remove_all(directory.path() + "/state");
        start();
        apply(policy("first"));
        apply(policy("second"));
        std::ofstream(state() + "/policy.toml") << "nothing";
        std::ofstream(state() + "/broken.toml") << policy("of an earlier time");
        armed = false;
        steps = 0;
        start("", [this, failing](std::string_view) {
            const int step = steps;
            steps += armed;
            return armed && (step == failing || (stays_bad && step > failing)) ? EIO : 0;
        });
    }
    template <typename Change>
    json with_failing_disk(Change change) {
        armed = true;
        const json answer = change();
        armed = false;
        return answer;
    }
    void everything_is_denied(int failing) {
        EXPECT_EQ(name(), "failed") << failing;
        EXPECT_EQ(on_disk(), "nothing") << failing;
        start();
        EXPECT_EQ(name(), "failed") << failing;
        EXPECT_EQ(read_file(state() + "/previous.toml"), policy("first")) << failing;
        EXPECT_FALSE(std::filesystem::exists(state() + "/policy.toml.new")) << failing;
    }

    bool armed = false, stays_bad = false;
    int steps = 0;
};

TEST_F(OverABrokenOne, ApplyingIsWholeOrNotAtAll) {
    int failing = 0;
    for (;; ++failing) {
        begin(failing);
        if (with_failing_disk([&] { return apply(policy("third")); })["ok"]) break;
        everything_is_denied(failing);
    }
    EXPECT_EQ(failing, 8);
    begin(-1);
    plane->refuse = true;
    EXPECT_FALSE(apply(policy("third"))["ok"]);
    everything_is_denied(-1);
}

TEST_F(OverABrokenOne, RollingBackIsWholeOrNotAtAll) {
    int failing = 0;
    for (;; ++failing) {
        begin(failing);
        if (with_failing_disk([&] { return rollback(); })["ok"]) break;
        everything_is_denied(failing);
    }
    EXPECT_EQ(failing, 8);
    begin(-1);
    plane->refuse = true;
    EXPECT_FALSE(rollback()["ok"]);
    everything_is_denied(-1);
}

TEST_F(OverABrokenOne, ATrialThatIsNotConfirmedEnds) {
    for (int failing = -1;; ++failing) {
        begin(failing);
        EXPECT_TRUE(apply(policy("trial"), 60)["ok"]);
        if (failing >= 0 && with_failing_disk([&] { return confirm(); })["ok"]) {
            EXPECT_EQ(failing, 4);
            break;
        }
        EXPECT_EQ(name(), "trial");
        EXPECT_EQ(on_disk(), "nothing") << failing;  // a kill now is a restart with that
        plane->pass(std::chrono::seconds(61));
        control->tick();
        everything_is_denied(failing);
    }
}

TEST_F(OverABrokenOne, ATrialMayBeConfirmedAgain) {
    for (int failing = 0; failing < 4; ++failing) {
        begin(failing);
        apply(policy("trial"), 60);
        EXPECT_FALSE(with_failing_disk([&] { return confirm(); })["ok"]);
        EXPECT_TRUE(confirm()["ok"]) << failing;
        start();
        EXPECT_EQ(name(), "trial") << failing;
        EXPECT_EQ(read_file(state() + "/broken.toml"), "nothing") << failing;
    }
}

// Neither kept nor put back: the trial's text is on the disk, and is not what was set aside.
TEST_F(OverABrokenOne, WhatCannotBePutBackAtOnceIsPutBackLater) {
    stays_bad = true;
    begin(3);
    apply(policy("trial"), 60);
    EXPECT_FALSE(with_failing_disk([&] { return confirm(); })["ok"]);
    EXPECT_EQ(on_disk(), policy("trial"));
    EXPECT_FALSE(confirm()["ok"]);
    plane->pass(std::chrono::seconds(61));
    control->tick();
    everything_is_denied(3);
}

// A first policy in a file that cannot be loaded: nothing was on the disk, and nothing is again.
TEST_F(OverABrokenOne, OfWhichTheDiskHeldNothing) {
    const std::string file = directory.path() + "/first.toml";
    std::ofstream(file) << "nothing";
    std::filesystem::create_directories(state());
    std::ofstream(state() + "/broken.toml") << policy("of an earlier time");
    bool failing = false;
    start(file, [&](std::string_view step) { return failing && step == "fsync of the directory" ? EIO : 0; });
    ASSERT_EQ(name(), "failed");
    failing = true;
    EXPECT_FALSE(apply(policy("a"))["ok"]);
    EXPECT_FALSE(std::filesystem::exists(state() + "/policy.toml"));
    start(file);
    EXPECT_EQ(name(), "failed");
}

// The trial is not what was in force before: nothing to go back to.
TEST_F(ControlTest, ATrialThatCouldNotBeConfirmedLeavesThePreviousOne) {
    bool failing = false;
    start("", [&](std::string_view step) { return failing && step == "fsync of the directory" ? EIO : 0; });
    apply(policy("a"));
    apply(policy("trial"), 60);
    failing = true;
    EXPECT_FALSE(confirm()["ok"]);
    failing = false;
    EXPECT_EQ(on_disk(), policy("a"));
    EXPECT_EQ(read_file(state() + "/previous.toml"), policy("a"));
    EXPECT_TRUE(confirm()["ok"]);
    EXPECT_EQ(on_disk(), policy("trial"));
    EXPECT_EQ(read_file(state() + "/previous.toml"), policy("a"));
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
