// The certificate and key that a TLS endpoint shows, from its files.
#pragma once

#include <openssl/ssl.h>

#include <functional>
#include <optional>
#include <string>

#include "control/secret_text.h"
#include "control/trust/tls_trust.h"
#include "crypto/error.h"

namespace vern::trust {

// Errors name the file and say what is wrong with it; nothing of a key is in them. Blocks.
Result<void> use_files(SSL_CTX* context, const TlsFiles& files,
                       const std::function<std::optional<SecretText>()>& passphrase);

// At most `bytes_max` of a regular file. `secret`: a file that group or others have any right to is refused.
Result<SecretText> read_tls_file(const std::string& path, std::size_t bytes_max, bool secret);

}  // namespace vern::trust
