// Policies on a disk that fails, a process that is killed, and files that cannot be loaded.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "control_fixture.h"

namespace vern::policy {
namespace {

using nlohmann::json;
using test::ControlTest;
using test::policy;
using test::read_file;

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
        json answer = change();
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

}  // namespace
}  // namespace vern::policy
