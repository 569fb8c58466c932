#include "control/trust/x509_identity.h"

#include <openssl/x509v3.h>

#include <algorithm>

#include "control/text.h"
#include "control/trust/openssl_handles.h"

namespace vern::trust {
namespace {

using NamesPtr = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;

std::string utf8(const ASN1_STRING* string) {
    unsigned char* text = nullptr;
    const int size = ASN1_STRING_to_UTF8(&text, string);
    std::string copy(reinterpret_cast<const char*>(text), static_cast<std::size_t>(std::max(size, 0)));
    OPENSSL_free(text);
    return copy;
}

std::vector<std::string> entries(const X509_NAME* name, int nid) {
    std::vector<std::string> found;
    for (int i = -1; (i = X509_NAME_get_index_by_NID(name, nid, i)) >= 0;)
        found.push_back(utf8(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i))));
    return found;
}

std::optional<std::string> with_prefix(const char* prefix, const ASN1_STRING* string) {
    const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
                                static_cast<std::size_t>(ASN1_STRING_length(string)));
    if (text.empty() || !std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; }))
        return std::nullopt;
    return prefix + std::string(text);
}

std::optional<std::string> ip_text(const ASN1_STRING* string) {
    const Bytes bytes = std::as_bytes(
        std::span(ASN1_STRING_get0_data(string), static_cast<std::size_t>(ASN1_STRING_length(string))));
    if (bytes.size() == 4) return "ip:" + to_text(IpAddress::v4(bytes.first<4>()));
    if (bytes.size() == 16) return "ip:" + to_text(IpAddress::v6(bytes.first<16>()));
    return std::nullopt;
}

// nullopt: malformed; empty: of a kind that has no word.
std::optional<std::string> alternative(const GENERAL_NAME* name) {
    switch (name->type) {
        case GEN_DNS: return with_prefix("dns:", name->d.dNSName);
        case GEN_EMAIL: return with_prefix("email:", name->d.rfc822Name);
        case GEN_URI: return with_prefix("uri:", name->d.uniformResourceIdentifier);
        case GEN_IPADD: return ip_text(name->d.iPAddress);
        default: return std::string();
    }
}

Verdict<std::vector<std::string>> alternatives_of(const X509* leaf) {
    const NamesPtr names(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf, NID_subject_alt_name, nullptr, nullptr)));
    std::vector<std::string> found;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        auto text = alternative(sk_GENERAL_NAME_value(names.get(), i));
        if (!text)
            return refuse(Refusal::malformed,
                          subject_text(leaf) + ": an alternative name is not of its kind");
        if (!text->empty()) found.push_back(std::move(*text));
    }
    return found;
}

}  // namespace

Verdict<Identity> identity_of(const Certificate& leaf, const X509* issuer) {
    const ErrorQueueScope scope;
    const X509* const x509 = leaf.x509.get();
    const X509_NAME* const subject = X509_get_subject_name(x509);
    const auto common_names = entries(subject, NID_commonName);
    if (common_names.size() > 1)
        return refuse(Refusal::malformed, subject_text(x509) + ": has several common names");
    auto alternatives = alternatives_of(x509);
    if (!alternatives) return tl::unexpected(alternatives.error());
    auto units = entries(subject, NID_organizationalUnitName);
    if (units.size() > kNamesMax || alternatives->size() > kNamesMax)
        return refuse(Refusal::too_large, subject_text(x509) + ": has more than 64 names");
    Identity identity;
    identity.kind = Identity::Kind::x509;
    identity.issuer = name_rfc2253(X509_get_subject_name(issuer));
    identity.serial = serial_text(X509_get0_serialNumber(x509)).value_or("");
    identity.key = key_fingerprint(x509);
    identity.not_before = leaf.not_before;
    identity.not_after = leaf.not_after;
    if (!common_names.empty()) identity.common_name = common_names.front();
    identity.org_units = std::move(units);
    identity.alternatives = std::move(*alternatives);
    return identity;
}

}  // namespace vern::trust
