// vern genkey, genpsk, pubkey.
#include <fmt/format.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "command.h"
#include "control/secret_text.h"
#include "crypto/keys.h"
#include "crypto/noise.h"

namespace vern::cli {
namespace {

constexpr std::size_t kKeyCharacters = 44;

void warn_when_world_readable() {
    struct stat status {};
    if (::fstat(STDOUT_FILENO, &status) != 0 || !S_ISREG(status.st_mode) || (status.st_mode & S_IRWXO) == 0)
        return;
    fmt::print(
        stderr,
        "Warning: writing to world accessible file.\nConsider setting the umask to 077 and trying again.\n");
}

int print_key(std::span<const std::byte, kKeyBytes> key) {
    std::string text = to_base64(key);
    text += '\n';
    // Not by stdio, whose buffer nobody wipes.
    const ssize_t put = ::write(STDOUT_FILENO, text.data(), text.size());
    const int code = errno;
    const bool whole = put == static_cast<ssize_t>(text.size());
    sodium_memzero(text.data(), text.size());
    return whole ? kSuccess : failed(fail_errno("cannot write the key", put < 0 ? code : ENOSPC).value());
}

int run_genkey(const Invocation&) {
    warn_when_world_readable();
    PrivateKey key;
    randombytes_buf(key.data(), kKeyBytes);
    clamp(key);
    return print_key(key.span());
}

int run_genpsk(const Invocation&) {
    warn_when_world_readable();
    PresharedKey key;
    randombytes_buf(key.data(), kKeyBytes);
    return print_key(key.span());
}

// The key and white space after it, no more.
Result<PrivateKey> read_private_key() {
    SecretText text;
    text.reserve(kKeyCharacters + 64);
    std::array<char, 64> chunk;
    ssize_t got = 0;
    while (text.size() <= kKeyCharacters + 2 &&
           (got = ::read(STDIN_FILENO, chunk.data(), chunk.size())) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("cannot read standard input", errno);
        text.append(chunk.data(), static_cast<std::size_t>(got));
    }
    sodium_memzero(chunk.data(), chunk.size());
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
        text.pop_back();
    PrivateKey key;
    if (!from_base64(text, key.writable())) {
        return fail(
            "standard input: not a key (44 characters of base64 ending in '=', as `vern genkey` prints)");
    }
    return key;
}

int run_pubkey(const Invocation&) {
    const auto key = read_private_key();
    if (!key) return failed(key.error());
    fmt::print("{}\n", to_base64(noise::public_key_of(*key).bytes));
    return kSuccess;
}

}  // namespace

const Command kGenkey{"genkey",
                      "",
                      "make a private key",
                      "Prints a new private key.\n\n  umask 077; vern genkey > private.key",
                      0,
                      0,
                      nullptr,
                      run_genkey};
const Command kGenpsk{"genpsk", "",        "make a preshared key", "Prints a new preshared key.", 0, 0,
                      nullptr,  run_genpsk};
const Command kPubkey{"pubkey",
                      "",
                      "the public key of a private key",
                      "Reads a private key from standard input and prints its public key.\n\n"
                      "  vern pubkey < private.key > public.key",
                      0,
                      0,
                      nullptr,
                      run_pubkey};

}  // namespace vern::cli
