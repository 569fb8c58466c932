// vern audit: the trail that a daemon keeps, read where it lies; no daemon is asked.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "command.h"
#include "control/audit/export.h"
#include "control/audit/sentence.h"
#include "control/audit/trail_files.h"
#include "control/audit/verify.h"
#include "control/policy/control.h"
#include "control/text.h"
#include "policy.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;
using namespace vern::audit;
using nlohmann::json;

constexpr std::size_t kTailMost = 100'000;
constexpr int kFollowPause_ms = 250;

std::string option(const Invocation& invocation, const char* name) {
    return invocation.has(name) ? invocation.options[name].as<std::string>() : std::string();
}

int wrong(const std::string& what) {
    print_error(what);
    return kUsage;
}

// Of --dir, of --interface, or of the only interface that has one.
Result<std::string> directory_of(const Invocation& invocation) {
    if (invocation.has("dir")) return option(invocation, "dir");
    const char* set = std::getenv("VERN_STATE_DIR");
    const std::string state = set && *set ? set : std::string(policy::kStateDirectory);
    if (invocation.has("interface")) {
        const std::string name = option(invocation, "interface");
        if (!is_interface_name(name))
            return fail("'" + printable(name, 32) + "' cannot be an interface's name");
        return state + "/" + name + "/audit";
    }
    std::vector<std::string> names;
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(state, failure)) {
        if (std::filesystem::is_directory(entry.path() / "audit", failure))
            names.push_back(entry.path().filename());
    }
    if (failure && failure != std::errc::no_such_file_or_directory)
        return fail(state + ": " + failure.message(), failure.value());
    if (names.empty()) return fail(state + ": no interface has a trail there (--dir, --interface)", ENOENT);
    if (names.size() == 1) return state + "/" + names.front() + "/audit";
    std::sort(names.begin(), names.end());
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    return fail("which interface? --interface, out of " + all);
}

// tail

void print_line(const LineReader::Line& line, bool as_json) {
    if (as_json) return fmt::print("{}\n", printable(line.text, kLineBytesMax));
    const auto read = line.too_long ? fail("too long") : read_line(line.text);
    if (!read) return fmt::print("(no record: {})\n", read.error().message);
    fmt::print("{} {}\n", time_text(read->record.time), sentence_of(read->record));
}

Result<void> print_rest(LineReader& reader, std::size_t& skip, bool as_json) {
    while (true) {
        const auto line = reader.next();
        if (!line) return tl::unexpected(line.error());
        if (!*line) return {};
        if (skip > 0)
            --skip;
        else
            print_line(**line, as_json);
    }
}

Result<std::size_t> count_lines(const TrailFile& file) {
    LineReader reader(file.fd.get());
    for (std::size_t count = 0;; ++count) {
        const auto line = reader.next();
        if (!line) return tl::unexpected(line.error());
        if (!*line) {
            ::lseek(file.fd.get(), 0, SEEK_SET);
            return count;
        }
    }
}

// The next newer file, or the same if there is none. If it was rotated away meanwhile, the oldest comes next.
Result<TrailFile> next_file(const std::string& directory, const TrailFile& file) {
    auto files = open_trail(directory);
    if (!files) return tl::unexpected(files.error());
    auto found = std::find_if(files->begin(), files->end(),
                              [&](const TrailFile& other) { return other.is_same_file(file); });
    if (found == files->end()) return std::move(files->front());
    if (found + 1 != files->end()) ++found;
    return std::move(*found);
}

Result<void> follow(const std::string& directory, TrailFile file, LineReader reader, bool as_json) {
    std::size_t skip = 0;
    while (std::fflush(stdout) == 0) {
        ::poll(nullptr, 0, kFollowPause_ms);
        // Looked for before the rest is read: after a rotation nothing is added to the old one.
        auto next = next_file(directory, file);
        if (!next && next.error().code != ENOENT) return tl::unexpected(next.error());
        if (auto printed = print_rest(reader, skip, as_json); !printed) return printed;
        if (!next || next->is_same_file(file)) continue;
        file = std::move(*next);
        reader = LineReader(file.fd.get());
        if (auto printed = print_rest(reader, skip, as_json); !printed) return printed;
    }
    return {};
}

