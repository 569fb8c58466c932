// /v1/identities, /v1/trust and /v1/whois: what the control API asks of who the peers are.
#pragma once

#include <functional>

#include "control/api/router.h"
#include "control/identity/identities.h"

namespace vern::api {

using NameOf = std::function<std::string(const PublicKey& peer)>;  // in the policy; empty: it has none

struct IdentitySource {
    identity::Identities& identities;
    const identity::Peers& peers;
    NameOf name_of;
};

// All of it must outlive the router.
void add_identity_routes(Router& router, IdentitySource source);

}  // namespace vern::api
