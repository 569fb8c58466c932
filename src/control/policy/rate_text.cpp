#include "control/policy/rate_text.h"

#include <array>
#include <utility>
#include <vector>

#include "control/text.h"

namespace vern::policy {
namespace {

constexpr std::uint32_t kCountMax = 1'000'000;
constexpr std::array<std::pair<std::string_view, std::chrono::seconds>, 4> kUnits{
    {{"second", std::chrono::seconds(1)},
     {"minute", std::chrono::seconds(60)},
     {"hour", std::chrono::seconds(3600)},
     {"day", std::chrono::seconds(86400)}}};
constexpr std::string_view kForm = " (as in \"10/minute per source burst 5\")";

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find(' '));
        text.remove_prefix(std::min(text.size(), word.size() + 1));
        if (!word.empty()) words.push_back(word);
    }
    return words;
}

Result<void> read_amount(std::string_view word, Rate& rate) {
    const auto slash = word.find('/');
    const auto count = parse_decimal<std::uint32_t>(word.substr(0, slash), kCountMax);
    if (slash == std::string_view::npos || !count)
        return fail("'" + printable(word) + "' is not a number of flows per time" + std::string(kForm));
    if (*count == 0) return fail("a rate of 0 allows nothing: use deny");
    for (const auto& [name, length] : kUnits) {
        if (word.substr(slash + 1) == name) {
            rate.count = *count;
            rate.interval = length;
            return {};
        }
    }
    return fail("'" + printable(word.substr(slash + 1)) + "' is none of second, minute, hour, day");
}

}  // namespace

Result<Rate> parse_rate(std::string_view text) {
    const auto words = words_of(text);
    Rate rate;
    if (words.empty()) return fail("is empty" + std::string(kForm));
    if (auto read = read_amount(words[0], rate); !read) return tl::unexpected(read.error());
    rate.burst = rate.count;
    bool scoped = false, burst = false;
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (words[i] == "global" && !scoped) {
            rate.scope = Rate::Scope::rule;
            scoped = true;
        } else if (words[i] == "per" && !scoped && i + 1 < words.size() &&
                   (words[i + 1] == "source" || words[i + 1] == "peer")) {
            rate.scope = words[++i] == "peer" ? Rate::Scope::peer : Rate::Scope::source;
            scoped = true;
        } else if (words[i] == "burst" && !burst && i + 1 < words.size()) {
            const auto number = parse_decimal<std::uint32_t>(words[++i], kCountMax);
            if (!number || *number == 0)
                return fail("'" + printable(words[i]) + "' is not a burst (1 to 1000000)");
            rate.burst = *number;
            burst = true;
        } else {
            return fail("'" + printable(words[i]) + "' is not understood" + std::string(kForm) +
                        "; the scopes are per source, per peer, global");
        }
    }
    return rate;
}

std::string to_text(const Rate& rate) {
    std::string text = std::to_string(rate.count) + "/";
    for (const auto& [name, length] : kUnits) {
        if (rate.interval == length) text += name;
    }
    text += rate.scope == Rate::Scope::source ? " per source"
            : rate.scope == Rate::Scope::peer ? " per peer"
                                              : " global";
    return rate.burst == rate.count ? text : text + " burst " + std::to_string(rate.burst);
}

}  // namespace vern::policy
