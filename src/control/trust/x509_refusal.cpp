#include "control/trust/x509_refusal.h"

#include <openssl/x509_vfy.h>

#include "control/trust/certificate.h"

namespace vern::trust {
namespace {

Refusal code_of(int error) noexcept {
    switch (error) {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_CERT_UNTRUSTED:
        case X509_V_ERR_CERT_REJECTED:
        case X509_V_ERR_DANE_NO_MATCH: return Refusal::unknown_ca;

        case X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        case X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY:
        case X509_V_ERR_NO_ISSUER_PUBLIC_KEY:
        case X509_V_ERR_UNSUPPORTED_SIGNATURE_ALGORITHM:
        case X509_V_ERR_SIGNATURE_ALGORITHM_MISMATCH:
        case X509_V_ERR_SIGNATURE_ALGORITHM_INCONSISTENCY: return Refusal::bad_signature;

        case X509_V_ERR_CERT_NOT_YET_VALID: return Refusal::not_yet_valid;
        case X509_V_ERR_CERT_HAS_EXPIRED: return Refusal::expired;

        case X509_V_ERR_CERT_REVOKED: return Refusal::revoked;
        case X509_V_ERR_CRL_HAS_EXPIRED: return Refusal::crl_expired;
        case X509_V_ERR_UNABLE_TO_GET_CRL:
        case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
        case X509_V_ERR_CRL_SIGNATURE_FAILURE:
        case X509_V_ERR_CRL_NOT_YET_VALID:
        case X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD:
        case X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD:
        case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
        case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
        case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
        case X509_V_ERR_DIFFERENT_CRL_SCOPE:
        case X509_V_ERR_CRL_PATH_VALIDATION_ERROR:
        case X509_V_ERR_OCSP_VERIFY_NEEDED:
        case X509_V_ERR_OCSP_VERIFY_FAILED:
        case X509_V_ERR_OCSP_CERT_UNKNOWN: return Refusal::crl_invalid;

        case X509_V_ERR_PATH_LENGTH_EXCEEDED:
        case X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED: return Refusal::path_length;
        case X509_V_ERR_INVALID_PURPOSE:
        case X509_V_ERR_KEYUSAGE_NO_DIGITAL_SIGNATURE: return Refusal::purpose;
        case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
        case X509_V_ERR_INVALID_CA:
        case X509_V_ERR_INVALID_NON_CA:
        case X509_V_ERR_CA_BCONS_NOT_CRITICAL:
        case X509_V_ERR_CA_CERT_MISSING_KEY_USAGE: return Refusal::not_ca;
        case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
        case X509_V_ERR_PROXY_CERTIFICATES_NOT_ALLOWED:
        case X509_V_ERR_NO_EXPLICIT_POLICY:
        case X509_V_ERR_UNSUPPORTED_EXTENSION_FEATURE: return Refusal::unknown_critical;
        case X509_V_ERR_EE_KEY_TOO_SMALL:
        case X509_V_ERR_CA_KEY_TOO_SMALL:
        case X509_V_ERR_EC_KEY_EXPLICIT_PARAMS: return Refusal::weak_key;
        case X509_V_ERR_CA_MD_TOO_WEAK: return Refusal::weak_hash;
        case X509_V_ERR_PERMITTED_VIOLATION:
        case X509_V_ERR_EXCLUDED_VIOLATION:
        case X509_V_ERR_SUBTREE_MINMAX:
        case X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE:
        case X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX:
        case X509_V_ERR_UNSUPPORTED_NAME_SYNTAX:
        case X509_V_ERR_UNNESTED_RESOURCE:
        case X509_V_ERR_PROXY_SUBJECT_NAME_VIOLATION: return Refusal::name_constraint;

        case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
        case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
        case X509_V_ERR_INVALID_EXTENSION:
        case X509_V_ERR_INVALID_POLICY_EXTENSION:
        case X509_V_ERR_PATHLEN_INVALID_FOR_NON_CA:
        case X509_V_ERR_PATHLEN_WITHOUT_KU_KEY_CERT_SIGN:
        case X509_V_ERR_KU_KEY_CERT_SIGN_INVALID_FOR_NON_CA:
        case X509_V_ERR_ISSUER_NAME_EMPTY:
        case X509_V_ERR_SUBJECT_NAME_EMPTY:
        case X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER:
        case X509_V_ERR_MISSING_SUBJECT_KEY_IDENTIFIER:
        case X509_V_ERR_EMPTY_SUBJECT_ALT_NAME:
        case X509_V_ERR_EMPTY_SUBJECT_SAN_NOT_CRITICAL:
        case X509_V_ERR_AUTHORITY_KEY_IDENTIFIER_CRITICAL:
        case X509_V_ERR_SUBJECT_KEY_IDENTIFIER_CRITICAL:
        case X509_V_ERR_EXTENSIONS_REQUIRE_VERSION_3: return Refusal::malformed;

        // CERT_CHAIN_TOO_LONG, PATH_LOOP, the mismatches of issuer and subject, and what only options that
        // are not set here can lead to (suite B, host names, transparency logs), or a lack of memory.
        default: return Refusal::chain;
    }
}

}  // namespace

Refused refused_by_openssl(int error, const X509* at) {
    const std::string subject = at ? subject_text(at) : "certificate";
    return {code_of(error), subject + ": " + X509_verify_cert_error_string(error)};
}

int openssl_error_of(Refusal refusal) noexcept {
    switch (refusal) {
        case Refusal::expired:
        case Refusal::not_yet_valid: return X509_V_ERR_CERT_HAS_EXPIRED;
        case Refusal::crl_expired: return X509_V_ERR_CRL_HAS_EXPIRED;
        case Refusal::unknown_ca: return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
        case Refusal::chain:
        case Refusal::path_length: return X509_V_ERR_PATH_LENGTH_EXCEEDED;
        case Refusal::not_ca: return X509_V_ERR_INVALID_CA;
        case Refusal::bad_signature: return X509_V_ERR_CERT_SIGNATURE_FAILURE;
        case Refusal::purpose: return X509_V_ERR_INVALID_PURPOSE;
        case Refusal::revoked: return X509_V_ERR_CERT_REVOKED;
        case Refusal::limit: return X509_V_ERR_OUT_OF_MEM;
        default: return X509_V_ERR_CERT_REJECTED;
    }
}

}  // namespace vern::trust
