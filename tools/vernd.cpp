// vernd IFNAME: the daemon of one WireGuard interface. Arguments and environment are wireguard-go's, and some
// of its own.
#include <malloc.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "control/daemon.h"
#include "control/daemonize.h"
#include "control/files.h"
#include "control/log.h"
#include "control/text.h"
#include "crypto/start.h"

namespace {

using namespace vern;
namespace po = boost::program_options;

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

struct Arguments {
    DaemonOptions daemon;
    bool foreground = false;
    LogLevel log_level = LogLevel::error;
};

Result<void> read_offloads(std::string_view list, DaemonOptions& options) {
    struct Name {
        std::string_view name;
        std::vector<bool*> switches;
    };
    const Name names[] = {{"gso", {&options.runtime.udp.gso, &options.runtime.engine_options.udp_gso}},
                          {"gro", {&options.runtime.udp.gro}},
                          {"tso", {&options.tun.tso}},
                          {"uso", {&options.tun.uso}}};
    const auto set_all = [&](bool on) {
        for (const Name& name : names) {
            for (bool* one : name.switches) *one = on;
        }
    };
    // A list that begins with a name says what may be on; one that begins with a minus, what may not.
    if (list.empty() || list.front() != '-') set_all(list == "all");
    if (list == "none" || list == "all") return {};
    while (!list.empty()) {
        const std::string_view item = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), item.size() + 1));
        const bool on = item.empty() || item.front() != '-';
        const std::string_view wanted = on ? item : item.substr(1);
        bool known = false;
        for (const Name& name : names) {
            if (name.name != wanted) continue;
            known = true;
            for (bool* one : name.switches) *one = on;
        }
        if (!known)
            return fail(fmt::format("--offload: \"{}\" is none of gso, gro, tso, uso, all, none", wanted));
    }
    return {};
}

Result<void> read_engine(const std::string& name, DaemonOptions& options) {
    using Choice = RuntimeOptions::EngineChoice;
    if (name == "auto")
        options.runtime.engine = Choice::best;
    else if (name == "io_uring")
        options.runtime.engine = Choice::io_uring;
    else if (name == "epoll")
        options.runtime.engine = Choice::epoll;
    else
        return fail("--engine: \"" + name + "\" is none of auto, io_uring, epoll");
    return {};
}

// One tunnel is one worker's; what helpers take off it is the AEAD, half of the work. With three of them that
// is done, and the rest is the worker's alone. Two CPUs are needed by what uses the tunnel and by the
// kernel's part.
unsigned usual_helpers(unsigned workers) {
    cpu_set_t ours;
    CPU_ZERO(&ours);
    const int cpus = ::sched_getaffinity(0, sizeof ours, &ours) == 0 ? CPU_COUNT(&ours) : 1;
    constexpr unsigned kMembersMax = 4;
    if (cpus <= 2 || workers >= kMembersMax) return 0;
    const unsigned members = std::min(static_cast<unsigned>(cpus), kMembersMax);
    return members > workers ? members - workers : 0;
}

Result<void> read_hand_over(const std::string& when, DaemonOptions& options) {
    if (when == "auto")
        options.runtime.hand_over = HandOver::automatic;
    else if (when == "always")
        options.runtime.hand_over = HandOver::always;
    else if (when == "never")
        options.runtime.hand_over = HandOver::never;
    else
        return fail("--hand-over: \"" + when + "\" is none of auto, always, never");
    return {};
}

Result<void> read_aead(const std::string& name, DaemonOptions& options) {
    options.aead = aead::find(name);
    if (options.aead) {
        options.aead_reason = "chosen by --aead";
        return {};
    }
    std::string known;
    for (const auto* implementation : aead::implementations())
        known += (known.empty() ? "" : ", ") + std::string(implementation->name);
    return fail("--aead: \"" + name + "\" is not one that this CPU and build have (" + known + ")");
}

Result<LogLevel> read_log_level(std::string_view name) {
    if (name == "silent") return LogLevel::silent;
    if (name == "error") return LogLevel::error;
    if (name == "verbose" || name == "debug") return LogLevel::verbose;
    return fail("log level \"" + std::string(name) + "\" is none of silent, error, verbose");
}

