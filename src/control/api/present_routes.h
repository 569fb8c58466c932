// What peers ask through the tunnel: an invitation to prove who they are, and that their proof be taken.
#pragma once

#include "control/api/router.h"
#include "control/identity/identities.h"

namespace vern::api {

// `tls_key`: of the listener's certificate, which clients pin. `identities` must outlive the router.
void add_present_routes(Router& router, identity::Identities& identities, std::string tls_key);

}  // namespace vern::api
