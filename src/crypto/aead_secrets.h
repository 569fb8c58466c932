// What the AEAD kernels do to secrets besides computing with them: wiping them, and saying what is none.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef VERN_CONSTANT_TIME_TEST
#include <valgrind/memcheck.h>
#endif

namespace vern::aead {
namespace {

// Where secrets were, zeros have been written: what writes them must not be left out by the compiler.
inline void wiped(void* secrets) { __asm__ __volatile__("" : : "r"(secrets) : "memory"); }
inline void wipe_secrets(void* secrets, std::size_t bytes) {
    __builtin_memset(secrets, 0, bytes);
    wiped(secrets);
}

// What functions that the caller has called left on the stack, registers that the compiler put away among it:
// this one's frame lies where theirs did. An odd number of words, aligned to no more than one, and nothing
// that compilers put above them: they begin right below the return address.
template <std::size_t Bytes>
__attribute__((noinline, no_stack_protector)) void wipe_left_behind() {
    std::uint64_t frame[Bytes / 8 | 1];
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
