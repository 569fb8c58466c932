// libFuzzer: targets of the control API's requests. What is taken has one meaning: written again it is read
// as the same, and nothing in it leads elsewhere.
#include <algorithm>
#include <cstdlib>

#include "control/api/parameters.h"
#include "control/api/target.h"
#include "control/text.h"

namespace {

using namespace vern;

void require(bool held) {
    if (!held) std::abort();
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// A segment is encoded as a value is.
std::string encoded(const std::string& segment) { return api::with_query("", {{"x", segment}}).substr(3); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    (void)parse_duration(text, std::chrono::hours(24));
    const auto target = api::parse_target(text);
    if (!target) return 0;
    std::string path;
    for (const std::string& segment : target->path) {
        require(!segment.empty() && segment != "." && segment != "..");
        require(segment.find('/') == std::string::npos);
        require(std::none_of(segment.begin(), segment.end(), is_control));
        path += "/" + encoded(segment);
    }
    for (const auto& parameter : target->query) {
        const auto& [name, value] = parameter;
        require(!name.empty() && std::none_of(value.begin(), value.end(), is_control));
        require(std::count_if(target->query.begin(), target->query.end(),
                              [&](const auto& other) { return other.first == parameter.first; }) == 1);
    }
    const std::string again = api::with_query(path.empty() ? "/" : path, target->query);
    if (again.size() > api::kTargetBytesMax) return 0;
    const auto same = api::parse_target(again);
    require(same && same->path == target->path && same->query == target->query);
    return 0;
}
