// The daemon's log: one line a message, to standard error (systemd and terminals take it from there). Holds
// no secrets and no payload.
#pragma once

#include <cstddef>
#include <string_view>

namespace vern {

inline constexpr std::size_t kLogLineBytesMax = 4096;  // with its end; what is longer is cut off

enum class LogLevel { silent, error, verbose };

void set_log_level(LogLevel level) noexcept;
void set_log_name(
    std::string_view interface_name);  // "(wg0)" in front of every line; before other threads run
// From here on to syslog(3): standard error goes nowhere in the background.
void log_to_system() noexcept;
// "message: why", or the message alone. Allocates nothing, as all of these.
void log_error(std::string_view message, std::string_view why = {}) noexcept;  // any thread
// What happened, and is no error: shown with errors, as policies and what they deny must be.
void log_notice(std::string_view message) noexcept;   // any thread
void log_verbose(std::string_view message) noexcept;  // any thread

}  // namespace vern
