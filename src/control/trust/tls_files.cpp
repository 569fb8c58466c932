#include "control/trust/tls_files.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "control/trust/openssl_handles.h"
#include "control/trust/x509_verify.h"
#include "crypto/openssl.h"
#include "dataplane/io/fd.h"

namespace vern::trust {
namespace {

constexpr std::size_t kChainBytesMax = 256 * 1024;
constexpr std::size_t kKeyBytesMax = 64 * 1024;

struct Asked {
    const std::function<std::optional<SecretText>()>& passphrase;
    bool asked = false;
};

int give_passphrase(char* buffer, int size, int, void* context) {
    auto& asked = *static_cast<Asked*>(context);
    asked.asked = true;
    try {
        const auto text = asked.passphrase ? asked.passphrase() : std::nullopt;
        if (!text || size < 0 || text->size() > static_cast<std::size_t>(size)) return -1;
        std::copy(text->begin(), text->end(), buffer);
        return static_cast<int>(text->size());
    } catch (...) {  // between us and the caller is C
        return -1;
    }
}

Result<KeyPtr> read_key(const std::string& path,
                        const std::function<std::optional<SecretText>()>& passphrase) {
    const auto text = read_tls_file(path, kKeyBytesMax, true);
    if (!text) return tl::unexpected(text.error());
    const BioPtr bio(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
    Asked asked{passphrase};
    KeyPtr key(bio ? PEM_read_bio_PrivateKey_ex(bio.get(), nullptr, give_passphrase, &asked,
                                                openssl_library(), nullptr)
                   : nullptr);
    if (key) return key;
    if (asked.asked && !passphrase) return fail(path + ": the key is encrypted");
    if (asked.asked) return fail(path + ": the passphrase does not open the key", EACCES);
    return fail(path + ": holds no private key in PEM");
}

Result<std::vector<Certificate>> read_chain(const std::string& path) {
    const auto text = read_tls_file(path, kChainBytesMax, false);
    if (!text) return tl::unexpected(text.error());
    auto chain = parse_certificates(*text, kIntermediatesMax + 1, path);
    if (!chain) return fail(chain.error().sentence);
    return std::move(*chain);
}

}  // namespace

Result<SecretText> read_tls_file(const std::string& path, std::size_t bytes_max, bool secret) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) return fail_errno(path, errno);
    if (!S_ISREG(status.st_mode)) return fail(path + ": is not a file");
    if (secret && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return fail(path + ": group or others may use it; chmod 600 it", EACCES);
    SecretText text;
    std::array<char, 4096> chunk;
    ssize_t got = 0;
    while ((got = ::read(fd.get(), chunk.data(), chunk.size())) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) break;
        text.append(chunk.data(), static_cast<std::size_t>(got));
        if (text.size() > bytes_max) break;
    }
    const int code = errno;
    sodium_memzero(chunk.data(), chunk.size());
    if (got < 0) return fail_errno(path, code);
    if (text.size() > bytes_max)
        return fail(path + ": larger than " + std::to_string(bytes_max) + " bytes", EFBIG);
    return text;
}

Result<void> use_files(SSL_CTX* context, const TlsFiles& files,
                       const std::function<std::optional<SecretText>()>& passphrase) {
    const ErrorQueueScope scope;
    const auto chain = read_chain(files.certificate);
    if (!chain) return tl::unexpected(chain.error());
    const auto key = read_key(files.key, passphrase);
    if (!key) return tl::unexpected(key.error());
    const Certificate& leaf = chain->front();
    if (!may_sign(leaf)) return fail(files.certificate + ": its key usage does not say digitalSignature");
    if (EVP_PKEY_eq(X509_get0_pubkey(leaf.x509.get()), key->get()) != 1)
        return fail(files.key + ": is not the key of " + files.certificate);
    bool taken = SSL_CTX_use_certificate(context, leaf.x509.get()) == 1 &&
                 SSL_CTX_use_PrivateKey(context, key->get()) == 1;
    for (std::size_t i = 1; i < chain->size(); ++i)
        taken = taken && SSL_CTX_add1_chain_cert(context, (*chain)[i].x509.get()) == 1;
    if (!taken) return fail(files.certificate + ": TLS 1.3 has no use for this certificate and key");
    return {};
}

}  // namespace vern::trust
