// The binding statement: the signer says that a WireGuard key is theirs, to one daemon, once, until a time.
// One line of JSON with these keys in this order and nothing else, ended by LF:
//   {"version":1,"wg":"<base64, 32 bytes>","audience":"<base64, 32 bytes>","nonce":"<base64, 16 bytes>",
//    "not_after":<unix seconds>}
// (without the line break shown here). These bytes are what is signed, so they have one spelling.
//
// Threads: any.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "control/trust/identity.h"
#include "control/trust/refusal.h"
#include "crypto/keys.h"

namespace vern::trust {

inline constexpr std::size_t kStatementBytesMax = 1024;
inline constexpr std::size_t kNonceBytes = 16;

struct Statement {
    PublicKey wg;        // the peer's
    PublicKey audience;  // the daemon's
    std::array<std::byte, kNonceBytes> nonce{};
    UnixSeconds not_after = 0;  // the first second that it is no longer good; 0 to the end of the year 9999

    friend bool operator==(const Statement&, const Statement&) = default;
};

std::string encode_statement(const Statement& statement);

// Refuses with `malformed` or `too_large`. What the statement says is not judged here: whose key, which
// audience, whether the nonce is known, whether it has ended.
Verdict<Statement> parse_statement(std::string_view text);

}  // namespace vern::trust
