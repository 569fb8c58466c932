// vern bench.
#include "bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "bench_rate.h"
#include "command.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;
using namespace bench;

constexpr double kLossMost = 0.005;
constexpr std::size_t kRoundTrips = 500;
constexpr std::uint32_t kSmallBytes = 64;
constexpr std::uint32_t kLargeBytes = 1300;
constexpr double kFloodRate = 500'000;

struct Plan {
    milliseconds duration{5000};
    unsigned repeat = 3;
    std::string only;
    bool has(std::string_view part) const {
        return only.empty() || ("," + only + ",").find("," + std::string(part) + ",") != std::string::npos;
    }
};

// The figures of a run, in the order in which they came first.
class Figures {
  public:
    void add(const std::string& scenario, const std::string& metric, const std::string& unit, double value) {
        const auto found = std::find_if(all_.begin(), all_.end(), [&](const Figure& f) {
            return f.scenario == scenario && f.metric == metric;
        });
        if (found != all_.end())
            found->samples.push_back(value);
        else
            all_.push_back({scenario, metric, unit, {value}});
        fmt::print(stderr, "  {} {}: {:.4g} {}\n", scenario, metric, value, unit);
    }
    const std::vector<Figure>& all() const noexcept { return all_; }

  private:
    std::vector<Figure> all_;
};

Result<void> measure_tcp(Client& client, const Plan& plan, Figures& figures) {
    for (const std::size_t streams : {std::size_t{1}, std::size_t{4}}) {
        for (const bool down : {false, true}) {
            const auto result = client.tcp(down, streams, plan.duration);
            if (!result) return tl::unexpected(result.error());
            const std::string scenario = fmt::format("tcp{}", streams);
            const std::string way = down ? "down" : "up";
            figures.add(scenario, way, "Gb/s", result->bits_per_second / 1e9);
            figures.add(scenario, way + " retransmits", "segments", static_cast<double>(result->retransmits));
        }
    }
    return {};
}

Result<void> measure_udp(Client& client, const Plan& plan, std::uint32_t bytes, Figures& figures) {
    const std::string scenario = fmt::format("udp{}", bytes);
    const auto probe = std::max(plan.duration / 3, milliseconds(500));
    double reordered = 0;
    const auto carries = [&](double rate) -> Result<bool> {
        const auto result = client.udp({.bytes = bytes, .rate = rate, .duration = probe});
        if (!result) return tl::unexpected(result.error());
        reordered += static_cast<double>(result->received.reordered);
        // A sender that does not reach the rate has not shown that the path carries it.
        return result->loss() <= kLossMost && result->sent_rate() >= 0.97 * rate;
    };
    const auto highest = highest_rate({}, carries);
    if (!highest) return tl::unexpected(highest.error());
    figures.add(scenario, "loss-free rate", "kpps", *highest / 1e3);
    const auto flood = client.udp({.bytes = bytes, .rate = kFloodRate, .duration = plan.duration});
    if (!flood) return tl::unexpected(flood.error());
    figures.add(scenario, "offered in flood", "kpps", flood->sent_rate() / 1e3);
    figures.add(scenario, "delivered in flood", "kpps", flood->delivered_rate() / 1e3);
    figures.add(scenario, "reordered", "packets", reordered + static_cast<double>(flood->received.reordered));
    return {};
}

Result<void> measure_latency(Client& client, Figures& figures) {
    auto trips = client.round_trips(kRoundTrips, kSmallBytes);
    if (!trips) return tl::unexpected(trips.error());
    if (trips->empty()) return fail("no datagram came back");
    std::sort(trips->begin(), trips->end());
    double sum = 0;
    for (const double trip : *trips) sum += trip;
    const auto count = trips->size();
    figures.add("latency", "average", "ms", sum / static_cast<double>(count) / 1e6);
    figures.add("latency", "p50", "ms", (*trips)[count / 2] / 1e6);
    figures.add("latency", "p99", "ms", (*trips)[count * 99 / 100] / 1e6);
    figures.add("latency", "lost", "%", 100 * (1 - static_cast<double>(count) / kRoundTrips));
    return {};
}

Result<void> measure(Client& client, const Plan& plan, Figures& figures) {
    for (unsigned round = 1; round <= plan.repeat; ++round) {
        fmt::print(stderr, "round {} of {}\n", round, plan.repeat);
        Result<void> done;
        if (plan.has("latency")) done = measure_latency(client, figures);
        if (done && plan.has("tcp")) done = measure_tcp(client, plan, figures);
        for (const std::uint32_t bytes : {kSmallBytes, kLargeBytes}) {
            if (done && plan.has("udp")) done = measure_udp(client, plan, bytes, figures);
        }
        if (!done) return done;
    }
    return {};
}

