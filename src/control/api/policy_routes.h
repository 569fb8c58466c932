// /v1/policy, /v1/flows and /v1/explain: what the control API asks of a daemon's policy.
#pragma once

#include "control/api/router.h"
#include "control/policy/control.h"

namespace vern::api {

void add_policy_routes(Router& router, policy::Control& control);  // which must outlive the router

}  // namespace vern::api
