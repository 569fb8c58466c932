// Trails for tests, and what is in them.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "control/audit/export.h"
#include "control/audit/trail.h"
#include "control/audit/verify.h"
#include "temporary_directory.h"

namespace vern::audit::test {

using vern::test::read_file;
using vern::test::TemporaryDirectory;

inline constexpr WallTime kNoon{std::chrono::seconds(1'800'000'000)};
inline constexpr Instant kBoot{std::chrono::hours(1)};

inline Record denied(std::uint16_t port, WallTime time = kNoon) {
    Record record;
    record.kind = Kind::flow_denied;
    record.time = time;
    record.reason = "policy_no_rule";
    record.direction = "in";
    record.protocol = "tcp";
    record.src = "10.100.0.3";
    record.src_port = 40000;
    record.dst = "10.100.0.1";
    record.dst_port = port;
    record.peer = "web-1";
    record.peer_key = "dXNlIHRoZSBrZXkgb2YgeW91ciBvd24gcGVlciAhISE=";
    return record;
}

inline Trail open(const std::string& directory, TrailOptions options = {}) {
    if (options.host.empty()) options.host = "db";
    options.interface = "wg0";
    auto trail = Trail::open(directory, std::move(options), kNoon);
    if (!trail) throw std::runtime_error(trail.error().message);
    return std::move(*trail);
}

inline void write_some(const std::string& directory, unsigned count, TrailOptions options = {}) {
    Trail trail = open(directory, std::move(options));
    for (unsigned i = 0; i < count; ++i) trail.write(denied(static_cast<std::uint16_t>(i)));
}

// "" if it is intact, else FILE:LINE.
inline std::string broken_at(const std::string& directory) {
    const auto result = verify(directory);
    if (!result) return result.error().message;
    return result->broken ? result->broken->at.file + ":" + std::to_string(result->broken->at.line) : "";
}

inline std::vector<std::string> lines_of(const std::string& directory,
                                         const std::string& name = "audit.jsonl") {
    std::ifstream file(directory + "/" + name);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

inline void write_lines(const TemporaryDirectory& directory, const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    directory.write("audit.jsonl", text);
}

inline std::vector<Record> records_of(const std::string& directory, const Filter& filter = {}) {
    std::vector<Record> records;
    const auto strange = each_record(directory, filter, [&](const Record& record, std::string_view) {
        records.push_back(record);
        return true;
    });
    EXPECT_TRUE(strange && *strange == 0);
    return records;
}

}  // namespace vern::audit::test
