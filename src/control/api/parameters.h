// The query of a request, read by name. Whatever is not read, or cannot be, refuses the request: a misspelt
// "confirm" must not apply a policy for good.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/message.h"

namespace vern::api {

class Parameters {
  public:
    explicit Parameters(const Request& request) : request_(request) {}

    std::optional<std::string> text(std::string_view name);
    std::optional<std::uint64_t> number(std::string_view name, std::uint64_t min, std::uint64_t max);
    bool flag(std::string_view name);  // "true" or "false"; false if it is not there
    // "60", "60s", "5m", "1h": from a second to `max`.
    std::optional<std::chrono::seconds> duration(std::string_view name, std::chrono::seconds max);

    // After all have been read: the answer to a request that is not to be carried out.
    std::optional<Response> refusal() const;

  private:
    void wrong(std::string_view name, std::string_view what);

    const Request& request_;
    std::vector<std::string_view> known_;
    std::string error_;
};

}  // namespace vern::api
