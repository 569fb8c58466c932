#include "control/api/present_routes.h"

#include <openssl/evp.h>

#include "control/api/json_body.h"
#include "control/api/parameters.h"
#include "control/api/refusal_response.h"
#include "control/api/when_settled.h"
#include "control/text.h"

namespace vern::api {
namespace {

using identity::Binding;
using identity::Identities;
using nlohmann::json;

constexpr std::size_t kProofBytesMax = 160 << 10;  // an armoured signature of the largest certificate

Response bound(const Identities& identities, const trust::Verdict<Binding>& binding) {
    if (!binding) return refusal_response(binding.error(), 403);
    return when_settled(identities, [&identities, id = binding->id] {
        const Binding* one = identities.registry().find(id);
        if (one == nullptr) return over_response(identities, id);
        return json_response({{"identity", identity::label_of(one->identity)},
                              {"ends", date_text(one->ends)},
                              {"ends_s", one->ends}});
    });
}

std::string nonce_text(const identity::Nonces::Nonce& nonce) {
    std::array<unsigned char, 4 * ((trust::kNonceBytes + 2) / 3) + 1> text{};
    const int length = ::EVP_EncodeBlock(text.data(), reinterpret_cast<const unsigned char*>(nonce.data()),
                                         static_cast<int>(nonce.size()));
    return {reinterpret_cast<const char*>(text.data()), static_cast<std::size_t>(length)};
}

Response invite(Identities& identities, const std::string& tls_key, const Request& request) {
    if (auto wrong = Parameters(request).refusal()) return *wrong;
    const auto invitation = identities.invite(*request.caller.address);
    if (!invitation) return refusal_response(invitation.error(), 403);
    return json_response({{"wg", to_base64(invitation->peer.bytes)},
                          {"audience", to_base64(invitation->audience.bytes)},
                          {"nonce", nonce_text(invitation->nonce)},
                          {"tls_key", tls_key}});
}

// A certificate that was shown in TLS, with the keys of both ends; or a statement that is signed.
Response present(Identities& identities, const Request& request) {
    if (auto wrong = Parameters(request).refusal()) return *wrong;
    const Caller& caller = request.caller;
    const auto presenter = identities.presenter(*caller.address);
    if (!presenter) return refusal_response(presenter.error(), 403);
    JsonBody body(request.body);
    if (!caller.certificates.empty()) {
        Identities::Claim claim{.wg = body.wanted_key("wg"), .audience = body.wanted_key("audience")};
        claim.not_after = body.seconds("not_after").value_or(identity::kNever);
        if (auto refused = body.refused()) return *refused;
        return bound(identities,
                     identities.present_tls(*presenter, *caller.address, caller.certificates, claim));
    }
    const std::string statement = body.wanted_text("statement"), signature = body.wanted_text("signature");
    if (auto refused = body.refused()) return *refused;
    return bound(identities, identities.present_ssh(*presenter, *caller.address, statement, signature));
}

}  // namespace

void add_present_routes(Router& router, Identities& identities, std::string tls_key) {
    router.add(Method::post, "/v1/invitation", Role::peer,
               [&identities, tls_key = std::move(tls_key)](const Request& request) {
                   return invite(identities, tls_key, request);
               });
    router.add(
        Method::post, "/v1/present", Role::peer,
        [&identities](const Request& request) { return present(identities, request); }, kProofBytesMax);
}

}  // namespace vern::api
