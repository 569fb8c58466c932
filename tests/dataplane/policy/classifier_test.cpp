// The tables alone: what the policy's own tests do not reach.
#include "dataplane/policy/classifier_builder.h"

#include "policies.h"

namespace vern::policy {
namespace {

using test::prefix;
using vern::test::v4;

// A port range that is lost at the limit would be a rule that is not there.
TEST(Classifier, WhatDoesNotFitIsRefusedWhole) {
    Rule reject;
    reject.remote = {prefix(v4(10, 0, 0, 1), 32), prefix(v4(10, 0, 0, 2), 32)};
    Rule deny = reject;
    reject.services = {{6, 80, 80}};
    deny.services = {{6, 0, 65535}};
    const std::vector<ClassifierBuilder::Ranked> rules{{0, &reject}, {1, &deny}};
    bool fitted = false;
    for (std::size_t max = 1; max < 12; ++max) {
        ClassifierBuilder builder;
        const auto set = builder.add(rules, max);
        EXPECT_TRUE(set || !fitted) << max << ": what fits a smaller table fits this one";
        if (!set) continue;
        fitted = true;
        const auto list = builder.list(std::array{*set});
        const auto classifier = std::move(builder).finish();
        ASSERT_TRUE(classifier);
        for (const auto& address : reject.remote)
            for (const std::uint16_t port : std::array<std::uint16_t, 4>{22, 80, 443, 65535}) {
                FlowKey key;
                key.remote = address.address.bytes;
                key.protocol = 6;
                EXPECT_EQ(classifier->match({list, 0}, key, port, Classifier::kNone), port == 80 ? 0U : 1U)
                    << "limit " << max << ", port " << port;
            }
    }
    EXPECT_TRUE(fitted);
}

}  // namespace
}  // namespace vern::policy
