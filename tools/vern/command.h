// What every command of `vern` is made of. One file a command (or a few that belong together); main.cpp finds
// and runs them.
#pragma once

#include <boost/program_options.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/error.h"

namespace vern::cli {

inline constexpr int kSuccess = 0;
inline constexpr int kFailure = 1;
inline constexpr int kUsage = 2;

struct Invocation {
    boost::program_options::variables_map options;
    std::vector<std::string> operands;
    bool has(const char* option) const { return options.count(option) != 0; }
};

struct Command {
    std::string_view name;
    std::string_view synopsis;  // what comes after the name
    std::string_view summary;   // for the list of commands
    std::string_view description;
    std::size_t operands_min;
    std::size_t operands_max;
    void (*declare)(boost::program_options::options_description& options);  // nullptr: none of its own
    int (*run)(const Invocation& invocation);                               // gives the exit status
};

extern const Command kGenkey, kGenpsk, kPubkey, kShow, kUp, kDown, kSave, kCheck, kBench, kPolicy, kExplain,
    kFlows, kAudit, kTrust, kIdentity, kWhois, kPresent, kStatement, kSync;

// On standard error, as it is. Nothing ends because nobody could be told: what was begun goes on or is
// undone.
void say(std::string_view text);
// "vern: what", a line for each line, on standard error.
void print_error(std::string_view what);
inline int failed(const Error& error) {
    print_error(error.message);
    return kFailure;
}
// The error a call without rights ends in, before anything is changed.
Result<void> require_root();

}  // namespace vern::cli
