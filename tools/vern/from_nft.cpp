// vern policy from-nft: the policy that does what an nftables ruleset does.
#include <fmt/format.h>
#include <unistd.h>

#include "control/files.h"
#include "control/policy/language.h"
#include "control/policy/nft_import.h"
#include "control/process.h"
#include "control/text.h"
#include "policy.h"

namespace vern::cli {
namespace {

bool is_json(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    return first != std::string_view::npos && text[first] == '{';
}

// nft reads its own language best: in a network namespace of its own, where nothing is changed for anybody.
Result<std::string> to_json(const std::string& text, const std::string& file) {
    if (find_program("nft").empty())
        return fail(
            file +
            ": nft is needed to read this, and is not here; where it is: nft -j list ruleset > ruleset.json");
    if (find_program("unshare").empty())
        return fail(file +
                    ": unshare(1) is needed to let nft read this apart from the host, and is not here");
    std::vector<std::string> words{"unshare", "--net"};
    if (::geteuid() != 0) words.push_back("--map-root-user");
    words.insert(words.end(), {"--", "sh", "-c", "nft -f - && nft -j list ruleset"});
    auto result = run_process(words, {.input = text});
    if (!result) return tl::unexpected(result.error());
    if (!result->ok())
        return fail(file + ": nft does not take it: " + result->errors +
                    (result->errors.find("Interface does not exist") != std::string::npos
                         ? "(iifname takes the place of iif for interfaces that are not here)"
                         : ""));
    return std::move(result->output);
}

}  // namespace

int run_from_nft(const NftRequest& request) {
    const std::string shown = request.file == "-" ? "standard input" : request.file;
    auto text = read_input(request.file, policy::kPolicyBytesMax);
    if (!text) return failed(text.error());
    if (!is_json(*text)) text = to_json(*text, shown);
    if (!text) return failed(text.error());
    const auto imported =
        policy::import_nft(*text, {.source = shown, .interface = request.interface, .local = request.local});
    if (!imported) return failed(Error{shown + ": " + imported.error().message, imported.error().code});
    const int status = imported->not_carried.empty() ? kSuccess : kIncomplete;
    if (request.json) {
        print_json({{"ok", status == kSuccess},
                    {"interface", imported->interface},
                    {"rules", imported->rules},
                    {"not_carried", imported->not_carried},
                    {"warnings", imported->warnings},
                    {"policy", imported->policy}});
        return status;
    }
    fmt::print("{}", imported->policy);
    for (const std::string& line : imported->not_carried) print_error("not carried over: " + line);
    for (const std::string& line : imported->warnings) fmt::print(stderr, "Warning: {}\n", line);
    return status;
}

}  // namespace vern::cli
