#include "control/trust/principals.h"

#include <algorithm>
#include <array>
#include <utility>

#include "control/trust/clean_text.h"

namespace vern::trust {
namespace {

constexpr std::string_view kBlanks = " \t";

// What a tunnel gives nobody, whatever is said of it.
constexpr std::array<std::string_view, 8> kOptionsWithoutEffect = {
    "agent-forwarding", "no-agent-forwarding", "pty", "no-pty", "user-rc", "no-user-rc",
    "x11-forwarding",   "no-x11-forwarding"};

std::string lower_case(std::string_view text) {
    std::string lower(text);
    for (char& c : lower) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return lower;
}

std::string_view trimmed(std::string_view text) {
    const auto begin = text.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

Verdict<void> check_options(std::string_view options) {
    while (true) {
        const std::string_view option = options.substr(0, options.find_first_of(", \t"));
        const std::string name = lower_case(option.substr(0, option.find('=')));
        if (std::find(kOptionsWithoutEffect.begin(), kOptionsWithoutEffect.end(), name) ==
                kOptionsWithoutEffect.end() ||
            option.size() != name.size())
            return refuse(Refusal::unknown_critical,
                          "the option '" + shown(option.substr(0, option.find('='))) +
                              "' cannot be enforced here (two words? a principal has no space)");
        options.remove_prefix(option.size());
        if (options.empty()) return {};
        if (options.front() != ',')
            return refuse(Refusal::malformed,
                          "a space among the options: sshd would not read what follows it");
        options.remove_prefix(1);
    }
}

// The principal of a line; empty if there is none.
Verdict<std::string_view> read_line(std::string_view line) {
    line = trimmed(line.substr(0, line.find('#')));
    for (const char c : line) {
        if (c == '\t') continue;
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            return refuse(Refusal::malformed, "a control character (a line ends with LF alone)");
    }
    const auto blank = line.find_last_of(kBlanks);
    const std::string_view principal = blank == std::string_view::npos ? line : line.substr(blank + 1);
    if (!is_clean_text(principal)) return refuse(Refusal::malformed, "the principal is not UTF-8");
    if (principal.size() > kPrincipalBytesMax)
        return refuse(Refusal::too_large, "a principal of more than 1024 bytes");
    if (blank != std::string_view::npos) {
        if (auto known = check_options(trimmed(line.substr(0, blank))); !known)
            return tl::unexpected(known.error());
    }
    return principal;
}

}  // namespace

PrincipalsFile::PrincipalsFile(std::string file_name, std::vector<std::string> principals)
    : file_name_(std::move(file_name)), principals_(std::move(principals)) {
    std::sort(principals_.begin(), principals_.end());
    principals_.erase(std::unique(principals_.begin(), principals_.end()), principals_.end());
}

bool PrincipalsFile::accepts(std::string_view principal) const {
    return std::binary_search(principals_.begin(), principals_.end(), principal, std::less<>());
}

Verdict<PrincipalsFile> parse_principals(std::string_view text, std::string file_name) {
    if (text.size() > kPrincipalsFileBytesMax)
        return refuse(Refusal::too_large, shown(file_name, 256) + ": larger than 1 MiB");
    std::vector<std::string> principals;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const auto end = text.find('\n');
        const auto principal = read_line(text.substr(0, end));
        if (!principal)
            return refuse(principal.error().code, shown(file_name, 256) + ":" + std::to_string(number) +
                                                      ": " + principal.error().sentence);
        if (!principal->empty()) principals.emplace_back(*principal);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return PrincipalsFile(std::move(file_name), std::move(principals));
}

}  // namespace vern::trust
