// libFuzzer: the UAPI's parsers. Built once for each, see meson.build. What is accepted must survive printing
// and parsing unchanged.
#include <cstdlib>

#include "control/text.h"
#include "control/uapi.h"

namespace {

using namespace vern;

void require(bool held) {
    if (!held) std::abort();
}

[[maybe_unused]] void fuzz_set(std::string_view text) {
    const auto change = parse_uapi_set(text);
    if (!change) return require(!change.error().message.empty() && change.error().code > 0);
    const SecretText printed = format_uapi_set(*change);
    const auto again = parse_uapi_set(printed);
    require(again && format_uapi_set(*again) == printed);
}

[[maybe_unused]] void fuzz_get(std::string_view text) {
    const auto status = parse_uapi_get(text);
    if (!status) return require(!status.error().message.empty() && status.error().code > 0);
    const SecretText printed = format_uapi_get(*status);
    const auto again = parse_uapi_get(printed);
    require(again && format_uapi_get(*again) == printed);
}

[[maybe_unused]] void fuzz_endpoint(std::string_view text) {
    if (const auto endpoint = parse_endpoint(text)) {
        require(endpoint->known() && endpoint->port != 0);
        const auto again = parse_endpoint(to_text(*endpoint));
        require(again && *again == *endpoint);
    }
    if (const auto prefix = parse_prefix(text)) require(parse_prefix(to_text(*prefix)) == prefix);
    if (const auto address = parse_address(text)) require(parse_address(to_text(*address)) == address);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FUZZ_ENTRY(std::string_view(reinterpret_cast<const char*>(data), size));
    return 0;
}
