// The operator's command line: finds the command and lets it run.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <system_error>

#include "command.h"
#include "control/files.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;

constexpr const Command* kCommands[] = {
    &kUp,       &kDown,    &kSync,      &kSave,  &kCheck, &kShow,   &kPolicy, &kExplain, &kFlows, &kTrust,
    &kIdentity, &kPresent, &kStatement, &kWhois, &kAudit, &kGenkey, &kGenpsk, &kPubkey,  &kBench};

const Command* find_command(std::string_view name) {
    const auto found = std::find_if(std::begin(kCommands), std::end(kCommands),
                                    [&](const Command* c) { return c->name == name; });
    return found == std::end(kCommands) ? nullptr : *found;
}

void print_overview(std::FILE* out) {
    fmt::print(out,
               "Usage: vern COMMAND [OPTIONS] [ARGUMENTS]\n\nWireGuard tunnels run by vernd.\n\nCommands:\n");
    for (const Command* command : kCommands) fmt::print(out, "  {:9} {}\n", command->name, command->summary);
    fmt::print(out,
               "\n  vern help COMMAND   what a command does, and its options\n"
               "  vern --version      the version\n\nSee vern(8).\n");
}

po::options_description options_of(const Command& command) {
    po::options_description options("Options");
    options.add_options()("help,h", "show this help");
    if (command.declare != nullptr) command.declare(options);
    return options;
}

void print_help(const Command& command) {
    fmt::print("Usage: vern {} {}\n\n{}\n\n", command.name, command.synopsis, command.description);
    std::fflush(stdout);
    std::cout << options_of(command) << std::flush;
}

int usage(const Command& command, std::string_view what) {
    say(fmt::format("vern {}: {}\nUsage: vern {} {}\n", command.name, what, command.name, command.synopsis));
    return kUsage;
}

int run_command(const Command& command, const std::vector<std::string>& arguments) {
    Invocation invocation;
    try {
        auto options = options_of(command);
        options.add_options()("operand", po::value(&invocation.operands));
        po::positional_options_description positions;
        positions.add("operand", -1);
        po::command_line_parser parser(arguments);
        using namespace po::command_line_style;
        parser.options(options).positional(positions).style(unix_style & ~allow_guessing);
        po::store(parser.run(), invocation.options);
        po::notify(invocation.options);
    } catch (const po::error& error) {
        return usage(command, error.what());
    }
    if (invocation.has("help")) {
        print_help(command);
        return kSuccess;
    }
    if (invocation.operands.size() < command.operands_min) return usage(command, "something is missing");
    if (invocation.operands.size() > command.operands_max) {
        return usage(command, "'" + invocation.operands[command.operands_max] + "' is too much");
    }
    return command.run(invocation);
}

int help(const std::vector<std::string>& arguments) {
    if (arguments.empty()) {
        print_overview(stdout);
        return kSuccess;
    }
    const Command* command = find_command(arguments.front());
    if (command == nullptr) {
        print_error("no command '" + arguments.front() + "' (vern help)");
        return kUsage;
    }
    print_help(*command);
    return kSuccess;
}

int dispatch(std::vector<std::string> arguments) {
    if (arguments.empty()) {
        print_overview(stderr);
        return kUsage;
    }
    const std::string name = arguments.front();
    arguments.erase(arguments.begin());
    if (name == "help" || name == "--help" || name == "-h") return help(arguments);
    if (name == "--version" || name == "version") {
        fmt::print("vern {}\n", VERN_VERSION);
        return kSuccess;
    }
    if (const Command* command = find_command(name)) return run_command(*command, arguments);
    print_error("no command '" + name + "' (vern help)");
    return kUsage;
}

// What was printed is worth nothing if it did not arrive: a full disk must not look like success.
int finish(int status) {
    errno = 0;
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
    if (errno != EPIPE) print_error("cannot write to standard output");  // who read it has seen enough
    return status == kSuccess ? kFailure : status;
}

}  // namespace

void say(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

void print_error(std::string_view what) {
    while (!what.empty()) {
        const auto end = what.find('\n');
        say(fmt::format("vern: {}\n", what.substr(0, end)));
        what.remove_prefix(end == std::string_view::npos ? what.size() : end + 1);
    }
}

Result<void> require_root() {
    if (::geteuid() == 0) return {};
    return fail("this needs root (try: sudo vern ...)", EPERM);
}

}  // namespace vern::cli

int main(int argc, char** argv) {
    vern::keep_standard_streams();
    ::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is a failed write, told like any other
    try {
        return vern::cli::finish(vern::cli::dispatch({argv + std::min(argc, 1), argv + argc}));
    } catch (const std::system_error& error) {
        // Who read it has seen enough.
        if (error.code() != std::errc::broken_pipe) vern::cli::print_error(error.what());
        return vern::cli::kFailure;
    } catch (const std::exception& error) {
        vern::cli::print_error(error.what());
        return vern::cli::kFailure;
    }
}
