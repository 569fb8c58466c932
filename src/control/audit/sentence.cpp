#include "control/audit/sentence.h"

#include <fmt/format.h>

#include "control/text.h"

namespace vern::audit {
namespace {

std::string end_text(const std::string& address, const Record::Number& port) {
    if (address.empty()) return port ? fmt::format("port {}", *port) : "?";
    std::string shown = printable(address);
    if (!port) return shown;
    return shown.find(':') == std::string::npos ? fmt::format("{}:{}", shown, *port)
                                                : fmt::format("[{}]:{}", shown, *port);
}

}  // namespace

std::string sentence_of(const Record& record) {
    constexpr std::size_t kTextMax = 1000;
    std::string line(name_of(record.kind));
    const auto put = [&](std::string_view before, const std::string& value) {
        if (!value.empty()) line.append(before).append(printable(value, kTextMax));
    };
    put(" ", record.direction);
    put(" ", record.peer.empty() ? record.peer_key : record.peer);
    put(" ", record.protocol);
    if (!record.src.empty() || !record.dst.empty() || record.dst_port)
        line += fmt::format(" {} > {}", end_text(record.src, record.src_port),
                            end_text(record.dst, record.dst_port));
    put(", rule ", record.rule);
    if (record.rule.empty()) put(" ", record.policy_version);
    put(", identity ", record.identity);
    put(", serial ", record.serial);
    put(", until ", record.not_after);
    if (record.suppressed)
        line += fmt::format(", {}{}", *record.suppressed, record.kind == Kind::records_lost ? "" : " more");
    if (!record.by.empty()) line += ", by " + record.by;
    put(" (", record.reason);
    if (!record.reason.empty()) line += ')';
    put(": ", record.detail);
    return line;
}

}  // namespace vern::audit
