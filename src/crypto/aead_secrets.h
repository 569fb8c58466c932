// What the AEAD kernels do to secrets besides computing with them: wiping them, and saying what is none.
#pragma once

#include <cstddef>

#ifdef VERN_CONSTANT_TIME_TEST
#include <valgrind/memcheck.h>
#endif

namespace vern::aead {
namespace {

// Wiping that the compiler must not leave out.
inline void wipe_secrets(void* secrets, std::size_t bytes) {
    __builtin_memset(secrets, 0, bytes);
    __asm__ __volatile__("" : : "r"(secrets) : "memory");
}

// What functions that the caller has called left on the stack, registers that the compiler put away among it:
// this one's frame lies where theirs did.
[[gnu::noinline]] inline void wipe_left_behind() {
    alignas(64) std::byte frame[2048];
    wipe_secrets(frame, sizeof frame);
}

// From here on a branch may depend on it. Tells valgrind so where the kernels run with their secrets marked
// as undefined (tests/crypto/constant_time.cpp), and does nothing elsewhere.
inline bool declassified(bool value) {
#ifdef VERN_CONSTANT_TIME_TEST
    VALGRIND_MAKE_MEM_DEFINED(&value, sizeof value);
#endif
    return value;
}

}  // namespace
}  // namespace vern::aead
