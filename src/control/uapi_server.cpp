#include "control/uapi_server.h"

#include <algorithm>
#include <new>
#include <type_traits>

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
        if (operation != "get=1" && operation != "get=vern")
            return fail("unknown operation '" + printable(operation, 16) + "'", EPROTO);
        auto text = with_memory([&] { return answer_get(operation == "get=vern"); });
        return text ? std::move(*text) : refusal(text.error());
    }

    SecretText refusal(const Error& why) override {
        SecretText text;
        append_errno(text, why.code);
        return text;
    }

    void refused(const Error& why) override { target_.refused(Error{"UAPI: " + why.message, why.code}); }

  private:
    // Nothing changes: without memory for this, the daemon goes on.
    template <typename Make>
    static std::invoke_result_t<Make> with_memory(const Make& make) {
        try {
            return make();
        } catch (const std::bad_alloc&) {
            return fail("no memory", ENOMEM);
        }
    }

    Result<SecretText> answer_get(bool json) const {
        SecretText text;
        if (json)
            text.append(target_.status_json()).push_back('\n');
        else
            text = format_uapi_get(target_.status());
        append_errno(text, 0);
        return text;
    }

    SecretText answer_set(std::string_view body) {
        Result<void> applied =
            with_memory([&] { return parse_uapi_set(body); }).and_then([&](DeviceChange&& change) {
                return target_.apply(std::move(change));
            });
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
