// The wide kernels over vector types in plain C++, for hosts that lack the instructions. For tests only.
#pragma once

#include "crypto/aead.h"

namespace vern::aead {

extern const Implementation kEmulatedAvx512IfmaX2;
extern const Implementation kEmulatedAvx512Ifma;
extern const Implementation kEmulatedAvx512;
extern const Implementation kEmulatedAvx2;
extern const Implementation kEmulatedNeon;

}  // namespace vern::aead