Result<int> read_fd(const char* variable) {
    const char* text = std::getenv(variable);
    if (!text || !*text) return -1;
    const std::string_view digits(text);
    int fd = -1;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), fd);
    if (status != std::errc{} || end != digits.data() + digits.size() || fd < 0)
        return fail(std::string(variable) + ": not the number of a file descriptor");
    return fd;
}

Result<void> read_environment(Arguments& arguments) {
    if (const char* level = std::getenv("LOG_LEVEL"); level && *level) {
        if (auto read = read_log_level(level))
            arguments.log_level = *read;  // as wireguard-go, which passes over what it does not know
    }
    if (const char* policy = std::getenv("VERN_POLICY"); policy && *policy)
        arguments.daemon.policy_file = policy;
    if (const char* state = std::getenv("VERN_STATE_DIR"); state && *state)
        arguments.daemon.state_directory = state;
    const char* foreground = std::getenv("WG_PROCESS_FOREGROUND");
    arguments.foreground = foreground && std::string_view(foreground) == "1";
    const auto tun = read_fd("WG_TUN_FD");
    if (!tun) return tl::unexpected(tun.error());
    const auto uapi = read_fd("WG_UAPI_FD");
    if (!uapi) return tl::unexpected(uapi.error());
    arguments.daemon.tun_fd = *tun;
    arguments.daemon.uapi_fd = *uapi;
    return {};
}

Result<std::vector<policy::Selector>> read_selectors(const po::variables_map& values, const char* option) {
    std::vector<policy::Selector> selectors;
    if (!values.count(option)) return selectors;
    for (const std::string& text : values[option].as<std::vector<std::string>>()) {
        auto selector = policy::parse_selector(text);
        if (!selector || !text.starts_with("x509:"))
            return fail(std::string("--") + option + ": " +
                        (selector ? "x509:... is wanted" : selector.error().message));
        selectors.push_back(std::move(*selector));
    }
    return selectors;
}

Result<void> read_operators(const po::variables_map& values, DaemonOptions& options) {
    const auto text = [&](const char* option) {
        return values.count(option) ? values[option].as<std::string>() : std::string();
    };
    auto writers = read_selectors(values, "api-writer"), readers = read_selectors(values, "api-reader");
    if (!writers) return tl::unexpected(writers.error());
    if (!readers) return tl::unexpected(readers.error());
    const std::string listen = text("api-listen");
    const bool others = !text("api-ca").empty() || !text("api-tls-cert").empty() ||
                        !text("api-tls-key").empty() || !writers->empty() || !readers->empty();
    if (listen.empty()) return others ? fail("--api-...: only with --api-listen") : Result<void>();
    const auto at = split_endpoint(listen);
    const auto address = at ? parse_address(at->host) : std::nullopt;
    if (!address) return fail("--api-listen: ADDR:PORT is wanted, as 192.0.2.1:8443 or [2001:db8::1]:8443");
    if (text("api-ca").empty() || text("api-tls-cert").empty() || text("api-tls-key").empty())
        return fail("--api-listen: needs --api-ca, --api-tls-cert and --api-tls-key");
    if (writers->empty() && readers->empty())
        return fail("--api-listen: nobody may do anything without --api-writer or --api-reader");
    options.api_tls = api::OperatorTls{.address = *address,
                                       .port = at->port,
                                       .files = {text("api-tls-cert"), text("api-tls-key")},
                                       .ca_file = text("api-ca"),
                                       .writers = std::move(*writers),
                                       .readers = std::move(*readers)};
    return {};
}

