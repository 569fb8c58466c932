// libFuzzer: everything of X.509 that comes from outside. What is taken can be asked everything, is never
// large, and is an identity only as the seeds' CA signed it.
#include <openssl/x509.h>

#include <cstdlib>

#include "control/trust/cms_statement.h"
#include "control/trust/statement.h"
#include "control/trust/x509_identity.h"
#include "control/trust/x509_verify.h"

namespace {

using namespace vern::trust;

constexpr UnixSeconds kNow = 1'800'000'000;

// The CA of the seeds. Its key and theirs are gone: nobody can sign anything more.
constexpr const char* kCa = R"(-----BEGIN CERTIFICATE-----
MIIBgjCCASmgAwIBAgIULe0hgQDNIjl1lHymWenyTcfIAx4wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEcm9vdDAeFw0yNjExMjIxMTUyMzRaFw0zNjExMTkxMTUyMzRa
MA8xDTALBgNVBAMMBHJvb3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATNaWGT
sDbXZoyMmlqWd2sYdmVrStErlt32b9bVj0r9fuJJqiKf6Sk9+7VEX3Zg5fnYlyf1
9QZLdNiZ2xlAtcaUo2MwYTAdBgNVHQ4EFgQUVzuxlSrqLBWSTik7DMVLh6d3igkw
HwYDVR0jBBgwFoAUVzuxlSrqLBWSTik7DMVLh6d3igkwDwYDVR0TAQH/BAUwAwEB
/zAOBgNVHQ8BAf8EBAMCAQYwCgYIKoZIzj0EAwIDRwAwRAIgOBbrpU3YbLXT6fP4
mVSSSyGpa+Ps88QBFxQEcCcNKMsCIC4SKrxMfUHO3RGt68AoL/ccgXM7jKKA+EVR
BkP+nWWv
-----END CERTIFICATE-----
)";

const X509Trust& trust() {
    static const X509Trust trusted{
        .cas = {load_x509_ca({.certificates = kCa, .crls = {}, .groups = {}}, kNow).value()}};
    return trusted;
}

void require(bool held) {
    if (!held) std::abort();
}

std::string_view text_of(const unsigned char* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

template <typename T>
void require_sentence(const Verdict<T>& verdict) {
    require(verdict || (!verdict.error().sentence.empty() && verdict.error().sentence.size() < 2048));
}

[[maybe_unused]] void fuzz_der(const unsigned char* data, std::size_t size) {
    const Bytes bytes = bytes_of(text_of(data, size));
    const auto verdict = check_der(bytes, 4096, "f");
    require_sentence(verdict);
    std::size_t read = 0;
    for (DerReader reader(bytes); !reader.at_end();) {
        const auto element = reader.next();
        if (!element) break;
        require(element->whole.data() == bytes.data() + read &&
                element->content.size() < element->whole.size());
        read += element->whole.size();
        require(!verdict || read == bytes.size());
    }
}

[[maybe_unused]] void fuzz_certificate(const unsigned char* data, std::size_t size) {
    const auto certificate = parse_certificate(bytes_of(text_of(data, size)));
    require_sentence(certificate);
    if (!certificate) return;
    require(certificate->not_before < certificate->not_after);
    require_sentence(identity_of(*certificate, certificate->x509.get()));
    (void)x25519_key_of(*certificate);
    // It reads the same again, also without being read.
    require(recheck_certificate(certificate->x509.get()).has_value());
    require(take_certificate(certificate->x509).has_value());
    const auto identity = verify_x509(*certificate, {}, trust(), kNow);
    require_sentence(identity);
    require(!identity || identity->issuer == "CN=root");
    // Nobody is their own CA.
    X509Ca ca{.certificates = {*certificate},
              .crls = {},
              .groups = {},
              .store = std::shared_ptr<X509_STORE>(X509_STORE_new(), X509_STORE_free)};
    X509_STORE_add_cert(ca.store.get(), certificate->x509.get());
    const X509Trust own{.cas = {std::make_shared<const X509Ca>(ca)}};
    const Certificate itself[] = {*certificate};
    require(!verify_x509(*certificate, itself, own, certificate->not_before));
}

[[maybe_unused]] void fuzz_crl(const unsigned char* data, std::size_t size) {
    const auto crls = parse_crls(text_of(data, size), 4);
    require_sentence(crls);
    if (!crls) return;
    for (const Crl& crl : *crls) {
        require(crl.edition.made < crl.next_update && crl.edition.number.size() <= 40);
        require(!goes_back(crl.edition, crl.edition));
    }
}

[[maybe_unused]] void fuzz_cms(const unsigned char* data, std::size_t size) {
    const auto opened = open_cms_statement(text_of(data, size), trust(), kNow);
    require_sentence(opened);
    require(!opened || (opened->signer.identity.common_name == "leaf" && parse_statement(opened->content)));
}

[[maybe_unused]] void fuzz_statement(const unsigned char* data, std::size_t size) {
    const auto text = text_of(data, size);
    const auto statement = parse_statement(text);
    require_sentence(statement);
    require(!statement || encode_statement(*statement) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FUZZ_ENTRY(data, size);
    return 0;
}
