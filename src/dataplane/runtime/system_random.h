// The operating system's randomness. Any thread.
#pragma once

#include <sodium.h>

#include "dataplane/base/random.h"

namespace vern {

class SystemRandom final : public Random {
  public:
    void fill(std::span<std::byte> bytes) noexcept override { ::randombytes_buf(bytes.data(), bytes.size()); }
};

}  // namespace vern
