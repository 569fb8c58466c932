// What a daemon checks of its own ciphers before it carries anybody's packets: a library or a CPU that
// computes wrongly is found at the start, not by a peer. About a millisecond; touches nothing but its own
// memory.
#pragma once

#include "crypto/aead.h"
#include "crypto/error.h"

namespace vern {

// BLAKE2s against the pinned beginning of a handshake, a handshake of two identities against itself, and a
// train sealed and opened by `aead` against libsodium, one message of it forged. Errors name what failed.
Result<void> self_test(const aead::Implementation& aead);

}  // namespace vern