Result<void> read_options(const po::variables_map& values, Arguments& arguments) {
    arguments.foreground |= values.count("foreground") > 0;
    if (values.count("log-level")) {
        auto level = read_log_level(values["log-level"].as<std::string>());
        if (!level) return tl::unexpected(level.error());
        arguments.log_level = *level;
    }
    if (auto read = read_engine(values["engine"].as<std::string>(), arguments.daemon); !read) return read;
    if (values.count("offload")) {
        if (auto read = read_offloads(values["offload"].as<std::string>(), arguments.daemon); !read)
            return read;
    }
    if (values.count("aead")) {
        if (auto read = read_aead(values["aead"].as<std::string>(), arguments.daemon); !read) return read;
    }
    if (auto read = read_hand_over(values["hand-over"].as<std::string>(), arguments.daemon); !read)
        return read;
    if (values.count("policy")) arguments.daemon.policy_file = values["policy"].as<std::string>();
    if (values.count("state-dir")) arguments.daemon.state_directory = values["state-dir"].as<std::string>();
    if (values.count("audit-dir")) arguments.daemon.audit_directory = values["audit-dir"].as<std::string>();
    arguments.daemon.audit = values.count("no-audit") == 0;
    arguments.daemon.audit_journal = values.count("audit-journal") > 0;
    if (!arguments.daemon.audit &&
        (arguments.daemon.audit_journal || !arguments.daemon.audit_directory.empty()))
        return fail("--no-audit: with --audit-dir or --audit-journal it makes no sense");
    const unsigned identity_port = values["identity-port"].as<unsigned>();
    if (identity_port > 65535) return fail("--identity-port: from 0 to 65535");
    arguments.daemon.identity_port = static_cast<std::uint16_t>(identity_port);
    if (auto read = read_operators(values, arguments.daemon); !read) return read;
    // The daemon changes to / when it goes to the background.
    std::vector<std::string*> paths{&arguments.daemon.policy_file, &arguments.daemon.state_directory,
                                    &arguments.daemon.audit_directory};
    if (auto& tls = arguments.daemon.api_tls)
        paths.insert(paths.end(), {&tls->ca_file, &tls->files.certificate, &tls->files.key});
    for (std::string* path : paths) {
        if (!path->empty()) *path = std::filesystem::absolute(*path).string();
    }
    const unsigned workers = values["workers"].as<unsigned>();
    if (workers < 1 || workers > kWorkersMax)
        return fail(fmt::format("--workers: from 1 to {}", kWorkersMax));
    arguments.daemon.tun.queues = workers;
    const unsigned helpers =
        values.count("helpers") ? values["helpers"].as<unsigned>() : usual_helpers(workers);
    if (helpers > kWorkersMax) return fail(fmt::format("--helpers: from 0 to {}", kWorkersMax));
    arguments.daemon.runtime.helpers = helpers;
    return {};
}

// A configuration of 10,000 peers comes as megabytes of text, once: what it took must go back to the system.
// Fixing the threshold keeps glibc from raising it with the first large block, and one arena is enough for
// threads that hardly ever allocate.
void keep_heap_small() {
    ::mallopt(M_MMAP_THRESHOLD, 64 << 10);
    ::mallopt(M_TRIM_THRESHOLD, 256 << 10);
    ::mallopt(M_ARENA_MAX, 1);
}

// Keys must reach neither a core file nor another process of the same user.
void protect_memory() {
    ::prctl(PR_SET_DUMPABLE, 0);
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
}

// Peers that prove who they are have connections, as many as a soft limit of 1024 is used up by.
void allow_descriptors() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

