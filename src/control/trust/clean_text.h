// Text of a certificate that may stand in a log, an answer or a terminal as it is.
#pragma once

#include <string>
#include <string_view>

namespace vern::trust {

// Valid UTF-8 (RFC 3629: shortest form, no surrogates) without control characters, C1 ones and NUL among
// them.
bool is_clean_text(std::string_view text) noexcept;

// At most `max` bytes of anything, as clean text, for a sentence.
std::string shown(std::string_view text, std::size_t max = 64);

}  // namespace vern::trust
