// Why a proof of identity is not taken: a stable code for programs, and a sentence for people that holds no
// secrets. Both go into answers and into the audit trail.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace vern::trust {

enum class Refusal : std::uint8_t {
    malformed,  // not what the format says: truncated, trailing bytes, wrong order, not DER
    too_large,
    expired,
    not_yet_valid,
    unknown_ca,
    bad_signature,
    unknown_critical,  // a critical option or extension that cannot be enforced here
    empty_principals,
    principal,  // no principal of the certificate is accepted
    cert_type,  // a host's certificate where a user's is due
    weak_key,
    weak_hash,
    ca_is_cert,  // a certificate in the place of a CA key
    revoked,
    krl_invalid,
    crl_invalid,
    crl_expired,
    namespace_,  // a signature made for another purpose
    audience,    // for another daemon
    nonce,       // unknown, used, or too old
    no_peer,     // of nobody who is a peer here
    peer_key,    // names another peer than the one it came from
    statement_expired,
    key_mismatch,    // certificate and signature are of different keys
    duplicate,       // bound to another peer already
    source_address,  // the certificate is good for other addresses only
    chain,
    purpose,
    not_ca,
    path_length,
    name_constraint,
    limit,  // more than is kept here
};

// As it is written in answers and records: "not-yet-valid". Stable.
std::string_view refusal_code(Refusal refusal) noexcept;

struct Refused {
    Refusal code = Refusal::malformed;
    std::string sentence;
};

// What was found in a file that has a name.
inline Refused in_file(std::string_view file, Refused why) {
    if (!file.empty()) why.sentence.insert(0, std::string(file) + ": ");
    return why;
}

template <typename T>
using Verdict = tl::expected<T, Refused>;

inline tl::unexpected<Refused> refuse(Refusal code, std::string sentence) {
    return tl::unexpected<Refused>(Refused{code, std::move(sentence)});
}

}  // namespace vern::trust
