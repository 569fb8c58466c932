// What `vern bench client` prints.
#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#include "bench.h"

namespace vern::cli::bench {
namespace {

using nlohmann::json;

std::string cpuinfo(std::string_view field) {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const auto colon = line.find(':');
        if (colon == std::string::npos || !line.starts_with(field)) continue;
        return colon + 2 <= line.size() ? line.substr(colon + 2) : "";
    }
    return "";
}

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::string readable(double value) {
    if (value >= 10'000) return fmt::format("{:.0f}", value);
    return value >= 100 ? fmt::format("{:.1f}", value) : fmt::format("{:.3g}", value);
}

}  // namespace

json describe_machine() {
    utsname host{};
    ::uname(&host);
    json flags = json::array();
    const std::string all = " " + cpuinfo("flags") + " ";
    for (const std::string_view flag : {"avx2", "avx512f", "avx512ifma", "vaes"}) {
        if (all.find(fmt::format(" {} ", flag)) != std::string::npos) flags.push_back(flag);
    }
    return {{"cpu", cpuinfo("model name")},
            {"cpus", std::thread::hardware_concurrency()},
            {"flags", flags},
            {"kernel", host.release}};
}

json to_json(const UdpResult& result) {
    return {{"bytes", result.offered.bytes},
            {"offered_rate", result.offered.rate},
            {"sent", result.sent.datagrams},
            {"sent_rate", result.sent_rate()},
            {"received", result.received.datagrams},
            {"delivered_rate", result.delivered_rate()},
            {"loss", result.loss()},
            {"reordered", result.received.reordered},
            {"dropped_by_receiver", result.received.dropped_here},
            {"seconds", std::chrono::duration<double>(result.sent.duration).count()}};
}

json to_json(const std::vector<Figure>& figures, const std::string& path) {
    json results = json::array();
    for (const Figure& figure : figures) {
        results.push_back({{"contender", path},
                           {"scenario", figure.scenario},
                           {"metric", figure.metric},
                           {"unit", figure.unit},
                           {"samples", figure.samples}});
    }
    return {{"format", "vern-bench-1"},
            {"machine", describe_machine()},
            {"contenders", json::array({{{"name", path}, {"version", VERN_VERSION}}})},
            {"results", results},
            {"unmeasured", json::array()}};
}

std::string to_markdown(const std::vector<Figure>& figures) {
    std::string text = "| figure | unit | median | min | max | n |\n| --- | --- | --- | --- | --- | --- |\n";
    for (const Figure& figure : figures) {
        if (figure.samples.empty()) continue;
        const auto [least, most] = std::minmax_element(figure.samples.begin(), figure.samples.end());
        text += fmt::format("| {} {} | {} | {} | {} | {} | {} |\n", figure.scenario, figure.metric,
                            figure.unit, readable(median(figure.samples)), readable(*least), readable(*most),
                            figure.samples.size());
    }
    return text;
}

}  // namespace vern::cli::bench
