// PEM (RFC 7468): the blocks of a text, in order. What stands between them is passed over, as everybody does.
// For what is public only: nothing here is wiped.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "control/trust/refusal.h"

namespace vern::trust {

struct PemBlock {
    std::string label;  // "CERTIFICATE"
    std::string der;
};

// Refuses blocks with headers (they are encrypted) and more than `blocks_max`. No block is an empty answer.
// `what` begins the sentence of a refusal.
Verdict<std::vector<PemBlock>> read_pem(std::string_view text, std::size_t blocks_max, std::string_view what);

}  // namespace vern::trust
