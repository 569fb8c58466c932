#include "control/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "dataplane/io/fd.h"

namespace vern {
namespace {

struct Pipe {
    Fd reading;
    Fd writing;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("pipe", errno);
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

struct Pipes {
    Pipe input, output, errors;
    Pipe started;  // closes when the program has been started, carries errno when it could not
};

Result<Pipes> make_pipes() {
    Pipes pipes;
    for (Pipe* pipe : {&pipes.input, &pipes.output, &pipes.errors, &pipes.started}) {
        auto made = make_pipe();
        if (!made) return tl::unexpected(made.error());
        *pipe = std::move(*made);
    }
    return pipes;
}

// Between fork and exec: only what is safe there.
[[noreturn]] void become(char* const* arguments, const Pipes& pipes, const ProcessOptions& options) {
    const bool connected = options.keep_terminal || (::dup2(pipes.input.reading.get(), 0) >= 0 &&
                                                     ::dup2(pipes.output.writing.get(), 1) >= 0 &&
                                                     ::dup2(pipes.errors.writing.get(), 2) >= 0);
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    ::sigaction(SIGPIPE, &action, nullptr);
    if (options.to_its_end) action.sa_handler = SIG_IGN;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
    if (connected) ::execvp(arguments[0], arguments);
    const int code = errno;
    if (::write(pipes.started.writing.get(), &code, sizeof code) != sizeof code) ::_exit(126);
    ::_exit(127);
}

// Moves what there is. False: that end is closed.
bool take(int fd, std::string& out) {
    std::array<char, 16 * 1024> chunk;
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0) return errno == EINTR || errno == EAGAIN;
    const auto bytes = static_cast<std::size_t>(got);
    if (out.size() + bytes <= kProcessOutputMax) out.append(chunk.data(), bytes);
    return got > 0;
}

bool give(int fd, std::string_view& input) {
    const ssize_t put = ::write(fd, input.data(), input.size());
    if (put < 0) return errno == EINTR || errno == EAGAIN;  // EPIPE: it does not want to know
    input.remove_prefix(static_cast<std::size_t>(put));
    return !input.empty();
}

void drain(Fd& fd, std::string& out) {
    while (fd) {
        const std::size_t before = out.size();
        if (!take(fd.get(), out)) fd.reset();
        if (out.size() == before) return;
    }
}

// Carries input and output until the program has ended; without a descriptor for it (old kernels), until it
// closes its output.
void attend(int program, Pipes& pipes, std::string_view input, ProcessResult& result) {
    for (const Fd* fd : {&pipes.input.writing, &pipes.output.reading, &pipes.errors.reading})
        ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
    if (input.empty()) pipes.input.writing.reset();
    while (true) {
        std::array<pollfd, 4> set{{{program, POLLIN, 0},
                                   {pipes.output.reading.get(), POLLIN, 0},
                                   {pipes.errors.reading.get(), POLLIN, 0},
                                   {pipes.input.writing.get(), POLLOUT, 0}}};
        if (::poll(set.data(), set.size(), -1) < 0) {
            if (errno == EINTR) continue;
            return;
        }
        if (set[1].revents != 0 && !take(set[1].fd, result.output)) pipes.output.reading.reset();
        if (set[2].revents != 0 && !take(set[2].fd, result.errors)) pipes.errors.reading.reset();
        if (set[3].revents != 0 && !give(set[3].fd, input)) pipes.input.writing.reset();
        if (set[0].revents != 0) break;
        if (program < 0 && !pipes.output.reading && !pipes.errors.reading) break;
    }
    drain(pipes.output.reading, result.output);
    drain(pipes.errors.reading, result.errors);
}

int wait_for(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Result<ProcessResult> run_process(const std::vector<std::string>& arguments, const ProcessOptions& options) {
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    auto pipes = make_pipes();
    if (!pipes) return tl::unexpected(pipes.error());

    const pid_t child = ::fork();
    if (child < 0) return fail_errno("fork", errno);
    if (child == 0) become(pointers.data(), *pipes, options);
    pipes->input.reading.reset();
    pipes->output.writing.reset();
    pipes->errors.writing.reset();
    pipes->started.writing.reset();

    int code = 0;
    ssize_t told = 0;
    while ((told = ::read(pipes->started.reading.get(), &code, sizeof code)) < 0 && errno == EINTR) {
    }
    if (told > 0) {
        wait_for(child);
        return fail_errno("cannot run " + arguments.front(), code);
    }
    ProcessResult result;
    // By number: glibc 2.36's header does not declare it for C++.
    const Fd program(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    if (!options.keep_terminal) attend(program.get(), *pipes, options.input, result);
    result.status = wait_for(child);
    return result;
}

std::string find_program(std::string_view name) {
    const char* path = std::getenv("PATH");
    std::string_view rest =
        path != nullptr ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    while (!rest.empty()) {
        const auto colon = rest.find(':');
        // Not where this process happens to be, which an empty element stands for, too.
        const std::string_view directory = rest.substr(0, colon);
        std::string file = std::string(directory) + "/" + std::string(name);
        if (directory.starts_with('/') && ::access(file.c_str(), X_OK) == 0) return file;
        rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
    }
    return {};
}

}  // namespace vern
