#include "steps.h"

#include <fmt/format.h>
#include <signal.h>

#include <csignal>
#include <cstdio>

#include "command.h"
#include "control/process.h"
#include "control/text.h"

namespace vern::cli {
namespace {

volatile std::sig_atomic_t signal_received = 0;

void note_signal(int number) { signal_received = number; }

std::string joined(const Words& words) {
    std::string line;
    for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
    return line;
}

// What a program wrote, as a part of our sentence.
std::string last_words(const ProcessResult& result) {
    std::string text = result.errors.empty() ? result.output : result.errors;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    if (text.empty()) return fmt::format("exit status {}", result.status);
    return text;
}

Error of_failed(const Words& words, const ProcessResult& result) {
    return Error{fmt::format("{}: {}", joined(words), last_words(result)), EIO};
}

}  // namespace

Steps::Steps(bool quiet) : quiet_(quiet) {
    struct sigaction action {};
    action.sa_handler = note_signal;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
}

void Steps::show(std::string_view what) const {
    if (!quiet_) say(fmt::format("[#] {}\n", what));
}

Result<void> Steps::interrupted() const {
    if (!heed_signals_ || signal_received == 0) return {};
    return fail(fmt::format("interrupted (signal {})", static_cast<int>(signal_received)), EINTR);
}

Result<void> Steps::run(const Words& words, std::string_view input) {
    if (auto stop = interrupted(); !stop) return stop;
    show(joined(words));
    const auto result = run_process(words, {.input = input, .keep_terminal = false});
    if (!result) return tl::unexpected(result.error());
    if (auto stop = interrupted(); !stop) return stop;
    if (!result->ok()) return tl::unexpected(of_failed(words, *result));
    if (!quiet_) say(result->errors);
    return {};
}

Result<void> Steps::ip_batch(const std::string& family, const std::vector<Words>& commands,
                             OnError on_error) {
    if (commands.empty()) return {};
    std::string lines;
    for (const Words& command : commands) {
        show(fmt::format("ip {} {}", family, joined(command)));
        lines += joined(command) + "\n";
    }
    if (auto stop = interrupted(); !stop) return stop;
    Words batch{"ip", family, "-batch", "-"};
    if (on_error == OnError::go_on) batch.insert(batch.begin() + 2, "-force");
    auto result = run_process(batch, {.input = lines, .to_its_end = !heed_signals_});
    if (!result) return tl::unexpected(result.error());
    if (result->ok()) return {};
    // "Command failed -:3" names the line, behind what was wrong with it.
    std::size_t failed = 0;
    if (const auto at = result->errors.find("Command failed -:"); at != std::string::npos) {
        const std::string_view rest = std::string_view(result->errors).substr(at + 17);
        failed = parse_decimal<std::size_t>(rest.substr(0, rest.find_first_not_of("0123456789"))).value_or(0);
        if (at > 0) result->errors.resize(at);
    }
    if (failed == 0 && result->errors.empty())  // as where a signal ended it: no command is at fault
        return tl::unexpected(of_failed(batch, *result));
    Words words{"ip", family};
    const Words& command = commands[failed > 0 && failed <= commands.size() ? failed - 1 : 0];
    words.insert(words.end(), command.begin(), command.end());
    return tl::unexpected(of_failed(words, *result));
}

Result<void> Steps::hooks(const std::vector<std::string>& lines, std::string_view interface) {
    const bool has_bash = !find_program("bash").empty();
    for (std::string line : lines) {
        for (auto at = line.find("%i"); at != std::string::npos;
             at = line.find("%i", at + interface.size())) {
            line.replace(at, 2, interface);
        }
        if (auto stop = interrupted(); !stop) return stop;
        show(line);
        const auto result =
            run_process({has_bash ? "bash" : "sh", "-c", line}, {.input = {}, .keep_terminal = true});
        if (!result) return tl::unexpected(result.error());
        if (auto stop = interrupted(); !stop) return stop;
        if (!result->ok())
            return fail(fmt::format("hook failed with status {}: {}", result->status, line), EIO);
    }
    return {};
}

Result<std::string> ask(const Words& words) {
    auto result = run_process(words);
    if (!result) return tl::unexpected(result.error());
    if (!result->ok()) return tl::unexpected(of_failed(words, *result));
    return std::move(result->output);
}

nlohmann::json ask_ip(Words words) {
    words.insert(words.begin(), {"ip", "-j"});
    const auto output = ask(words);
    nlohmann::json list = nlohmann::json::array();
    if (!output) return list;
    nlohmann::json parsed = nlohmann::json::parse(*output, nullptr, false);
    if (!parsed.is_array()) return list;
    for (auto& entry : parsed) {
        if (entry.is_object() && !entry.empty())
            list.push_back(std::move(entry));  // ip prints {} for what it filtered out
    }
    return list;
}

}  // namespace vern::cli
