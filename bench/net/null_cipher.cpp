// No encryption at all: what remains of the engine's cost when the AEAD costs nothing, the floor that `./run
// bench net` shows.
//
// In builds with -Dnull_cipher=true only, which are never release builds and cannot be installed, and there
// only by its name.
#include <cstring>

#include "crypto/aead_implementations.h"

namespace vern::aead {
namespace {

bool supported() noexcept { return true; }

// Copies where a real cipher would write, and touches the tag.
void seal(std::span<const SealJob> train) noexcept {
    for (const SealJob& job : train) {
        const std::byte* const plain = whole_plaintext(job);
        if (plain != job.sealed) std::memcpy(job.sealed, plain, job.length);
        std::memset(job.sealed + job.length, 0, kTagBytes);
    }
}

void open(std::span<OpenJob> train) noexcept {
    for (OpenJob& job : train) job.authentic = true;
}

}  // namespace

const Implementation kNull{"null (NO ENCRYPTION, bench only)",
                           "nothing is encrypted or authenticated; a floor for benchmarks", supported, seal,
                           open};

}  // namespace vern::aead
