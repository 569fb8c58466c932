// The target of a request line: path and query, percent-decoded (RFC 3986) so that nothing has two meanings.
// What decodes to a slash, a control character or "." and ".." is refused, and so are empty segments and
// names that come twice. In a query "+" is a space, as HTML forms and curl --data-urlencode write it. Any
// thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/api/message.h"
#include "crypto/error.h"

namespace vern::api {

inline constexpr std::size_t kTargetBytesMax = 8192;
inline constexpr std::size_t kSegmentsMax = 16;
inline constexpr std::size_t kParametersMax = 16;

Result<Target> parse_target(std::string_view text);

// The other direction: `path` and what is asked for behind it.
std::string with_query(std::string_view path, const std::vector<std::pair<std::string, std::string>>& query);

}  // namespace vern::api
