// libFuzzer: policy files, and nftables rulesets that become policies. What is taken compiles, and never
// takes long; what an import writes is a policy; every error has its place.
#include <cstdlib>

#include "control/policy/diff.h"
#include "control/policy/evaluate.h"
#include "control/policy/language.h"
#include "control/policy/nft_import.h"

namespace {

using namespace vern;
using namespace vern::policy;

void require(bool held) {
    if (!held) std::abort();
}

std::string_view text_of(const unsigned char* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

constexpr ClockPair kNow{WallTime(std::chrono::seconds(1'800'000'000)), Instant(std::chrono::hours(1))};

[[maybe_unused]] void fuzz_language(const unsigned char* data, std::size_t size) {
    const auto document = parse_policy(text_of(data, size), "f", kNow.wall);
    if (!document) {
        require(document.error().message.starts_with("f:"));
        return;
    }
    require(difference(*document, *document).empty());
    const auto policy = Policy::compile(rule_set_of(*document, kNow, 1), 1);
    if (!policy) return;
    (void)failed_tests(*document, **policy, "f", kNow.boot);
    if (document->rules.empty()) {
        const auto question = parse_question("in - tcp 10.0.0.1:1 > 10.0.0.2:1", *document);
        require(question && decide(**policy, *question, kNow.boot, true).action == Action::deny);
    }
}

[[maybe_unused]] void fuzz_nft_import(const unsigned char* data, std::size_t size) {
    const auto imported = import_nft(text_of(data, size), {.source = "f", .interface = {}, .local = {}});
    if (!imported) {
        require(!imported.error().message.starts_with("the ruleset makes no policy"));
        return;
    }
    require(parse_policy(imported->policy, "f", kNow.wall).has_value());
}

[[maybe_unused]] void fuzz_question(const unsigned char* data, std::size_t size) {
    static const Document kEmpty;
    (void)parse_question(text_of(data, size), kEmpty);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FUZZ_ENTRY(data, size);
    return 0;
}
