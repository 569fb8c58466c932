#include "control/uapi_client.h"

#include "control/text.h"

namespace vern {
namespace {

constexpr std::string_view kErrnoLine = "errno=";

bool is_whole(std::string_view answer) {
    if (!answer.ends_with("\n\n")) return false;
    const auto line = answer.rfind('\n', answer.size() - 3);
    return answer.substr(line == std::string_view::npos ? 0 : line + 1).starts_with(kErrnoLine);
}

}  // namespace

Result<UapiClient> UapiClient::connect(std::string_view name, std::chrono::milliseconds timeout,
                                       std::string_view directory) {
    auto socket = SocketClient::connect(name, timeout, directory);
    if (!socket) return tl::unexpected(socket.error());
    return UapiClient(std::move(*socket));
}

Result<SecretText> UapiClient::exchange(std::string_view request) {
    auto answer = socket_.exchange(request, is_whole);
    if (!answer) return answer;
    const std::string_view text = std::string_view(*answer).substr(0, answer->size() - 2);
    const auto last_line = text.rfind('\n') == std::string_view::npos ? 0 : text.rfind('\n') + 1;
    std::string_view number = text.substr(last_line + kErrnoLine.size());
    if (number.starts_with('-')) number.remove_prefix(1);
    const auto code = parse_decimal<unsigned>(number, 4095);
    if (!code) return fail("the daemon's answer is not of the protocol", EPROTO);
    if (*code != 0) return fail_errno("the daemon refused", static_cast<int>(*code));
    answer->resize(last_line);
    return answer;
}

Result<DeviceStatus> UapiClient::get() {
    auto answer = exchange("get=1\n\n");
    if (!answer) return tl::unexpected(answer.error());
    return parse_uapi_get(*answer);
}

Result<void> UapiClient::set(const DeviceChange& change) {
    SecretText request = "set=1\n";
    request += format_uapi_set(change);
    request += '\n';
    const auto answer = exchange(request);
    if (!answer) return tl::unexpected(answer.error());
    return {};
}

Result<std::string> UapiClient::get_vern() {
    auto answer = exchange("get=vern\n\n");
    if (!answer) return tl::unexpected(answer.error());
    while (answer->ends_with('\n')) answer->pop_back();
    return std::string(answer->begin(), answer->end());
}

std::vector<std::string> uapi_interfaces(std::string_view directory) { return socket_names(directory); }

}  // namespace vern