int run(Arguments arguments) {
    set_log_level(arguments.log_level);
    allow_descriptors();
    keep_heap_small();
    protect_memory();
    if (!start_crypto()) {
        std::fputs("vernd: libsodium or OpenSSL could not be started\n", stderr);
        return kExitFailure;
    }
    std::optional<Background> background;
    if (!arguments.foreground) {
        auto begun = Background::begin();
        if (!begun) {
            std::fprintf(stderr, "vernd: %s\n", begun.error().message.c_str());
            return kExitFailure;
        }
        background.emplace(std::move(*begun));
    }
    auto daemon = Daemon::start(std::move(arguments.daemon));
    if (!daemon) {
        std::fprintf(stderr, "vernd: %s\n", daemon.error().message.c_str());
        return kExitFailure;
    }
    if (background) {
        log_to_system();
        background->ready();
    }
    notify_service_manager("READY=1");
    const std::string why = (*daemon)->run();
    notify_service_manager("STOPPING=1");
    log_verbose(why);
    return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
    keep_standard_streams();
    po::options_description shown("Options");
    // clang-format off
    shown.add_options()
        ("foreground,f", "stay in the foreground")
        ("engine", po::value<std::string>()->default_value("auto")->value_name("NAME"), "auto, io_uring or epoll; auto takes io_uring where the host allows it")
        ("offload", po::value<std::string>()->value_name("LIST"), "which of gso,gro,tso,uso may be used, or -gso,-tso to turn some off; all, none")
        ("aead", po::value<std::string>()->value_name("NAME"), "which ChaCha20-Poly1305; the best for this CPU if not given")
        ("workers", po::value<unsigned>()->default_value(1)->value_name("N"), "threads that carry packets, each with a queue of the interface")
        ("helpers", po::value<unsigned>()->value_name("N"), "threads that only encrypt and decrypt for workers; with more than 2 CPUs up to 3 if not given, else none")
        ("hand-over", po::value<std::string>()->default_value("auto")->value_name("WHEN"), "whether idle workers encrypt for busy ones: auto (while CPUs are free), always, never")
        ("policy", po::value<std::string>()->value_name("FILE"), "the policy to begin with, where none was applied before; VERN_POLICY if not given")
        ("state-dir", po::value<std::string>()->value_name("DIR"), "where policies and audit trails are kept; VERN_STATE_DIR if not given, else /var/lib/vern")
        ("audit-dir", po::value<std::string>()->value_name("DIR"), "where this interface's audit trail is kept, or the daemon does not start; if not given, in its state directory")
        ("audit-journal", "send audit records to systemd's journal as well")
        ("no-audit", "keep no audit trail")
        ("identity-port", po::value<unsigned>()->default_value(api::kTunnelPort)->value_name("PORT"), "TCP port of the tunnel where peers prove who they are, while a CA is trusted; 0: none")
        ("api-listen", po::value<std::string>()->value_name("ADDR:PORT"), "the control API over TLS 1.3 as well, for client certificates of --api-ca; needs --api-tls-cert, --api-tls-key and --api-writer or --api-reader")
        ("api-ca", po::value<std::string>()->value_name("FILE"), "the CA of operators' certificates, PEM")
        ("api-tls-cert", po::value<std::string>()->value_name("FILE"), "the daemon's certificate and its intermediates, PEM")
        ("api-tls-key", po::value<std::string>()->value_name("FILE"), "its key, PEM, for its owner's eyes only")
        ("api-writer", po::value<std::vector<std::string>>()->value_name("SELECTOR"), "who may change things: x509:ou=Ops, x509:cn=ada; may be repeated")
        ("api-reader", po::value<std::vector<std::string>>()->value_name("SELECTOR"), "who may look; may be repeated")
        ("log-level", po::value<std::string>()->value_name("LEVEL"), "silent, error or verbose; LOG_LEVEL if not given, else error")
        ("version", "print the version and end")
        ("help,h", "print this and end");
    // clang-format on
    po::options_description all;
    all.add(shown).add_options()("interface", po::value<std::string>());
    po::positional_options_description positional;
    positional.add("interface", 1);

    po::variables_map values;
    try {
        po::store(po::command_line_parser(argc, argv).options(all).positional(positional).run(), values);
    } catch (const po::error& error) {
        std::fprintf(stderr, "vernd: %s\nTry 'vernd --help'.\n", error.what());
        return kExitUsage;
    }
    if (values.count("help")) {
        std::cout << "Usage: vernd [options] IFNAME\n\nCarries the WireGuard interface IFNAME; configure it "
                     "with vern, wg or wg-quick.\n\n"
                  << shown;
        return EXIT_SUCCESS;
    }
    if (values.count("version")) {
        std::cout << "vernd " VERN_VERSION "\n";
        return EXIT_SUCCESS;
    }
    if (!values.count("interface")) {
        std::fputs("vernd: which interface? Usage: vernd [options] IFNAME\n", stderr);
        return kExitUsage;
    }
    Arguments arguments;
    arguments.daemon.interface_name = values["interface"].as<std::string>();
    if (!is_interface_name(arguments.daemon.interface_name)) {
        std::fprintf(stderr,
                     "vernd: \"%s\" is no interface name: at most 15 letters, digits and any of _=+.- make "
                     "one, and it begins with no -\n",
                     printable(arguments.daemon.interface_name).c_str());
        return kExitUsage;
    }
    if (auto read = read_environment(arguments).and_then([&] { return read_options(values, arguments); });
        !read) {
        std::fprintf(stderr, "vernd: %s\n", read.error().message.c_str());
        return kExitUsage;
    }
    try {
        return run(std::move(arguments));
    } catch (const std::bad_alloc&) {
        log_error("out of memory");
    } catch (const std::exception& error) {
        log_error(error.what());
    }
    return kExitFailure;  // all that was made has been taken away on the way here
}
