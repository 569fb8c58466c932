#include "control/trust/refusal.h"

namespace vern::trust {

std::string_view refusal_code(Refusal refusal) noexcept {
    switch (refusal) {
        case Refusal::malformed: return "malformed";
        case Refusal::too_large: return "too-large";
        case Refusal::expired: return "expired";
        case Refusal::not_yet_valid: return "not-yet-valid";
        case Refusal::unknown_ca: return "unknown-ca";
        case Refusal::bad_signature: return "bad-signature";
        case Refusal::unknown_critical: return "unknown-critical";
        case Refusal::empty_principals: return "empty-principals";
        case Refusal::principal: return "principal";
        case Refusal::cert_type: return "cert-type";
        case Refusal::weak_key: return "weak-key";
        case Refusal::weak_hash: return "weak-hash";
        case Refusal::ca_is_cert: return "ca-is-cert";
        case Refusal::revoked: return "revoked";
        case Refusal::krl_invalid: return "krl-invalid";
        case Refusal::crl_invalid: return "crl-invalid";
        case Refusal::crl_expired: return "crl-expired";
        case Refusal::namespace_: return "namespace";
        case Refusal::audience: return "audience";
        case Refusal::nonce: return "nonce";
        case Refusal::no_peer: return "no-peer";
        case Refusal::peer_key: return "peer-key";
        case Refusal::statement_expired: return "statement-expired";
        case Refusal::key_mismatch: return "key-mismatch";
        case Refusal::duplicate: return "duplicate";
        case Refusal::source_address: return "source-address";
        case Refusal::chain: return "chain";
        case Refusal::purpose: return "purpose";
        case Refusal::not_ca: return "not-ca";
        case Refusal::path_length: return "path-length";
        case Refusal::name_constraint: return "name-constraint";
        case Refusal::limit: return "limit";
    }
    return "malformed";
}

}  // namespace vern::trust
