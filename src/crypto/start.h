// Brings the libraries below this layer up: libsodium's choice of CPU code, and OpenSSL's algorithms in a
// library context of our own. Optional, for the result is the same without it; but then the first use does
// this work, which opens files and allocates. So programs call it before they close a sandbox, and learn
// early when an algorithm is missing.
//
// Threads: any, any number of times.
#pragma once

namespace vern {

// False when a library cannot be brought up or lacks an algorithm: nothing in this layer would work.
[[nodiscard]] bool start_crypto() noexcept;

}  // namespace vern
