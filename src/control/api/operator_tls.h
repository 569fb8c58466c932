// The control API over TCP, for operators with certificates: TLS 1.3 alone, and what a certificate may is
// said by its fields. Made once, at the start.
#pragma once

#include <string>
#include <vector>

#include "control/api/server.h"
#include "control/policy/selector.h"
#include "control/trust/tls_trust.h"

namespace vern::api {

struct OperatorTls {
    IpAddress address;
    std::uint16_t port = 0;
    trust::TlsFiles files;
    std::string ca_file;                    // PEM: whose certificates may be operators'
    std::vector<policy::Selector> writers;  // who may change things
    std::vector<policy::Selector> readers;  // who may look
};

// Before server.start(). Answers the port. Errors name the file, and what is wrong with it.
Result<std::uint16_t> listen_for_operators(Server& server, const OperatorTls& options);

}  // namespace vern::api
