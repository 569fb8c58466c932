// Parts of a trail for other programs: which records, and in which form. Any thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "control/audit/record.h"
#include "crypto/error.h"

namespace vern::audit {

struct Filter {
    std::optional<WallTime> since, until;  // since <= time < until
    std::vector<Kind> kinds;               // any of them; empty: all
    std::string peer;                      // its name or its key; empty: all
    std::string rule;                      // empty: all
    bool takes(const Record& record) const;
};

enum class Format { json, ecs, csv };
std::optional<Format> format_of(std::string_view name);

// The line of the header, with LF; empty if the format has none.
std::string header_of(Format format);
// With LF. `line` is as it is in the trail.
std::string text_of(Format format, const Record& record, std::string_view line);

// Each record that the filter takes, the oldest first, until `take` says false. Lines that are no records are
// counted and passed over: whether a trail is whole is verify()'s business.
using Take = std::function<bool(const Record& record, std::string_view line)>;
Result<std::uint64_t> each_record(const std::string& directory, const Filter& filter, const Take& take);

}  // namespace vern::audit
