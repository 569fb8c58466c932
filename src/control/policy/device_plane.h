// The data plane of a running device, as the policy's control asks for it.
#pragma once

#include "control/policy/control.h"
#include "dataplane/core/device.h"

namespace vern::policy {

class DevicePlane final : public DataPlane {
  public:
    explicit DevicePlane(Device& device) : device_(device) {}  // which must outlive it

    ClockPair now() const override;
    unsigned workers() const override { return device_.workers(); }
    Result<void> publish(std::unique_ptr<const Policy> policy) override {
        return device_.set_policy(std::move(policy));
    }
    std::vector<PublicKey> peers() const override;
    void set_admission(Admission admission) override;
    std::uint64_t live_flows() const override { return device_.flow_count(); }
    std::vector<RuleCounts> counts() const override { return device_.policy_counts(); }
    Standing standing(const Question& question) const override;
    std::optional<Explanation> explain(const Question& question) const override;
    void each_flow(const std::function<bool(const Flow&, const PublicKey& peer)>& take) const override;

  private:
    Device& device_;
};

}  // namespace vern::policy
