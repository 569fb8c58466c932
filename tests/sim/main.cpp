// vern-sim: runs seeded worlds and says which invariant broke in which.
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string_view>

#include "crypto/start.h"
#include "world.h"

namespace {

using namespace vern::sim;

constexpr std::string_view kUsage =
    "Usage: vern-sim [--seeds N] [--first-seed S] [--coverage]   run N worlds (100), from seed S (0) on\n"
    "       vern-sim --seed S [--quiet]                          run one world and print its trace\n"
    "  --hosts H      hosts in a world, 2 to 6 (else by the seed)\n"
    "  --minutes M    virtual minutes of trouble (else by the seed)\n"
    "  --coverage     fail when some fault or counter never occurred\n";

struct Arguments {
    std::uint64_t seeds = 100;
    std::uint64_t first = 0;
    bool one = false;
    bool quiet = false;
    bool coverage = false;
    Options options;
};

bool parse(int argc, char** argv, Arguments& out) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--coverage") {
            out.coverage = true;
            continue;
        }
        if (name == "--quiet") {
            out.quiet = true;
            continue;
        }
        if (i + 1 == argc) return false;
        const char* const text = argv[++i];
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
        if (error != std::errc{} || *end != '\0') return false;
        if (name == "--seeds") {
            out.seeds = value;
        } else if (name == "--first-seed") {
            out.first = value;
        } else if (name == "--seed") {
            out.first = value;
            out.seeds = 1;
            out.one = true;
        } else if (name == "--hosts" && value >= 2 && value <= kHostsMax) {
            out.options.hosts = static_cast<unsigned>(value);
        } else if (name == "--minutes" && value >= 1 && value <= 600) {
            out.options.minutes = static_cast<unsigned>(value);
        } else {
            return false;
        }
    }
    return true;
}

std::string replay_command(const Arguments& arguments, std::uint64_t seed) {
    std::string command = fmt::format("vern-sim --seed {}", seed);
    if (arguments.options.hosts) command += fmt::format(" --hosts {}", *arguments.options.hosts);
    if (arguments.options.minutes) command += fmt::format(" --minutes {}", *arguments.options.minutes);
    return command;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    if (!parse(argc, argv, arguments)) {
        std::fputs(kUsage.data(), stderr);
        return 2;
    }
    if (!vern::start_crypto()) {
        std::fputs("vern-sim: the crypto libraries cannot be used\n", stderr);
        return 1;
    }
    arguments.options.verbose = arguments.one && !arguments.quiet;
    Coverage total;
    std::uint64_t failed = 0;
    const std::clock_t begin = std::clock();
    for (std::uint64_t seed = arguments.first; seed < arguments.first + arguments.seeds; ++seed) {
        arguments.options.seed = seed;
        const Outcome outcome = World(arguments.options).run();
        total.merge(outcome.coverage);
        if (arguments.one) fmt::print("trace hash {:016x}\n", outcome.hash);
        if (!outcome.violation) continue;
        ++failed;
        if (!arguments.options.verbose) fmt::print("{}", outcome.tail);
        fmt::print("seed {}: invariant '{}' broken at {}.{:09} s: {}\nreplay: {}\n", seed,
                   outcome.violation->invariant, outcome.violation->at / kSecond,
                   outcome.violation->at % kSecond, outcome.violation->message,
                   replay_command(arguments, seed));
        std::fflush(stdout);
        if (failed == 10) break;
    }
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    fmt::print("{}", total.report());
    bool covered = true;
    if (arguments.coverage) {
        for (const std::string& name : total.missing()) {
            fmt::print("never happened: {}\n", name);
            covered = false;
        }
    }
    fmt::print("{} worlds in {:.1f} s of CPU time ({:.0f} a second), {} failed\n", total.worlds, seconds,
               static_cast<double>(total.worlds) / seconds, failed);
    return failed == 0 && covered ? 0 : 1;
}
