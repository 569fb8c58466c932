// What happens on the packet path and is only counted there: handshakes that fail, limits that are hit, peers
// that are heard from elsewhere. Looked at every few seconds, so that a flood makes a line and not a million.
// A value of the control thread; reads no clock.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/audit/record.h"
#include "crypto/instant.h"
#include "crypto/keys.h"
#include "dataplane/base/counters.h"
#include "dataplane/core/config.h"

namespace vern::audit {

class Watch {
  public:
    static constexpr Duration kInterval = std::chrono::seconds(10);
    static constexpr std::size_t kRoamedMost = 64;  // told one by one at a time; the rest is counted

    using Tell = std::function<void(Record)>;
    using Count = std::function<std::uint64_t(Counter)>;
    using NameOf = std::function<std::string(const PublicKey&)>;  // in the policy; empty: it has none

    // Counters begin at zero.
    Watch(Tell tell, Instant now) : tell_(std::move(tell)), next_(now + kInterval) {}

    Instant deadline() const { return next_; }
    void look(Instant now, WallTime wall, const Count& count, const std::vector<PeerStatus>& peers,
              const NameOf& name_of);

  private:
    void look_at_counters(WallTime wall, const Count& count);
    void look_at_endpoints(WallTime wall, const std::vector<PeerStatus>& peers, const NameOf& name_of);

    Tell tell_;
    Instant next_;
    std::array<std::uint64_t, kCounterCount> counted_{};
    std::map<PublicKey, Endpoint> places_;
};

}  // namespace vern::audit
