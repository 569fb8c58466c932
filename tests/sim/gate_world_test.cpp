// No denied flow passes a hub: thousands of packets a world against a plain model, and each thing that could
// go wrong is seen when it is done on purpose.
#include "gate_world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace vern::sim {
namespace {

TEST(GateWorlds, NothingPassesThatTheModelCannotJustify) {
    GateOutcome all;
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
        const GateOutcome one = run_gate_world(seed);
        ASSERT_FALSE(one.violation) << "seed " << seed << ": " << one.violation->invariant << ", "
                                    << one.violation->message;
        all.passed += one.passed;
        all.denied += one.denied;
        all.rejected += one.rejected;
        all.forwarded += one.forwarded;
        all.errors_passed += one.errors_passed;
        all.fragments_passed += one.fragments_passed;
        all.picked_up += one.picked_up;
        all.tokens += one.tokens;
        all.restarts += one.restarts;
    }
    // What never happens is not tested.
    for (const std::uint64_t seen : {all.passed, all.denied, all.rejected, all.forwarded, all.errors_passed,
                                     all.fragments_passed, all.picked_up, all.tokens, all.restarts})
        EXPECT_GT(seen, 100u);
}

struct Planted {
    const char* name;
    Plant plant;
    std::vector<std::string_view> seen_by;  // any of these: some break several things
};
class GateDefects : public ::testing::TestWithParam<Planted> {};

TEST_P(GateDefects, IsSeen) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        const GateOutcome outcome = run_gate_world(seed, GetParam().plant);
        if (!outcome.violation) continue;
        const auto& expected = GetParam().seen_by;
        EXPECT_NE(std::ranges::find(expected, outcome.violation->invariant), expected.end())
            << "seed " << seed << ": " << outcome.violation->invariant << ", " << outcome.violation->message;
        const GateOutcome again = run_gate_world(seed, GetParam().plant);
        ASSERT_TRUE(again.violation);
        EXPECT_EQ(again.violation->message, outcome.violation->message);
        return;
    }
    FAIL() << "not seen";
}

INSTANTIATE_TEST_SUITE_P(
    Each, GateDefects,
    ::testing::Values(Planted{"DenyNotTold", Plant::deny_not_told, {"policy"}},
                      Planted{"ChangeNotTold", Plant::change_not_told, {"policy", "reject"}},
                      Planted{"RateNotTold", Plant::rate_not_told, {"rate"}},
                      Planted{"CapNotTold", Plant::cap_not_told, {"cap"}},
                      Planted{"PickUpStays", Plant::pick_up_stays, {"pick-up"}},
                      Planted{"WrongCarrier", Plant::wrong_carrier, {"related"}},
                      Planted{"FragmentsAsWhole", Plant::fragments_as_whole, {"fragment"}},
                      Planted{"OutNotAsked", Plant::out_not_asked, {"hub"}},
                      Planted{"AnswerToTarget", Plant::answer_to_target, {"answer"}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace vern::sim
