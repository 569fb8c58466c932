#include "control/state_directory.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "temporary_directory.h"

namespace vern {
namespace {

std::set<std::string> names_in(const std::string& path) {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path)) names.insert(entry.path().filename());
    return names;
}

TEST(StateDirectory, HoldsTheOldContentOrTheNewOneWhicheverStepFails) {
    const test::TemporaryDirectory place;
    const std::string path = place.path() + "/state";
    ASSERT_TRUE(StateDirectory(path).replace("trust.json", "old"));
    for (const std::string failing : {"mkdir", "open", "write", "fsync", "rename"}) {
        const StateDirectory state(path, [&](std::string_view step) { return step == failing ? EIO : 0; });
        EXPECT_FALSE(state.replace("trust.json", "new")) << failing;
        EXPECT_EQ(test::read_file(path + "/trust.json"), "old") << failing;
        EXPECT_EQ(names_in(path), std::set<std::string>{"trust.json"}) << failing;
    }
    ASSERT_TRUE(StateDirectory(path).replace("trust.json", "new"));
    EXPECT_EQ(test::read_file(path + "/trust.json"), "new");
}

TEST(StateDirectory, DropsWhatAKillHasLeftUnfinishedAndNothingElse) {
    const test::TemporaryDirectory place;
    const std::string outside = place.write("outside", "kept");
    const StateDirectory state(place.path() + "/state");
    ASSERT_TRUE(state.replace("trust.json", "whole"));
    std::filesystem::create_directory(state.path_of("audit"));
    std::filesystem::create_directory(state.path_of("directory.new"));
    std::ofstream(state.path_of("trust.json.new")) << "ha";
    std::filesystem::create_symlink(outside, state.path_of("previous.toml.new"));

    state.drop_unfinished();
    EXPECT_EQ(names_in(state.path()), (std::set<std::string>{"audit", "directory.new", "trust.json"}));
    EXPECT_EQ(test::read_file(state.path_of("trust.json")), "whole");
    EXPECT_EQ(test::read_file(outside), "kept");

    StateDirectory(place.path() + "/never made").drop_unfinished();
}

// Opening a pipe would wait for somebody who writes, and the daemon with it.
TEST(StateDirectory, ReadsRegularFilesOnly) {
    const test::TemporaryDirectory place;
    const StateDirectory state(place.path());
    ASSERT_EQ(::mkfifo(state.path_of("policy.toml").c_str(), 0600), 0);
    const auto read = state.read("policy.toml", 1000);
    ASSERT_FALSE(read);
    EXPECT_TRUE(read.error().message.ends_with("policy.toml: not a regular file")) << read.error().message;
}

}  // namespace
}  // namespace vern
