// /v1/interface, /v1/peers and /metrics: what the control API tells of the interface itself. No secrets.
#pragma once

#include <functional>

#include "control/api/metrics.h"
#include "control/api/router.h"
#include "dataplane/core/config.h"

namespace vern::api {

// What stands behind them; must outlive the router. Control thread only.
class InterfaceSource {
  public:
    virtual ~InterfaceSource() = default;
    virtual nlohmann::json interface_facts() = 0;  // engine, offloads, counters, ...: as `vern show --json`
    virtual DeviceStatus device_status() = 0;
    virtual Measured measured() = 0;
};

void add_interface_routes(Router& router, std::string_view interface, InterfaceSource& source);

}  // namespace vern::api
