#include "control/api/tunnel_client.h"

#include <openssl/err.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "control/text.h"

namespace vern::api {
namespace {

namespace http = boost::beast::http;
namespace net = boost::asio;
using Tcp = net::ip::tcp;
using Failure = boost::system::error_code;

constexpr std::uint64_t kAnswerBytesMax = 1 << 20;

boost::beast::string_view view(std::string_view text) { return {text.data(), text.size()}; }

// One request and its answer, step by step, each the continuation of the one before.
class Exchange {
  public:
    Exchange(net::io_context& io, std::string_view target, std::string_view body, SSL_CTX* tls)
        : socket_(io) {
        request_.method(http::verb::post);
        request_.target(view(target));
        request_.version(11);
        request_.set(http::field::host, "vernd");
        request_.keep_alive(false);
        request_.body() = {body.data(), body.size()};
        request_.content_length(body.size());
        parser_.body_limit(kAnswerBytesMax);
        if (tls == nullptr) return;
        ::SSL_CTX_up_ref(tls);
        context_.emplace(tls);
        channel_.emplace(socket_, *context_);
    }

    void start(const Tcp::endpoint& to) {
        socket_.async_connect(to, [this](const Failure& error) {
            if (error) return end("connect", error);
            if (!channel_) return write(socket_);
            channel_->async_handshake(net::ssl::stream_base::client, [this](const Failure& failed) {
                if (failed) return end("TLS", failed);
                write(*channel_);
            });
        });
    }
    bool done() const { return done_; }
    const std::string& failure() const { return failure_; }
    Answer answer() {
        return {.status = parser_.get().result_int(), .body = std::move(parser_.get().body())};
    }

  private:
    template <typename Channel>
    void write(Channel& channel) {
        http::async_write(channel, request_, [this, &channel](const Failure&, std::size_t) {
            // Even if not all was taken: it has said why, perhaps.
            http::async_read(channel, buffer_, parser_, [this](const Failure& error, std::size_t) {
                if (error && !parser_.is_done()) return end("read", error);
                done_ = true;
            });
        });
    }
    void end(const char* step, const Failure& error) {
        failure_ = std::string(step) + ": " + error.message();
        done_ = true;
    }

    Tcp::socket socket_;
    std::optional<net::ssl::context> context_;
    std::optional<net::ssl::stream<Tcp::socket&>> channel_;
    http::request<http::span_body<const char>> request_;
    http::response_parser<http::string_body> parser_;
    boost::beast::flat_buffer buffer_;
    std::string failure_;
    bool done_ = false;
};

}  // namespace

Result<Answer> post_through_tunnel(const IpAddress& address, std::uint16_t port, std::string_view target,
                                   std::string_view body, ssl_ctx_st* tls,
                                   std::chrono::milliseconds timeout) {
    net::io_context io;
    Exchange exchange(io, target, body, tls);
    exchange.start({net::ip::make_address(to_text(address)), port});
    io.run_for(timeout);
    const std::string where = to_text(address) + " port " + std::to_string(port) + ": ";
    if (!exchange.done())
        return fail(where + "no answer (is the tunnel up, and does the policy let it pass?)", ETIMEDOUT);
    if (!exchange.failure().empty()) return fail(where + exchange.failure(), EPROTO);
    return exchange.answer();
}

}  // namespace vern::api
