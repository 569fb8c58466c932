// The JSON of libnftables read with care, and told as nft would print it, about.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "control/json.h"

namespace vern::policy {

// JSON of strangers: every look is a careful one. null where there is nothing of that name.
const nlohmann::json& at(const nlohmann::json& value, std::string_view key);
std::string string_at(const nlohmann::json& value, std::string_view key);
std::optional<std::uint64_t> number_of(const nlohmann::json& value);

std::string value_text(const nlohmann::json& value);
std::string left_text(const nlohmann::json& left);
std::string statement_text(const nlohmann::json& statement);
std::string rule_text(const nlohmann::json& rule);

}  // namespace vern::policy
