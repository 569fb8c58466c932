// The body of a request as a JSON object, read by name. Whatever is not read, or is of another type, refuses
// the request.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/message.h"
#include "control/json.h"
#include "control/text.h"
#include "control/trust/ssh_key.h"

namespace vern::api {

class JsonBody {
    using json = nlohmann::json;

  public:
    explicit JsonBody(const std::string& text) {
        // An object of texts and lists of them. What is nested more costs far more to read than to send.
        constexpr unsigned kDepthMax = 2;
        if (!is_deeper(text, kDepthMax)) object_ = json::parse(text, nullptr, false);
        if (!object_.is_object()) wrong_ = "a JSON object of texts is wanted";
    }
    std::optional<std::string> text(const char* name) {
        const json* value = member(name);
        if (value == nullptr) return std::nullopt;
        if (value->is_string()) return value->get<std::string>();
        wrong(name, "a text is wanted");
        return std::nullopt;
    }
    std::string wanted_text(const char* name) {
        if (!object_.is_object() || object_.contains(name)) return text(name).value_or("");
        wrong(name, "is missing");
        return {};
    }
    PublicKey wanted_key(const char* name) {
        PublicKey key;
        if (const std::string coded = wanted_text(name); !coded.empty() && !from_base64(coded, key.bytes))
            wrong(name, "a key in base64 is wanted");
        return key;
    }
    // Since 1970.
    std::optional<std::int64_t> seconds(const char* name) {
        const json* value = member(name);
        if (value == nullptr) return std::nullopt;
        if (value->is_number_integer()) return value->get<std::int64_t>();
        wrong(name, "seconds since 1970 are wanted");
        return std::nullopt;
    }
    std::vector<std::string> texts(const char* name) {
        std::vector<std::string> all;
        const json* value = member(name);
        if (value == nullptr) return all;
        if (!value->is_array()) {
            wrong(name, "a list of texts is wanted");
            return all;
        }
        for (const json& one : *value) {
            if (one.is_string())
                all.push_back(one.get<std::string>());
            else
                wrong(name, "a list of texts is wanted");
        }
        return all;
    }
    std::optional<std::string> bytes(const char* name) {
        const auto coded = text(name);
        if (!coded) return std::nullopt;
        auto bytes = trust::decode_base64(*coded, "", name);
        if (bytes) return std::move(*bytes);
        wrong(name, "base64 is wanted");
        return std::nullopt;
    }
    std::optional<Response> refused() {
        if (object_.is_object()) {
            for (const auto& [name, value] : object_.items()) {
                if (wrong_.empty() && std::ranges::find(known_, name) == known_.end())
                    wrong_ = "'" + printable(name, 32) + "' is not known here";
            }
        }
        if (wrong_.empty()) return std::nullopt;
        return error_response(400, "bad-body", wrong_);
    }

  private:
    const json* member(const char* name) {
        known_.emplace_back(name);
        if (!object_.is_object()) return nullptr;
        const auto found = object_.find(name);
        return found == object_.end() || found->is_null() ? nullptr : &*found;
    }
    void wrong(std::string_view name, std::string_view what) {
        if (wrong_.empty()) wrong_ = std::string(name) + ": " + std::string(what);
    }

    json object_;
    std::vector<std::string> known_;
    std::string wrong_;
};

}  // namespace vern::api
