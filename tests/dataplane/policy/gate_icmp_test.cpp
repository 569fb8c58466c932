// Which ICMP errors are related to a live flow.
#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

class RelatedIcmp : public GateTest {};

TEST_F(RelatedIcmp, AnErrorThatQuotesALiveFlowPasses) {
    for (const bool with_v6 : {false, true}) {
        use({allow_in({udp_port(53)}), allow_out({tcp_port(443)})});
        const std::vector<std::uint8_t> types =
            with_v6 ? std::vector<std::uint8_t>{1, 2, 3, 4} : std::vector<std::uint8_t>{3, 11, 12};
        ASSERT_TRUE(in(udp(kIn, 40000, 53, with_v6)));
        ASSERT_TRUE(out(tcp(kOut, kSyn, 443, 50000, with_v6)));
        for (const std::uint8_t type : types) {
            EXPECT_TRUE(out(error(kOut, udp(kIn, 40000, 53, with_v6), type))) << int{type};
            EXPECT_TRUE(in(error(kIn, udp(kOut, 40000, 53, with_v6), type))) << int{type};
            EXPECT_TRUE(in(error(kIn, tcp(kOut, kAck, 443, 50000, with_v6), type))) << int{type};
            EXPECT_TRUE(out(error(kOut, tcp(kIn, kAck, 443, 50000, with_v6), type))) << int{type};
        }
    }
}

TEST_F(RelatedIcmp, AnErrorThatQuotesNoFlowDoesNotPassWhateverTheRules) {
    use({allow_in(), allow_out()});
    ASSERT_TRUE(out(udp(kOut)));
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut, 40001), 3, 3)), "policy_icmp_unrelated");
    EXPECT_EQ(why(kIn, error(kIn, udp(kIn), 3, 3)),
              "policy_icmp_unrelated");  // quotes what went the same way
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 3, 27)), "policy_icmp_unrelated");  // too little to tell
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 3, 0)), "policy_icmp_unrelated");
    Bytes elsewhere = error(kIn, udp(kOut), 3, 3);
    elsewhere[19] = std::byte{77};  // to a host that did not send it
    EXPECT_EQ(why(kIn, elsewhere), "policy_icmp_unrelated");
    EXPECT_TRUE(in(error(kIn, udp(kOut), 3, 3)));
    now += seconds(200);
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 3)), "policy_icmp_unrelated");
}

TEST_F(RelatedIcmp, AnErrorIsRelatedOnlyThroughThePeerThatCarriesTheFlow) {
    use({allow_in(), allow_out()});
    ASSERT_TRUE(out(udp(kOut), kPeer));
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 4), kOther), "policy_icmp_unrelated");
    EXPECT_TRUE(in(error(kIn, udp(kOut), 3, 4), kPeer));
}

TEST_F(RelatedIcmp, RedirectsNeverPass) {
    use({allow_in(), allow_out()});
    ASSERT_TRUE(out(udp(kOut)));
    ASSERT_TRUE(out(udp(kOut, 40000, 53, true)));
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 5, 1)), "policy_icmp_unrelated");
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut, 40000, 53, true), 137)), "policy_icmp_unrelated");
}

TEST_F(RelatedIcmp, AnErrorKeepsNoFlowAlive) {
    use({allow_out()});
    out(udp(kOut));
    now += seconds(29);
    EXPECT_TRUE(in(error(kIn, udp(kOut), 3, 1)));
    now += seconds(1);
    EXPECT_FALSE(in(udp(kIn)));
}

TEST_F(RelatedIcmp, AnErrorAboutAFlowThatIsNoLongerAllowedCutsIt) {
    use({allow_out()});
    out(udp(kOut));
    use(nothing());
    EXPECT_EQ(why(kIn, error(kIn, udp(kOut), 3, 1)), "policy_flow_cut");
    EXPECT_EQ(tables->flows->size(), 0U);
}

TEST_F(RelatedIcmp, AnErrorAboutAPingIsRelated) {
    use({allow_out()});
    out(echo(kOut, true));
    EXPECT_TRUE(in(error(kIn, echo(kOut, true), 3, 1)));
    EXPECT_FALSE(in(error(kIn, echo(kOut, true, 6), 3, 1)));
    EXPECT_FALSE(out(error(kOut, echo(kIn, true), 3, 1)));
    EXPECT_FALSE(in(error(kIn, error(kOut, udp(kIn), 3), 3, 1)));  // nobody answers errors with errors
}

}  // namespace
}  // namespace vern::policy
