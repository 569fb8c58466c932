#include "public_file.h"

#include <sodium.h>

#include "control/files.h"

namespace vern::cli {

Result<std::string> read_public_file(const std::string& path, std::size_t bytes_max, Form form) {
    auto text = read_input(path, bytes_max);
    if (!text) return text;
    const std::string shown = path == "-" ? "standard input" : path;
    if (std::string& held = *text; held.find("PRIVATE KEY-----") != std::string::npos) {
        sodium_memzero(held.data(), held.size());
        return fail(shown + ": a private key is in it: what is public is wanted here");
    }
    if (text->empty()) return fail(shown + ": is empty");
    if (form == Form::pem && text->find("-----BEGIN ") == std::string::npos)
        return fail(shown + ": is not PEM (openssl ... -outform PEM)");
    return text;
}

}  // namespace vern::cli
