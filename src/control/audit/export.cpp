#include "control/audit/export.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/audit/ecs.h"
#include "control/audit/trail_files.h"

namespace vern::audit {
namespace {

// RFC 4180: every text in quotes, quotes doubled.
std::string csv_text(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
    return quoted + "\"";
}

std::string csv_line(const Record& record) {
    std::string line = fmt::format("{},{},{}", record.seq, time_text(record.time), name_of(record.kind));
    for (const Field& field : fields()) {
        line += ',';
        if (field.text && !(record.*field.text).empty()) line += csv_text(record.*field.text);
        if (field.number && record.*field.number) line += std::to_string(*(record.*field.number));
    }
    return line + "\n";
}

}  // namespace

bool Filter::takes(const Record& record) const {
    if ((since && record.time < *since) || (until && record.time >= *until)) return false;
    if (!kinds.empty() && std::find(kinds.begin(), kinds.end(), record.kind) == kinds.end()) return false;
    if (!peer.empty() && peer != record.peer && peer != record.peer_key) return false;
    return rule.empty() || rule == record.rule;
}

std::optional<Format> format_of(std::string_view name) {
    if (name == "json") return Format::json;
    if (name == "ecs") return Format::ecs;
    if (name == "csv") return Format::csv;
    return std::nullopt;
}

std::string header_of(Format format) {
    if (format != Format::csv) return {};
    std::string line = "seq,time,kind";
    for (const Field& field : fields()) line.append(1, ',').append(field.name);
    return line + "\n";
}

std::string text_of(Format format, const Record& record, std::string_view line) {
    switch (format) {
        case Format::json: return std::string(line) + "\n";
        case Format::ecs: return ecs_of(record) + "\n";
        case Format::csv: return csv_line(record);
    }
    return {};
}

Result<std::uint64_t> each_record(const std::string& directory, const Filter& filter, const Take& take) {
    const auto files = open_trail(directory);
    if (!files) return tl::unexpected(files.error());
    std::uint64_t strange = 0;
    for (const TrailFile& file : *files) {
        LineReader reader(file.fd.get());
        while (true) {
            const auto line = reader.next();
            if (!line) return tl::unexpected(line.error());
            if (!*line) break;
            const auto read = (*line)->too_long ? fail("too long") : read_line((*line)->text);
            if (!read)
                ++strange;
            else if (filter.takes(read->record) && !take(read->record, (*line)->text))
                return strange;
        }
    }
    return strange;
}

}  // namespace vern::audit
