#include "control/uapi_server.h"

#include <algorithm>

#include "control/text.h"

namespace vern {
namespace {

// Negative, as wireguard-go does and `wg` expects of a set.
void append_errno(SecretText& answer, int code) {
    answer += "errno=";
    if (code > 0) answer += '-';
    append_decimal(answer, static_cast<unsigned>(std::max(code, 0)));
    answer += "\n\n";
}

}  // namespace

class UapiServer::Protocol final : public SocketProtocol {
  public:
    explicit Protocol(UapiTarget& target) : target_(target) {}

    Result<SecretText> answer(std::string_view request) override {
        const auto end = request.find('\n');
        const std::string_view operation = request.substr(0, end);
        const std::string_view body =
            end == std::string_view::npos ? std::string_view() : request.substr(end + 1);
        if (operation == "set=1") return answer_set(body);
        if (!body.empty())
            return fail("'" + printable(operation, 16) + "' is not followed by an empty line", EPROTO);
        SecretText text;
        if (operation == "get=1") {
            text = format_uapi_get(target_.status());
        } else if (operation == "get=vern") {
            text.append(target_.status_json()).push_back('\n');
        } else {
            return fail("unknown operation '" + printable(operation, 16) + "'", EPROTO);
        }
        append_errno(text, 0);
        return text;
    }

    SecretText refusal(const Error& why) override {
        SecretText text;
        append_errno(text, why.code);
        return text;
    }

    void refused(const Error& why) override { target_.refused(Error{"UAPI: " + why.message, why.code}); }

  private:
    // Nothing has changed yet: without memory for this, the daemon goes on.
    static Result<DeviceChange> parse(std::string_view body) {
        try {
            return parse_uapi_set(body);
        } catch (const std::bad_alloc&) {
            return fail("no memory", ENOMEM);
        }
    }

    SecretText answer_set(std::string_view body) {
        Result<void> applied =
            parse(body).and_then([&](DeviceChange&& change) { return target_.apply(std::move(change)); });
        SecretText text;
        // An error without a number must not read as success.
        append_errno(text, applied ? 0 : applied.error().code > 0 ? applied.error().code : EINVAL);
        if (!applied) target_.refused(Error{"UAPI set: " + applied.error().message, applied.error().code});
        return text;
    }

    UapiTarget& target_;
};

UapiServer::UapiServer(std::unique_ptr<Protocol> protocol, std::unique_ptr<SocketServer> server)
    : protocol_(std::move(protocol)), server_(std::move(server)) {}

UapiServer::~UapiServer() = default;

Result<std::unique_ptr<UapiServer>> UapiServer::open(std::string_view name, UapiTarget& target, int adopt_fd,
                                                     std::string_view directory) {
    auto protocol = std::make_unique<Protocol>(target);
    const SocketLimits limits{.line_bytes_max = kUapiLineBytesMax,
                              .request_bytes_max = kUapiRequestBytesMax,
                              .buffered_bytes_max = kUapiBufferedBytesMax,
                              .clients_max = kUapiClientsMax,
                              .idle_max = kUapiIdleMax};
    auto server = SocketServer::open(name, directory, limits, *protocol, adopt_fd);
    if (!server) return tl::unexpected(server.error());
    return std::unique_ptr<UapiServer>(new UapiServer(std::move(protocol), std::move(*server)));
}

}  // namespace vern
