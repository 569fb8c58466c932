#include "control/api/identity_routes.h"

#include <algorithm>

#include "control/api/json_body.h"
#include "control/api/parameters.h"
#include "control/api/refusal_response.h"
#include "control/api/when_settled.h"
#include "control/policy/evaluate.h"
#include "control/policy/selector.h"
#include "control/text.h"
#include "control/trust/ssh_key.h"

namespace vern::api {
namespace {

using identity::Binding;
using identity::Identities;
using nlohmann::json;
using trust::Identity;

constexpr std::size_t kFileNameBytesMax = 256;  // in sentences
constexpr std::size_t kProofBytesMax = 256 << 10;
constexpr std::size_t kTrustBodyBytesMax = std::size_t{32} << 20;  // a KRL of 16 MiB, in base64

json entry_json(const trust::TrustStore::Entry& entry) {
    json out{{"kind", entry.kind == Identity::Kind::ssh ? "ssh" : "x509"},
             {"name", entry.name},
             {"subject", entry.subject},
             {"groups", entry.groups},
             {"usable", entry.unusable.empty()}};
    if (entry.revocations) out["revocations"] = *entry.revocations;
    if (entry.principals) out["principals"] = *entry.principals;
    if (!entry.unusable.empty()) out["error"] = entry.unusable;
    return out;
}

json trust_json(const Identities& identities) {
    json all = json::array();
    for (const auto& entry : identities.store().entries()) all.push_back(entry_json(entry));
    return {{"authorities", std::move(all)}};
}

// Who ended by it is out before it is told.
Response trust_response(const Identities& identities) {
    return when_settled(identities, [&identities] { return json_response(trust_json(identities)); });
}

Response put_ssh(Identities& identities, const Request& request) {
    if (auto wrong = Parameters(request).refusal()) return *wrong;
    JsonBody body(request.body);
    trust::SshSource source;
    source.name = request.target.path[3];
    source.key = body.wanted_text("key");
    source.krl = body.bytes("krl");
    source.krl_file = printable(body.text("krl_file").value_or(""), kFileNameBytesMax);
    source.principals = body.text("principals");
    source.principals_file =
        printable(body.text("principals_file").value_or("principals"), kFileNameBytesMax);
    source.groups = body.texts("groups");
    if (auto refused = body.refused()) return *refused;
    if (auto done = identities.trust(std::move(source), request.caller.name); !done)
        return refusal_response(done.error(), 422);
    return trust_response(identities);
}

Response put_x509(Identities& identities, const Request& request) {
    if (auto wrong = Parameters(request).refusal()) return *wrong;
    JsonBody body(request.body);
    trust::X509CaText source;
    source.name = request.target.path[3];
    source.certificates = body.wanted_text("certificates");
    const auto crls = body.texts("crls"), crl_files = body.texts("crl_files");
    if (crls.size() > trust::kCrlsMax || crl_files.size() > trust::kCrlsMax)
        return refusal_response({trust::Refusal::too_large, "CRL: more than 32"}, 422);
    for (const std::string& coded : crls) {
        auto crl = trust::decode_base64(coded, "", "crls");
        if (!crl) return error_response(400, "bad-body", "crls: base64 is wanted");
        source.crls.push_back(std::move(*crl));
    }
    // They stay in memory: no more of them than there are lists.
    for (std::size_t i = 0; i < std::min(crl_files.size(), crls.size()); ++i)
        source.crl_files.push_back(printable(crl_files[i], kFileNameBytesMax));
    source.groups = body.texts("groups");
    if (auto refused = body.refused()) return *refused;
    if (auto done = identities.trust(std::move(source), request.caller.name); !done)
        return refusal_response(done.error(), 422);
    return trust_response(identities);
}

Response remove_authority(Identities& identities, Identity::Kind kind, const Request& request) {
    if (auto wrong = Parameters(request).refusal()) return *wrong;
    const auto removed = identities.distrust(kind, request.target.path[3], request.caller.name);
    if (!removed) return error_response(500, "trust-failed", removed.error().message);
    if (!*removed) return error_response(404, "unknown-authority", "no CA is trusted under that name");
    return trust_response(identities);
}

json binding_json(const IdentitySource& source, const Binding& binding) {
    json out = identity::to_json(binding);
    if (std::string name = source.name_of(binding.peer); !name.empty()) out["peer_name"] = std::move(name);
    return out;
}

Response list_identities(const IdentitySource& source, const Request& request) {
    Parameters parameters(request);
    const auto wanted = parameters.text("peer");
    const std::uint64_t limit = parameters.number("limit", 1, identity::kBindingsMax).value_or(10'000);
    if (auto wrong = parameters.refusal()) return *wrong;
    json all = json::array();
    bool more = false;
    source.identities.registry().each([&](const Binding& one) {
        if (wanted && *wanted != to_base64(one.peer.bytes) && *wanted != source.name_of(one.peer)) return;
        if (all.size() == limit)
            more = true;
        else
            all.push_back(binding_json(source, one));
    });
    return json_response(
        {{"identities", std::move(all)}, {"more", more}, {"bound", source.identities.registry().size()}});
}

Response add_identity(const IdentitySource& source, const Request& request) {
    if (auto wrong = Parameters(request).refusal()) return *wrong;
    JsonBody body(request.body);
    const auto statement = body.text("statement"), signature = body.text("signature"), cms = body.text("cms"),
               certificate = body.text("certificate");
    if (auto refused = body.refused()) return *refused;
    const int given = (statement && signature ? 1 : 0) + (cms ? 1 : 0) + (certificate ? 1 : 0);
    if (given != 1 || statement.has_value() != signature.has_value())
        return error_response(400, "bad-body",
                              "one proof is wanted: statement and signature, or cms, or certificate");
    const std::string& by = request.caller.name;
    const auto bound = statement ? source.identities.add_ssh(*statement, *signature, by)
                       : cms     ? source.identities.add_cms(*cms, by)
                                 : source.identities.add_certificate(*certificate, by);
    if (!bound) return refusal_response(bound.error(), 422);
    return when_settled(source.identities, [source, id = bound->id] {
        const Binding* one = source.identities.registry().find(id);
        if (one == nullptr) return over_response(source.identities, id);
        json answer = binding_json(source, *one);
        // Until the daemon is started again it is bound all the same.
        if (!source.identities.on_disk()) answer["kept"] = false;
        return json_response(answer, 201);
    });
}

Response remove_identity(const IdentitySource& source, const Request& request) {
    if (auto wrong = Parameters(request).refusal()) return *wrong;
    const auto id = parse_decimal<std::uint64_t>(request.target.path[2]);
    if (!id || !source.identities.remove(*id, request.caller.name))
        return error_response(404, "unknown-identity", "no identity is bound under that number");
    return when_settled(source.identities, [&identities = source.identities, id = *id] {
        if (!identities.on_disk())
            return error_response(
                500, "not-kept",
                "it has ended, but the disk does not know that yet: a restart may bind it again");
        return json_response({{"removed", id}});
    });
}

// "10.100.0.2", "10.100.0.2:43210", "fd00::2", "[fd00::2]:43210". The port is the caller's to know: addresses
// are a peer's whatever the port is.
std::optional<IpAddress> address_of(std::string_view text) {
    if (auto address = parse_address(text)) return address;
    const auto split = split_endpoint(text);
    return split ? parse_address(split->host) : std::nullopt;
}

// For programs behind the tunnel, and for nginx's auth_request: 200 only when what `require` says is proven.
Response whois(const IdentitySource& source, const Request& request) {
    Parameters parameters(request);
    const auto text = parameters.text("addr");
    const auto require = parameters.text("require");
    if (auto wrong = parameters.refusal()) return *wrong;
    const auto address = text ? address_of(*text) : std::nullopt;
    if (!address) return error_response(400, "bad-parameter", "addr: an address, or an address and a port");
    std::optional<policy::Selector> selector;
    if (require) {
        auto parsed = policy::parse_selector(*require);
        if (!parsed || !policy::is_selector(*require))
            return error_response(400, "bad-parameter",
                                  parsed ? "require: \"ssh:...\" or \"x509:...\"" : parsed.error().message);
        selector = std::move(*parsed);
    }
    const auto peer = source.peers.peer_of(*address);
    if (!peer) return error_response(require ? 403 : 404, "no-peer", "no peer here has that address");
    json who = json::array();
    std::string names;
    bool met = !selector;
    for (const Binding* one : source.identities.registry().of(*peer)) {
        if (selector && !policy::matches(*selector, one->identity)) continue;
        met = true;
        who.push_back(binding_json(source, *one));
        names += (names.empty() ? "" : ", ") + identity::label_of(one->identity);
    }
    if (!met) return error_response(403, "not-proven", "the peer has not proven that identity");
    json answer{
        {"address", to_text(*address)}, {"peer", to_base64(peer->bytes)}, {"identities", std::move(who)}};
    if (std::string name = source.name_of(*peer); !name.empty()) answer["peer_name"] = std::move(name);
    Response response = json_response(answer);
    response.headers.emplace_back("X-Vern-Peer", answer["peer"]);
    if (!names.empty()) response.headers.emplace_back("X-Vern-Identity", names);
    return response;
}

}  // namespace

void add_identity_routes(Router& router, IdentitySource source) {
    Identities& identities = source.identities;
    router.add(Method::get, "/v1/trust", Role::read, [&identities](const Request& request) {
        if (auto wrong = Parameters(request).refusal()) return *wrong;
        return json_response(trust_json(identities));
    });
    router.add(
        Method::put, "/v1/trust/ssh/{name}", Role::write,
        [&identities](const Request& request) { return put_ssh(identities, request); }, kTrustBodyBytesMax);
    router.add(
        Method::put, "/v1/trust/x509/{name}", Role::write,
        [&identities](const Request& request) { return put_x509(identities, request); }, kTrustBodyBytesMax);
    router.add(Method::remove, "/v1/trust/ssh/{name}", Role::write, [&identities](const Request& request) {
        return remove_authority(identities, Identity::Kind::ssh, request);
    });
    router.add(Method::remove, "/v1/trust/x509/{name}", Role::write, [&identities](const Request& request) {
        return remove_authority(identities, Identity::Kind::x509, request);
    });
    router.add(Method::get, "/v1/identities", Role::read,
               [source](const Request& request) { return list_identities(source, request); });
    router.add(
        Method::post, "/v1/identities", Role::write,
        [source](const Request& request) { return add_identity(source, request); }, kProofBytesMax);
    router.add(Method::remove, "/v1/identities/{id}", Role::write,
               [source](const Request& request) { return remove_identity(source, request); });
    router.add(Method::get, "/v1/whois", Role::read,
               [source](const Request& request) { return whois(source, request); });
}

}  // namespace vern::api
