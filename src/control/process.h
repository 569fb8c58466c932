// Other programs, run by a list of arguments: no shell, unless a shell is what is run. CLI only: it blocks
// until the program ends.
//
// Arguments are visible to everybody on the host: no secrets in them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "crypto/error.h"

namespace vern {

struct ProcessOptions {
    std::string_view input;      // its standard input; empty: /dev/null
    bool keep_terminal = false;  // standard input, output and error are ours, nothing is captured (hooks)
    bool to_its_end = false;     // SIGINT, SIGTERM and SIGHUP, which a terminal sends to all, do not end it
};

struct ProcessResult {
    int status = 0;      // exit status, or 128 + the signal that ended it
    std::string output;  // of standard output, no more than kProcessOutputMax
    std::string errors;  // of standard error, likewise
    bool ok() const { return status == 0; }
};

inline constexpr std::size_t kProcessOutputMax = std::size_t{64} << 20;

// Waits for the program itself, not for what it leaves behind in the background, even if that keeps our pipes
// open. A program that cannot be started at all is an error (ENOENT: there is none of that name).
Result<ProcessResult> run_process(const std::vector<std::string>& arguments,
                                  const ProcessOptions& options = {});

// The file that `name` would run, by PATH; empty if there is none.
std::string find_program(std::string_view name);

}  // namespace vern
