// libsodium works without sodium_init, but then with its slow portable code.
#pragma once

#include <sodium.h>

namespace vern {

inline bool libsodium_ready() noexcept {
    static const bool ready = sodium_init() >= 0;
    return ready;
}

}  // namespace vern
