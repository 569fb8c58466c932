#include "control/trust/signature_algorithm.h"

#include <openssl/rsa.h>

#include <algorithm>
#include <array>
#include <memory>

#include "control/trust/openssl_handles.h"

namespace vern::trust {
namespace {

using PssPtr = std::unique_ptr<RSA_PSS_PARAMS, OpensslFree<RSA_PSS_PARAMS_free>>;

// Absent hashes are SHA-1 (RFC 4055 3.1).
bool is_strong_pss(const X509_ALGOR& algorithm) noexcept {
    int type = V_ASN1_UNDEF;
    const void* value = nullptr;
    X509_ALGOR_get0(nullptr, &type, &value, &algorithm);
    if (type != V_ASN1_SEQUENCE) return false;
    const auto* const sequence = static_cast<const ASN1_STRING*>(value);
    const unsigned char* at = ASN1_STRING_get0_data(sequence);
    const PssPtr pss(d2i_RSA_PSS_PARAMS(nullptr, &at, ASN1_STRING_length(sequence)));
    if (!pss || !pss->hashAlgorithm) return false;
    const ASN1_OBJECT* hash = nullptr;
    X509_ALGOR_get0(&hash, nullptr, nullptr, pss->hashAlgorithm);
    return is_strong_hash(OBJ_obj2nid(hash));
}

}  // namespace

bool is_strong_hash(int nid) noexcept {
    constexpr std::array kStrong{NID_sha256,   NID_sha384,   NID_sha512,  NID_sha512_256,
                                 NID_sha3_256, NID_sha3_384, NID_sha3_512};
    return std::find(kStrong.begin(), kStrong.end(), nid) != kStrong.end();
}

bool is_strong_signature(const X509_ALGOR& algorithm) noexcept {
    const ErrorQueueScope scope;
    const ASN1_OBJECT* object = nullptr;
    X509_ALGOR_get0(&object, nullptr, nullptr, &algorithm);
    const int nid = OBJ_obj2nid(object);
    if (nid == NID_ED25519 || nid == NID_ED448) return true;
    if (nid == NID_rsassaPss) return is_strong_pss(algorithm);
    int hash = NID_undef, key = NID_undef;
    return OBJ_find_sigid_algs(nid, &hash, &key) == 1 && is_strong_hash(hash);
}

}  // namespace vern::trust
