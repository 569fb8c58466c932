// TCP's states, step by step.
#include "dataplane/policy/flow_state.h"

#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;
using enum FlowState;

struct Step {
    FlowState from;
    bool by_initiator;
    std::uint8_t flags;
    FlowState to;
    TcpStep step;
};

TEST(PolicyTcp, StateTable) {
    constexpr auto kPass = TcpStep::pass, kDrop = TcpStep::drop, kAnew = TcpStep::begin_anew,
                   kOther = TcpStep::other_opens;
    constexpr bool kHere = true, kThere = false;
    const Step table[] = {
        {syn_sent, kHere, kSyn, syn_sent, kPass},  // sent again
        {syn_sent, kThere, kSynAck, syn_received, kPass},
        {syn_sent, kThere, kSyn, syn_sent, kOther},  // simultaneous open
        {syn_sent, kHere, kAck, syn_sent, kDrop},    // acknowledges nothing
        {syn_sent, kHere, kFinAck, syn_sent, kDrop},
        {syn_sent, kHere, kSynAck, syn_sent, kDrop},
        {syn_sent, kThere, kAck, syn_sent, kPass},  // from a host that has the old connection still
        {syn_sent, kThere, kFinAck, syn_sent, kDrop},
        {syn_sent, kThere, kRst | kAck, closed, kPass},
        {syn_sent, kHere, kRst, closed, kPass},
        {syn_received, kHere, kSyn, syn_received, kPass},
        {syn_received, kThere, kSynAck, syn_received, kPass},
        {syn_received, kHere, kAck, established, kPass},
        {syn_received, kThere, kAck, syn_received, kPass},
        {syn_received, kHere, kFinAck, fin_wait, kPass},
        {syn_received, kThere, kRst, closed, kPass},
        {established, kHere, kAck, established, kPass},
        {established, kThere, kAck, established, kPass},
        {established, kThere, kSynAck, established, kPass},  // sent again
        {established, kHere, kSynAck, established, kDrop},
        {established, kHere, kSyn, established, kPass},
        {established, kThere, kSyn, established, kOther},
        {established, kHere, kFinAck, fin_wait, kPass},
        {established, kThere, kFinAck, close_wait, kPass},
        {established, kThere, kRst, closed, kPass},
        {fin_wait, kHere, kFinAck, fin_wait, kPass},
        {fin_wait, kThere, kAck, fin_wait, kPass},
        {fin_wait, kThere, kFinAck, last_ack, kPass},
        {close_wait, kThere, kFinAck, close_wait, kPass},
        {close_wait, kHere, kFinAck, last_ack, kPass},
        {last_ack, kHere, kAck, time_wait, kPass},
        {last_ack, kThere, kFinAck, last_ack, kPass},
        {last_ack, kThere, kSyn, last_ack, kOther},
        {time_wait, kHere, kAck, time_wait, kPass},
        {time_wait, kHere, kSyn, time_wait, kAnew},
        {time_wait, kThere, kSyn, time_wait, kAnew},
        {closed, kHere, kSyn, closed, kAnew},
        {closed, kThere, kSyn, closed, kAnew},
        {closed, kHere, kAck, closed, kPass},
        {picked_up, kHere, kAck, picked_up, kPass},
        {picked_up, kThere, kAck, established, kPass},
        {picked_up, kThere, kFinAck, close_wait, kPass},
        {picked_up, kThere, kSyn, picked_up, kOther},
    };
    for (const Step& one : table) {
        FlowState state = one.from;
        EXPECT_EQ(tcp_step(state, one.by_initiator, one.flags), one.step)
            << name_of(one.from) << " flags " << int{one.flags} << " by " << one.by_initiator;
        EXPECT_EQ(state, one.to) << name_of(one.from) << " flags " << int{one.flags} << " by "
                                 << one.by_initiator;
    }
}

TEST(PolicyTcp, FlagsThatMeanSomething) {
    unsigned valid = 0;
    for (unsigned flags = 0; flags < 64; ++flags)
        valid += tcp_flags_valid(static_cast<std::uint8_t>(flags)) ? 1 : 0;
    EXPECT_EQ(valid, 6U * 4);  // with and without PSH and URG
    EXPECT_FALSE(tcp_flags_valid(0));
    EXPECT_FALSE(tcp_flags_valid(kFin));
    EXPECT_FALSE(tcp_flags_valid(kSyn | kFin));
    EXPECT_FALSE(tcp_flags_valid(kSyn | kRst));
    EXPECT_FALSE(tcp_flags_valid(0xff));
    EXPECT_TRUE(tcp_flags_valid(kSyn | 0xc0));  // asks for ECN
    EXPECT_TRUE(opens(kSyn | 0xc0));
    EXPECT_FALSE(opens(kSynAck));
}

TEST(PolicyTcp, Timeouts) {
    using std::chrono::hours;
    EXPECT_EQ(timeout_of(syn_sent, 6), seconds(120));
    EXPECT_EQ(timeout_of(syn_received, 6), seconds(60));
    EXPECT_EQ(timeout_of(established, 6), hours(24));
    EXPECT_EQ(timeout_of(fin_wait, 6), seconds(120));
    EXPECT_EQ(timeout_of(last_ack, 6), seconds(30));
    EXPECT_EQ(timeout_of(time_wait, 6), seconds(120));
    EXPECT_EQ(timeout_of(closed, 6), seconds(10));
    EXPECT_EQ(timeout_of(unanswered, 17), seconds(30));
    EXPECT_EQ(timeout_of(answered, 17), seconds(120));
    EXPECT_EQ(timeout_of(answered, 1), seconds(30));
    EXPECT_EQ(timeout_of(answered, 58), seconds(30));
    EXPECT_EQ(timeout_of(unanswered, 47), seconds(30));
    EXPECT_EQ(timeout_of(answered, 47), seconds(600));
}

}  // namespace
}  // namespace vern::policy
