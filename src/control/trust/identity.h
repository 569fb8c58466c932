// Who a certificate says that somebody is, until when. A value: nothing of it is trusted further than the
// verification that made it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vern::trust {

// Seconds since 1970 UTC, as certificates count.
using UnixSeconds = std::int64_t;

struct Identity {
    enum class Kind : std::uint8_t { ssh, x509 };
    Kind kind = Kind::ssh;
    std::string
        issuer;  // ssh: the CA key's fingerprint, "SHA256:…" as ssh-keygen -l prints it; x509: RFC 2253 name
    std::string serial;  // ssh: decimal; x509: lower-case hexadecimal without leading zeros
    std::string
        key;  // fingerprint of the certified key: ssh as above; x509 "SHA256:" + hexadecimal of the SPKI's
    UnixSeconds not_before = 0;
    UnixSeconds not_after = 0;  // the first second that it is no longer good; the least of the whole chain

    std::string key_id;                   // ssh
    std::vector<std::string> principals;  // ssh, those that are accepted here

    std::string common_name;                // x509
    std::vector<std::string> org_units;     // x509
    std::vector<std::string> alternatives;  // x509: "dns:…", "email:…", "uri:…", "ip:…"

    std::string authority;  // the name under which its CA is trusted here
    std::vector<std::string>
        groups;  // that everybody of this CA is in, as the operator said when trusting it

    friend bool operator==(const Identity&, const Identity&) = default;
};

}  // namespace vern::trust
