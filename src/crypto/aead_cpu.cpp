// What this CPU and its operating system can run. In a file without -m flags: it runs on every CPU.
#include "crypto/aead_implementations.h"

namespace vern::aead {

#if defined(__x86_64__)

// These builtins also ask the operating system whether it saves the registers (XCR0).
bool cpu_has_avx2() noexcept { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"); }
// AMD's CPUs since Zen 2 have four vector units, which one state of ChaCha20 does not fill; Intel's have
// three, or two (docs/performance.md, measured on Zen 4).
bool cpu_prefers_two_states() noexcept { return __builtin_cpu_is("amd"); }
bool cpu_has_avx512() noexcept {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && cpu_has_avx2();
}
bool cpu_has_avx512ifma() noexcept {
    return cpu_has_avx512() && __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512vbmi2");
}

#endif

}  // namespace vern::aead
