// A data plane that only keeps what it is given, and a clock that a test moves.
#pragma once

#include "control/policy/control.h"

namespace vern::policy::test {

class FakePlane final : public DataPlane {
  public:
    ClockPair now() const override { return clock; }
    unsigned workers() const override { return 1; }
    Result<void> publish(std::unique_ptr<const Policy> policy) override {
        if (refuse) return fail("no memory", ENOMEM);
        ++publications;
        published = std::move(policy);
        return {};
    }
    std::vector<PublicKey> peers() const override { return {}; }
    void set_admission(Admission given) override { admission = std::move(given); }
    std::uint64_t live_flows() const override { return 0; }
    std::vector<RuleCounts> counts() const override {
        return published ? std::vector<RuleCounts>(published->rules().rules.size() + 1)
                         : std::vector<RuleCounts>{};
    }
    Standing standing(const Question& question) const override {
        return standing_of ? standing_of(question) : Standing{};
    }
    std::optional<Explanation> explain(const Question&) const override { return explanation; }
    void each_flow(const std::function<bool(const Flow&, const PublicKey&)>& take) const override {
        for (const auto& [flow, peer] : flows)
            if (!take(flow, peer)) return;
    }

    void pass(std::chrono::seconds time) {
        clock.wall += time;
        clock.boot += time;
    }

    ClockPair clock{WallTime(std::chrono::seconds(1'800'000'000)), Instant(std::chrono::hours(1))};
    std::unique_ptr<const Policy> published;
    Admission admission;
    std::optional<Explanation> explanation;
    std::function<Standing(const Question&)> standing_of;
    std::vector<std::pair<Flow, PublicKey>> flows;
    int publications = 0;
    bool refuse = false;
};

}  // namespace vern::policy::test
