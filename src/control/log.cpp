#include "control/log.h"

#include <syslog.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace vern {
namespace {

std::atomic<LogLevel> level{LogLevel::error};
std::string prefix;
std::atomic<bool> to_system{false};

// One write a line, so that lines of several threads do not mix.
void write_line(std::string_view kind, int priority, std::string_view message) noexcept {
    std::string line;
    line.append(kind).append(prefix).append(message);
    for (char& c : line) {
        if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    }
    if (to_system.load(std::memory_order_relaxed)) return ::syslog(LOG_DAEMON | priority, "%s", line.c_str());
    line += '\n';
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void set_log_level(LogLevel wanted) noexcept { level.store(wanted, std::memory_order_relaxed); }
void set_log_name(std::string_view interface_name) { prefix = "(" + std::string(interface_name) + ") "; }

void log_to_system() noexcept {
    ::openlog("vernd", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    to_system.store(true, std::memory_order_relaxed);
}

void log_error(std::string_view message) noexcept {
    if (level.load(std::memory_order_relaxed) >= LogLevel::error) write_line("error: ", LOG_ERR, message);
}

void log_notice(std::string_view message) noexcept {
    if (level.load(std::memory_order_relaxed) >= LogLevel::error) write_line("", LOG_NOTICE, message);
}

void log_verbose(std::string_view message) noexcept {
    if (level.load(std::memory_order_relaxed) >= LogLevel::verbose) write_line("", LOG_DEBUG, message);
}

}  // namespace vern
