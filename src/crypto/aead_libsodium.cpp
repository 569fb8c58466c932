#include "crypto/aead_implementations.h"
#include "crypto/libsodium.h"

namespace vern::aead {
namespace {

bool supported() noexcept { return libsodium_ready(); }

void seal(std::span<const SealJob> train) noexcept {
    for (const SealJob& job : train)
        chacha20poly1305_seal({job.sealed, job.length + kTagBytes}, KeyBytes(job.key, 32),
                              nonce_of(job.counter), {}, {whole_plaintext(job), job.length});
}

void open(std::span<OpenJob> train) noexcept {
    for (OpenJob& job : train)
        job.authentic =
            chacha20poly1305_open({job.sealed, job.length}, KeyBytes(job.key, 32), nonce_of(job.counter), {},
                                  {job.sealed, job.length + kTagBytes});
}

}  // namespace

const Implementation kLibsodium = {.name = "libsodium",
                                   .description = "libsodium, message by message",
                                   .supported = supported,
                                   .seal = seal,
                                   .open = open};

}  // namespace vern::aead
