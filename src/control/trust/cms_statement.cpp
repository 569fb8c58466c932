#include "control/trust/cms_statement.h"

#include <openssl/cms.h>

#include "control/text.h"
#include "control/trust/openssl_handles.h"
#include "control/trust/pem.h"
#include "control/trust/signature_algorithm.h"
#include "control/trust/statement.h"
#include "control/trust/x509_verify.h"
#include "crypto/openssl.h"

namespace vern::trust {
namespace {

struct Signer {
    CMS_SignerInfo* info = nullptr;
    Certificate certificate;
    std::vector<Certificate> intermediates;
};

tl::unexpected<Refused> malformed(const char* why) {
    return refuse(Refusal::malformed, std::string("CMS: ") + why);
}

Verdict<std::string> der_of(std::string_view text) {
    if (text.size() > kCmsBytesMax) return refuse(Refusal::too_large, "CMS: larger than 64 KiB");
    if (text.find("-----BEGIN ") == std::string_view::npos) return std::string(text);
    auto blocks = read_pem(text, 1, "CMS");
    if (!blocks) return tl::unexpected(blocks.error());
    if (blocks->size() != 1 || (blocks->front().label != "CMS" && blocks->front().label != "PKCS7"))
        return malformed("holds no block of CMS in PEM");
    return std::move(blocks->front().der);
}

std::vector<DerReader::Element> parts_of(Bytes content) {
    std::vector<DerReader::Element> parts;
    for (DerReader reader(content); !reader.at_end();) {
        const auto part = reader.next();
        if (!part) break;
        parts.push_back(*part);
    }
    return parts;
}

bool is_number(const DerReader::Element& element, unsigned value) {
    return element.tag == V_ASN1_INTEGER && element.content.size() == 1 &&
           element.content.front() == static_cast<std::byte>(value);
}

// Nothing in OpenSSL looks at the versions (RFC 5652 5.1, 5.3): 3 where the signer is named by key
// identifier, else 1. Of DER that was checked; one signer.
bool versions_fit(std::string_view der) {
    const auto outer = parts_of(bytes_of(der));
    const auto info = outer.empty() ? outer : parts_of(outer.front().content);
    const auto wrapped = info.size() != 2 ? info : parts_of(info.back().content);
    const auto data = wrapped.size() != 1 ? wrapped : parts_of(wrapped.front().content);
    const auto signers = data.size() < 4 ? data : parts_of(data.back().content);
    const auto signer = signers.size() != 1 ? signers : parts_of(signers.front().content);
    if (signer.size() < 5) return false;
    const unsigned version = signer[1].tag == V_ASN1_CONTEXT_SPECIFIC ? 3 : 1;
    return is_number(signer[0], version) && is_number(data[0], version);
}

Verdict<CmsPtr> read(std::string_view der) {
    if (auto strict = check_der(bytes_of(der), kCmsBytesMax, "CMS"); !strict)
        return tl::unexpected(strict.error());
    CMS_ContentInfo* raw = CMS_ContentInfo_new_ex(openssl_library(), nullptr);
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    if (raw) d2i_CMS_ContentInfo(&raw, &at, static_cast<long>(der.size()));  // a failure frees it
    if (!raw) return malformed("is not a CMS object");
    CmsPtr cms(raw);
    if (OBJ_obj2nid(CMS_get0_type(raw)) != NID_pkcs7_signed ||
        OBJ_obj2nid(CMS_get0_eContentType(raw)) != NID_pkcs7_data)
        return malformed("is not signed data");
    return cms;
}

Verdict<std::string> content_of(CMS_ContentInfo* cms) {
    ASN1_OCTET_STRING** const content = CMS_get0_content(cms);
    if (!content || !*content) return malformed("the content is not within");
    const auto size = static_cast<std::size_t>(ASN1_STRING_length(*content));
    if (size > kStatementBytesMax) return refuse(Refusal::too_large, "CMS: its content is larger than 1 KiB");
    return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(*content)), size);
}

