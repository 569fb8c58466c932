// Which proven identities a rule is for: "ssh:principal=dba", "x509:ou=DBA;ca=corp". Every condition must
// hold. Values; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/trust/identity.h"
#include "crypto/error.h"

namespace vern::policy {

inline constexpr std::size_t kConditionsMax = 8;

struct Selector {
    enum class Field : std::uint8_t {
        principal,    // ssh: one of the certificate's that is accepted here
        key_id,       // ssh
        common_name,  // x509
        org_unit,     // x509: one of them
        alternative,  // x509: "dns:web-1.example.org", "email:ada@example.org"
        issuer,       // ssh: the CA's fingerprint; x509: RFC 2253 name
        serial,       // decimal for ssh, hexadecimal for x509
        group,        // one of those that the trusted CA gives
        authority,    // the name under which the CA is trusted here
    };
    struct Condition {
        Field field = Field::principal;
        std::string value;
        friend auto operator<=>(const Condition&, const Condition&) = default;
    };
    trust::Identity::Kind kind = trust::Identity::Kind::ssh;
    std::vector<Condition> conditions;  // sorted, at least one
    friend auto operator<=>(const Selector&, const Selector&) = default;
};

// Is it written as one, right or wrong?
bool is_selector(std::string_view text);
Result<Selector> parse_selector(std::string_view text);
std::string to_text(const Selector& selector);

bool matches(const Selector& selector, const trust::Identity& identity);
// The least that it matches; for tests of a policy.
trust::Identity example_of(const Selector& selector);

}  // namespace vern::policy
