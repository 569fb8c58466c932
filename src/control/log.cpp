#include "control/log.h"

#include <syslog.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>

#include "control/text.h"

namespace vern {
namespace {

std::atomic<LogLevel> level{LogLevel::error};
std::string prefix;
std::atomic<bool> to_system{false};

// One write a line, so that lines of several threads do not mix. Of no memory of its own: that there is none
// may be what it has to say.
void write_line(std::string_view kind, int priority, std::string_view message,
                std::string_view why = {}) noexcept {
    std::array<char, kLogLineBytesMax> line;
    std::size_t size = 0;
    for (const std::string_view part :
         {kind, std::string_view(prefix), message, std::string_view(why.empty() ? "" : ": "), why}) {
        const std::string_view fits = part.substr(0, line.size() - 1 - size);
        fits.copy(line.data() + size, fits.size());
        mask_controls({line.data() + size, fits.size()}, ' ');
        size += fits.size();
    }
    if (to_system.load(std::memory_order_relaxed))
        return ::syslog(LOG_DAEMON | priority, "%.*s", static_cast<int>(size), line.data());
    line[size++] = '\n';
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), size);
}

}  // namespace

void set_log_level(LogLevel wanted) noexcept { level.store(wanted, std::memory_order_relaxed); }
void set_log_name(std::string_view interface_name) { prefix = "(" + std::string(interface_name) + ") "; }

void log_to_system() noexcept {
    ::openlog("vernd", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    to_system.store(true, std::memory_order_relaxed);
}

void log_error(std::string_view message, std::string_view why) noexcept {
    if (level.load(std::memory_order_relaxed) >= LogLevel::error)
        write_line("error: ", LOG_ERR, message, why);
}

void log_notice(std::string_view message) noexcept {
    if (level.load(std::memory_order_relaxed) >= LogLevel::error) write_line("", LOG_NOTICE, message);
}

void log_verbose(std::string_view message) noexcept {
    if (level.load(std::memory_order_relaxed) >= LogLevel::verbose) write_line("", LOG_DEBUG, message);
}

}  // namespace vern