Result<void> print_tail(const std::string& directory, std::size_t count, bool as_json, bool follows) {
    auto files = open_trail(directory);
    if (!files) return tl::unexpected(files.error());
    std::size_t first = files->size(), lines = 0;
    while (first > 0 && lines < count) {
        const auto more = count_lines((*files)[--first]);
        if (!more) return tl::unexpected(more.error());
        lines += *more;
    }
    if (first == files->size()) --first;  // none are wanted; what comes is
    std::size_t skip = count == 0 ? std::numeric_limits<std::size_t>::max() : lines - std::min(lines, count);
    for (; first < files->size(); ++first) {
        LineReader reader((*files)[first].fd.get());
        if (auto printed = print_rest(reader, skip, as_json); !printed) return printed;
        if (follows && first + 1 == files->size())
            return follow(directory, std::move((*files)[first]), std::move(reader), as_json);
    }
    return {};
}

int tail(const Invocation& invocation, const std::string& directory) {
    const auto count = parse_decimal<std::size_t>(
        invocation.has("lines") ? option(invocation, "lines") : std::string("10"), kTailMost);
    if (!count) return wrong(fmt::format("--lines: a number from 0 to {} is wanted", kTailMost));
    const auto printed = print_tail(directory, *count, invocation.has("json"), invocation.has("follow"));
    return printed ? kSuccess : failed(printed.error());
}

// verify

json place_json(const Broken& broken) {
    return {{"file", broken.at.file}, {"line", broken.at.line}, {"what", broken.what}};
}

int verify(const Invocation& invocation, const std::string& directory) {
    const auto result = audit::verify(directory);
    if (!result) return failed(result.error());
    const auto place = [&](const Broken& broken) {
        return fmt::format("{}/{}:{}: {}", directory, broken.at.file, broken.at.line, broken.what);
    };
    if (invocation.has("json")) {
        json answer{{"ok", !result->broken},
                    {"records", result->records},
                    {"first_seq", result->first_seq},
                    {"last_seq", result->last_seq},
                    {"last_hash", result->last_hash},
                    {"warnings", json::array()},
                    {"more_warnings", result->more_warnings}};
        for (const Broken& warning : result->warnings) answer["warnings"].push_back(place_json(warning));
        if (result->broken) answer["broken"] = place_json(*result->broken);
        if (result->records > 0) {
            answer["first_time"] = time_text(result->first_time);
            answer["last_time"] = time_text(result->last_time);
        }
        print_json(answer);
        return result->broken ? kFailure : kSuccess;
    }
    for (const Broken& warning : result->warnings) fmt::print(stderr, "Warning: {}\n", place(warning));
    if (result->more_warnings > 0) fmt::print(stderr, "Warning: and {} more\n", result->more_warnings);
    if (result->broken) {
        print_error(place(*result->broken));
        return kFailure;
    }
    if (result->records == 0) {
        fmt::print("intact: no records\n");
        return kSuccess;
    }
    fmt::print("intact: {} records, {} to {}, {} to {}\n", result->records, result->first_seq,
               result->last_seq, time_text(result->first_time), time_text(result->last_time));
    if (result->first_seq > 1)
        fmt::print("what was before record {} has been rotated away\n", result->first_seq);
    fmt::print("last: {} {}\n", result->last_seq, result->last_hash);
    return kSuccess;
}

// export

// "2026-11-22", "2026-11-22T09:30:00Z", or how long ago: "90s", "30m", "12h", "7d".
std::optional<WallTime> moment_of(const std::string& text) {
    if (const auto time = parse_time(text)) return time;
    if (const auto day = parse_time(text + "T00:00:00Z")) return day;
    if (text.empty()) return std::nullopt;
    const auto unit = std::string_view("smhd").find(text.back());
    const auto count =
        parse_decimal<std::uint32_t>(std::string_view(text).substr(0, text.size() - 1), 1'000'000);
    if (unit == std::string_view::npos || !count) return std::nullopt;
    constexpr std::array<std::int64_t, 4> kSeconds{1, 60, 3600, 86400};
    return std::chrono::system_clock::now() - std::chrono::seconds(*count * kSeconds[unit]);
}

