#include "control/process.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace vern {
namespace {

TEST(Process, GivesStatusAndBothOutputs) {
    const auto result = run_process({"sh", "-c", "echo out; echo err >&2; exit 7"});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->status, 7);
    EXPECT_EQ(result->output, "out\n");
    EXPECT_EQ(result->errors, "err\n");
}

TEST(Process, TellsOfASignal) {
    const auto result = run_process({"sh", "-c", "kill -TERM $$"});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->status, 128 + SIGTERM);
}

TEST(Process, IsBroughtToItsEndWhereThatIsWanted) {
    const std::vector<std::string> program{"sh", "-c", "kill -INT $$; kill -TERM $$; kill -HUP $$; echo end"};
    EXPECT_EQ(run_process(program)->status, 128 + SIGINT);
    EXPECT_EQ(run_process(program, {.input = {}, .to_its_end = true})->output, "end\n");
}

TEST(Process, MissingProgramIsAnError) {
    const auto result = run_process({"/nonexistent/program"});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ENOENT);
    EXPECT_EQ(result.error().message, "cannot run /nonexistent/program: No such file or directory");
}

TEST(Process, ArgumentsAreNotReadByAShell) {
    const auto result = run_process({"printf", "%s", "$(echo no) `echo no` ; * \""});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output, "$(echo no) `echo no` ; * \"");
}

TEST(Process, CarriesMoreThanPipesHold) {
    const std::string much(5 << 20, 'x');
    const auto result = run_process({"cat"}, {.input = much, .keep_terminal = false});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output, much);
}

TEST(Process, InputThatNobodyReads) {
    const std::string much(5 << 20, 'x');
    ::signal(SIGPIPE, SIG_IGN);
    const auto result = run_process({"true"}, {.input = much, .keep_terminal = false});
    ASSERT_TRUE(result);
    EXPECT_TRUE(result->ok());
}

TEST(Process, WithoutInputThereIsNone) {
    const auto result = run_process({"cat"});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output, "");
}

// A daemon keeps our pipes open in the background; it is not waited for.
TEST(Process, WaitsForTheProgramOnly) {
    const auto result = run_process({"sh", "-c", "sleep 20 & echo $!"});
    ASSERT_TRUE(result);
    ASSERT_FALSE(result->output.empty());
    EXPECT_EQ(::kill(std::stoi(result->output), SIGTERM), 0);  // it runs still
}

TEST(Process, FindsProgramsByPath) {
    EXPECT_FALSE(find_program("sh").empty());
    EXPECT_EQ(find_program("sh").front(), '/');
    EXPECT_EQ(find_program("no-such-program-here"), "");
}

}  // namespace
}  // namespace vern
