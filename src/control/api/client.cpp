#include "control/api/client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "control/socket_client.h"

namespace vern::api {
namespace {

namespace http = boost::beast::http;
namespace net = boost::asio;
using Failure = boost::system::error_code;
using nlohmann::json;

constexpr std::uint64_t kAnswerBytesMax = std::uint64_t{256} << 20;

boost::beast::string_view view(std::string_view text) { return {text.data(), text.size()}; }

// What a refusal says, in words: a line for each mistake of a policy; with its code if it is of something
// that was handed in, for there it says why.
std::string sentence_of(unsigned status, const json& refusal) {
    std::string lines;
    if (const auto errors = refusal.find("errors"); errors != refusal.end() && errors->is_array()) {
        for (const json& line : *errors)
            lines +=
                (lines.empty() ? "" : "\n") + (line.is_string() ? line.get<std::string>() : std::string());
    }
    if (!lines.empty()) return lines;
    const auto text = [&](const char* member) {
        const auto found = refusal.find(member);
        return found != refusal.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const std::string error = text("error");
    if (error.empty()) return "the daemon refused";
    return status == 422 ? error + " (" + text("code") + ")" : error;
}

}  // namespace

Result<Answer> exchange(std::string_view interface, Method method, std::string_view target,
                        std::string_view body, std::chrono::milliseconds timeout,
                        std::string_view directory) {
    auto client = SocketClient::connect(interface, timeout, directory);
    if (!client) {
        const int code = client.error().code;
        if (code == EACCES) return fail(client.error().message + " (needs root, or the group vern)", code);
        if (code == ENOENT || code == ECONNREFUSED)
            return fail(std::string(interface) + ": no vernd runs this interface", code);
        return tl::unexpected(client.error());
    }
    net::io_context io;
    net::local::stream_protocol::socket socket(io);
    Failure error;
    socket.assign(net::local::stream_protocol(), client->release(), error);
    if (error) return fail("cannot speak to the daemon: " + error.message(), error.value());

    http::request<http::span_body<const char>> request;
    request.method_string(view(name_of(method)));
    request.target(view(target));
    request.version(11);
    request.set(http::field::host, "vernd");
    request.keep_alive(false);
    request.body() = {body.data(), body.size()};
    request.content_length(body.size());

    boost::beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(kAnswerBytesMax);
    bool answered = false;
    http::async_write(socket, request, [&](const Failure&, std::size_t) {
        // Even if not all was taken: it has said why, perhaps.
        http::async_read(socket, buffer, parser, [&](const Failure& failed, std::size_t) {
            error = failed;
            answered = true;
        });
    });
    io.run_for(timeout);
    if (!answered) return fail("the daemon does not answer", ETIMEDOUT);
    if (error == http::error::end_of_stream || error == http::error::partial_message)
        return fail("the daemon ended the connection", EPROTO);
    if (error) return fail("cannot read from the daemon: " + error.message(), error.value());
    return Answer{.status = parser.get().result_int(), .body = std::move(parser.get().body())};
}

Result<json> ask(std::string_view interface, Method method, std::string_view target, std::string_view body,
                 std::string_view directory) {
    auto answer = exchange(interface, method, target, body, kPatience, directory);
    if (!answer) return tl::unexpected(answer.error());
    auto parsed = json::parse(answer->body, nullptr, false);
    if (!parsed.is_object()) return fail("the daemon's answer is not understood", EPROTO);
    if (answer->status / 100 == 2) return parsed;
    return fail(sentence_of(answer->status, parsed), answer->status == 403   ? EACCES
                                                     : answer->status == 422 ? EBADMSG
                                                                             : EINVAL);
}

Result<std::string> only_interface(std::string_view directory) {
    const auto names = socket_names(directory);
    if (names.empty()) return fail("no vernd runs here", ENOENT);
    if (names.size() == 1) return names.front();
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    return fail("which interface? --interface, out of " + all);
}

}  // namespace vern::api
