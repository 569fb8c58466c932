// What is found wrong or odd in a file, each with its place; told in the order of the file, the first ten of
// them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/policy/document.h"

namespace vern::policy {

class Messages {
  public:
    explicit Messages(std::string_view file_name) : file_(file_name) {}

    void error(Position at, std::string what) { add(errors_, at, std::move(what)); }
    void warn(Position at, std::string what) { add(warnings_, at, std::move(what)); }
    bool failed() const { return !errors_.empty(); }
    const std::string& file() const { return file_; }

    // "file:line:column: what", a line each.
    std::string errors();
    std::vector<std::string> warnings();

  private:
    static constexpr std::size_t kToldMax = 10;
    static constexpr std::size_t kKeptMax = 10'000;  // a file of 8 MiB can be wrong in millions of places

    struct Message {
        Position at;
        std::string what;
    };
    void add(std::vector<Message>& to, Position at, std::string what) {
        if (to.size() < kKeptMax) to.push_back({at, std::move(what)});
    }
    std::vector<std::string> told(std::vector<Message>& messages) const;

    std::string file_;
    std::vector<Message> errors_;
    std::vector<Message> warnings_;
};

}  // namespace vern::policy