Result<Filter> filter_of(const Invocation& invocation) {
    Filter filter;
    for (const auto& [name, member] :
         {std::pair("since", &Filter::since), std::pair("until", &Filter::until)}) {
        if (!invocation.has(name)) continue;
        filter.*member = moment_of(option(invocation, name));
        if (!(filter.*member))
            return fail(fmt::format(
                "--{}: a day, a time in UTC (2026-11-22T09:30:00Z) or how long ago (30m, 12h, 7d) is wanted",
                name));
    }
    const std::string kinds = option(invocation, "kind");
    for (std::string_view list = kinds; !list.empty();) {
        const auto name = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), name.size() + 1));
        const auto kind = kind_of(name);
        if (!kind) return fail("--kind: '" + printable(name) + "' is no kind of record (vern help audit)");
        filter.kinds.push_back(*kind);
    }
    filter.peer = option(invocation, "peer");
    filter.rule = option(invocation, "rule");
    return filter;
}

int export_records(const Invocation& invocation, const std::string& directory) {
    const auto format = format_of(invocation.has("format") ? option(invocation, "format") : "json");
    if (!format) return wrong("--format: json, ecs or csv is wanted");
    const auto filter = filter_of(invocation);
    if (!filter) return wrong(filter.error().message);
    fmt::print("{}", header_of(*format));
    const auto strange = each_record(directory, *filter, [&](const Record& record, std::string_view line) {
        const std::string text = audit::text_of(*format, record, line);
        return std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    });
    if (!strange) return failed(strange.error());
    if (*strange == 0) return kSuccess;
    print_error(fmt::format("{} lines are no records, and were passed over (vern audit verify)", *strange));
    return kFailure;
}

int run_audit(const Invocation& invocation) {
    struct Sub {
        std::string_view name;
        int (*run)(const Invocation&, const std::string& directory);
        std::vector<const char*> options;
    };
    const Sub subs[] = {{"tail", &tail, {"follow", "lines", "json"}},
                        {"verify", &verify, {"json"}},
                        {"export", &export_records, {"since", "until", "kind", "peer", "rule", "format"}}};
    const std::string& what = invocation.operands[0];
    const auto sub =
        std::find_if(std::begin(subs), std::end(subs), [&](const Sub& s) { return s.name == what; });
    if (sub == std::end(subs)) return wrong("no command 'audit " + what + "' (vern help audit)");
    for (const Sub& other : subs) {
        for (const char* name : other.options) {
            const bool ours = std::any_of(sub->options.begin(), sub->options.end(),
                                          [&](const char* one) { return std::string_view(one) == name; });
            if (invocation.has(name) && !ours)
                return wrong(fmt::format("--{} does not belong to audit {}", name, what));
        }
    }
    const auto directory = directory_of(invocation);
    if (!directory) return failed(directory.error());
    return sub->run(invocation, *directory);
}

void declare(po::options_description& options) {
    const auto text = [] { return po::value<std::string>(); };
    options.add_options()("interface,i", text()->value_name("NAME"),
                          "whose trail; needed only where several have one")(
        "dir", text()->value_name("DIR"), "where the trail is, if not in the state directory")(
        "follow,f", "tail: go on as records come")("lines,n", text()->value_name("N"),
                                                   "tail: the last N (10)")(
        "since", text()->value_name("TIME"),
        "export: from TIME on (2026-11-22, 2026-11-22T09:30:00Z, 12h ago: 12h)")(
        "until", text()->value_name("TIME"), "export: before TIME")(
        "kind", text()->value_name("LIST"), "export: of these kinds, with commas between them")(
        "peer", text()->value_name("PEER"), "export: of this peer, by its name or its key")(
        "rule", text()->value_name("ID"), "export: of this rule")(
        "format", text()->value_name("FORM"), "export: json (as it is kept; the default), ecs or csv")(
        "json,j", "tail: the lines as they are; verify: print JSON");
}

}  // namespace

const Command kAudit{
    "audit",
    "tail | verify | export",
    "who reached what under which rule: show, verify, export",
    "tail            the last records, one line each; -f: and those that come\n"
    "verify          whether the trail is what was written; exit status 1 and the first place if it is not\n"
    "export          records for other programs\n\n"
    "Kinds: flow-allowed, flow-denied, flow-rejected, would-deny, policy-loaded, policy-confirmed,\n"
    "policy-rolled-back, policy-removed, policy-refused, identity-bound, identity-refused, identity-ended,\n"
    "trust-changed, handshake-failed, roamed, limit, records-lost, started, stopped.",
    1,
    1,
    declare,
    run_audit};

}  // namespace vern::cli
