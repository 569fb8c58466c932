#include "control/api/parameters.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/text.h"

namespace vern::api {

void Parameters::wrong(std::string_view name, std::string_view what) {
    if (error_.empty()) error_ = fmt::format("{}: {}", name, what);
}

std::optional<std::string> Parameters::text(std::string_view name) {
    known_.push_back(name);
    for (const auto& [given, value] : request_.target.query) {
        if (given == name) return value;
    }
    return std::nullopt;
}

std::optional<std::uint64_t> Parameters::number(std::string_view name, std::uint64_t min, std::uint64_t max) {
    const auto given = text(name);
    if (!given) return std::nullopt;
    const auto value = parse_decimal<std::uint64_t>(*given, max);
    if (value && *value >= min) return value;
    wrong(name, fmt::format("a number from {} to {} is wanted", min, max));
    return std::nullopt;
}

bool Parameters::flag(std::string_view name) {
    const auto given = text(name);
    if (given && *given != "true" && *given != "false") wrong(name, "'true' or 'false' is wanted");
    return given == "true";
}

std::optional<std::chrono::seconds> Parameters::duration(std::string_view name, std::chrono::seconds max) {
    const auto given = text(name);
    if (!given) return std::nullopt;
    const auto value = parse_duration(*given, max);
    if (!value) wrong(name, fmt::format("a time from 1s to {}s is wanted (60s, 5m)", max.count()));
    return value;
}

std::optional<Response> Parameters::refusal() const {
    for (const auto& [given, value] : request_.target.query) {
        if (std::find(known_.begin(), known_.end(), given) == known_.end())
            return error_response(400, "unknown-parameter", "no parameter '" + printable(given) + "' here");
    }
    if (error_.empty()) return std::nullopt;
    return error_response(400, "bad-parameter", error_);
}

}  // namespace vern::api