int run_one_load(Client& client, const Invocation& invocation, const Plan& plan) {
    const auto bytes = invocation.options["udp-size"].as<std::uint32_t>();
    const double rate = invocation.options["udp-rate"].as<double>();
    if (bytes < kDatagramBytesMin || bytes > kDatagramBytesMax) {
        print_error(fmt::format("--udp-size: from {} to {}", kDatagramBytesMin, kDatagramBytesMax));
        return kUsage;
    }
    if (!(rate >= 1 && rate <= kRateMax)) {
        print_error(fmt::format("--udp-rate: from 1 to {:.0f}", kRateMax));
        return kUsage;
    }
    const auto result = client.udp({.bytes = bytes, .rate = rate, .duration = plan.duration});
    if (!result) return failed(result.error());
    fmt::print("{}\n", to_json(*result).dump());
    return kSuccess;
}

int run_client(const Invocation& invocation, const std::string& host, std::uint16_t port) {
    Plan plan;
    const double seconds = invocation.options["seconds"].as<double>();
    if (!(seconds >= 0.1 && seconds <= 60)) {
        print_error("--seconds: from 0.1 to 60");
        return kUsage;
    }
    plan.duration = milliseconds(static_cast<std::int64_t>(seconds * 1000));
    plan.repeat = std::clamp(invocation.options["repeat"].as<unsigned>(), 1U, 100U);
    if (invocation.has("only")) plan.only = invocation.options["only"].as<std::string>();
    if (!plan.has("tcp") && !plan.has("udp") && !plan.has("latency")) {
        print_error("--only: some of tcp,udp,latency");
        return kUsage;
    }
    auto client = Client::connect(host, port);
    if (!client) return failed(client.error());
    if (invocation.has("udp-rate")) return run_one_load(*client, invocation, plan);
    Figures figures;
    const auto done = measure(*client, plan, figures);
    const std::string path = "path to " + client->server();
    if (invocation.has("json"))
        fmt::print("{}\n", to_json(figures.all(), path).dump(2));
    else
        fmt::print("{}, as seen from this host:\n\n{}", path, to_markdown(figures.all()));
    return done ? kSuccess : failed(done.error());  // what was measured before is printed all the same
}

void declare(po::options_description& options) {
    // clang-format off
    options.add_options()
        ("port", po::value<std::uint16_t>()->default_value(kDefaultPort)->value_name("N"), "TCP and UDP port of the server")
        ("once", "server: end after the first client")
        ("seconds", po::value<double>()->default_value(5)->value_name("S"), "client: how long one test takes")
        ("repeat", po::value<unsigned>()->default_value(3)->value_name("N"), "client: how often everything is measured")
        ("only", po::value<std::string>()->value_name("LIST"), "client: some of tcp,udp,latency")
        ("json", "client: print JSON, with the samples and this host")
        ("udp-rate", po::value<double>()->value_name("PPS"), "client: nothing but one UDP load at this rate, as a line of JSON")
        ("udp-size", po::value<std::uint32_t>()->default_value(kSmallBytes)->value_name("BYTES"), "client: UDP payload of that load");
    // clang-format on
}

int run(const Invocation& invocation) {
    const std::string& role = invocation.operands[0];
    const std::string& host = invocation.operands[1];
    const auto port = invocation.options["port"].as<std::uint16_t>();
    if (role == "client") return run_client(invocation, host, port);
    if (role != "server") {
        print_error("bench: '" + role + "' is neither server nor client");
        return kUsage;
    }
    const auto served = serve({.address = host, .port = port, .once = invocation.has("once")});
    return served ? kSuccess : failed(served.error());
}

}  // namespace

const Command kBench{
    "bench",
    "server|client HOST [OPTIONS]",
    "measure a path between two hosts",
    "Measures TCP throughput both ways, the UDP rates that arrive, and round trips, between two hosts,\n"
    "through a tunnel or beside it.\n\n"
    "  there$ vern bench server 10.77.0.2     serves this address of its own only, one client at a time\n"
    "  here$  vern bench client 10.77.0.2\n\n"
    "The server answers whoever reaches its address: give it one inside the tunnel.",
    2,
    2,
    declare,
    run};

}  // namespace vern::cli