Verdict<Signer> signer_of(CMS_ContentInfo* cms) {
    STACK_OF(CMS_SignerInfo)* const infos = CMS_get0_SignerInfos(cms);
    if (!infos || sk_CMS_SignerInfo_num(infos) != 1) return malformed("is not signed by exactly one");
    Signer signer{.info = sk_CMS_SignerInfo_value(infos, 0), .certificate = {}, .intermediates = {}};
    const X509StackPtr within(CMS_get1_certs(cms));
    const int count = within ? sk_X509_num(within.get()) : 0;
    if (count > static_cast<int>(kIntermediatesMax) + 1)
        return refuse(Refusal::too_large, "CMS: has more than 9 certificates");
    for (int i = 0; i < count; ++i) {
        X509* const x509 = sk_X509_value(within.get(), i);
        auto certificate = recheck_certificate(x509);
        if (!certificate) return tl::unexpected(certificate.error());
        if (CMS_SignerInfo_cert_cmp(signer.info, x509) != 0) {
            signer.intermediates.push_back(std::move(*certificate));
        } else if (signer.certificate.x509) {
            return malformed("has two certificates of the signer's name");
        } else {
            signer.certificate = std::move(*certificate);
        }
    }
    if (!signer.certificate.x509) return malformed("the signer's certificate is not within");
    return signer;
}

Verdict<void> check_algorithms(const Signer& signer) {
    X509_ALGOR *digest = nullptr, *signature = nullptr;
    CMS_SignerInfo_get0_algs(signer.info, nullptr, nullptr, &digest, &signature);
    const ASN1_OBJECT *hash = nullptr, *method = nullptr;
    X509_ALGOR_get0(&hash, nullptr, nullptr, digest);
    X509_ALGOR_get0(&method, nullptr, nullptr, signature);
    // OpenSSL hashes with `digest` whatever the method says. rsaEncryption says nothing.
    int method_hash = NID_undef;
    OBJ_find_sigid_algs(OBJ_obj2nid(method), &method_hash, nullptr);
    if (method_hash != NID_undef && method_hash != OBJ_obj2nid(hash))
        return malformed("names two hashes for one signature");
    const bool strong = is_strong_hash(OBJ_obj2nid(hash)) &&
                        (OBJ_obj2nid(method) == NID_rsaEncryption || is_strong_signature(*signature));
    if (!strong) return refuse(Refusal::weak_hash, "CMS: is signed with an algorithm that is not taken");
    // Without them the signature is over the content itself, and could be shown as one over attributes.
    if (CMS_signed_get_attr_count(signer.info) <= 0) return malformed("has no signed attributes");
    if (!may_sign(signer.certificate))
        return refuse(Refusal::purpose, subject_text(signer.certificate.x509.get()) +
                                            ": its key usage does not say digitalSignature");
    return {};
}

}  // namespace

Verdict<SignedContent> open_cms_statement(std::string_view text, const X509Trust& trust, UnixSeconds now) {
    const ErrorQueueScope scope;
    const auto der = der_of(text);
    if (!der) return tl::unexpected(der.error());
    const auto cms = read(*der);
    if (!cms) return tl::unexpected(cms.error());
    auto content = content_of(cms->get());
    if (!content) return tl::unexpected(content.error());
    const auto signer = signer_of(cms->get());
    if (!signer) return tl::unexpected(signer.error());
    if (!versions_fit(*der)) return malformed("is not of the version that its parts make it");
    if (auto fit = check_algorithms(*signer); !fit) return tl::unexpected(fit.error());
    auto verified = verify_x509_to_keep(signer->certificate, signer->intermediates, trust, now);
    if (!verified) return tl::unexpected(verified.error());
    // The certificate that was verified is the only one that the signature may be checked with.
    CMS_SignerInfo_set1_signer_cert(signer->info, signer->certificate.x509.get());
    constexpr unsigned kOnlySignature = CMS_NO_SIGNER_CERT_VERIFY | CMS_NOINTERN | CMS_NOCRL | CMS_BINARY;
    if (CMS_verify(cms->get(), nullptr, nullptr, nullptr, nullptr, kOnlySignature) != 1)
        return refuse(Refusal::bad_signature, "CMS: the signature is not the signer's over this content");
    return SignedContent{.signer = std::move(*verified), .content = std::move(*content)};
}

}  // namespace vern::trust
